"""Claims about the streams that are measured, and the verdicts that are at hand for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safety_proxy.classifiers.base import LocalClassifier
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import ClassifierError
from safety_proxy.events import Finish, Release
from safety_proxy.harness.stream_runs import Asking, Client, Known, Said
from safety_proxy.model import JSON, Action, Category, Decision, Kind, Query, Verdict
from safety_proxy.moderation import NO_BACKGROUND
from safety_proxy.testing import ScriptedClassifier

BAD, GOOD = Query("bad", Kind.COMPLETION), Query("good", Kind.COMPLETION)


class Local(ScriptedClassifier):
    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


def said(completion: JSON) -> Said:
    return Said(ChatCompletions(), completion, NO_BACKGROUND)


# -------------------------------------------------------------------------------------------------------------- verdicts


async def test_a_text_is_asked_about_once() -> None:
    scripted = ScriptedClassifier({"bad": (Category.HATE, 6)})
    asking = Asking("scripted", scripted)
    first = await asking.classify([BAD, GOOD, BAD])
    assert await asking.classify([GOOD, BAD]) == [first[1], first[0]]
    assert scripted.asked == [BAD, GOOD]


async def test_what_one_has_found_out_the_other_says_at_once() -> None:
    asking = Asking("scripted", ScriptedClassifier({"bad": (Category.HATE, 6)}))
    known = Known(asking)
    assert isinstance(known, LocalClassifier)
    assert not isinstance(asking, LocalClassifier)
    await asking.classify([BAD])
    assert known.classify_now([BAD])[0].severities[Category.HATE] == 6


async def test_a_failure_is_remembered_too() -> None:
    scripted = ScriptedClassifier(errors={"bad": "timeout"})
    asking = Asking("scripted", scripted)
    for _ in range(2):
        with pytest.raises(ClassifierError, match="timeout"):
            await asking.classify([BAD])
    with pytest.raises(ClassifierError, match="timeout"):
        Known(asking).classify_now([BAD])
    assert scripted.asked == [BAD]


def test_a_local_classifier_is_asked_when_that_is_needed() -> None:
    local = Local()
    known = Known(Asking("local", local))
    known.classify_now([BAD])
    known.classify_now([BAD, GOOD])
    assert local.asked == [BAD, GOOD]


async def test_who_made_a_classifier_closes_it() -> None:
    scripted = ScriptedClassifier()
    await Known(Asking("scripted", scripted)).close()
    assert not scripted.closed


# --------------------------------------------------------------------------------------------------------------- streams


def test_the_pieces_of_a_stream_are_the_text() -> None:
    stream = said("one two three")
    places = [place for piece in stream.places.values() for place in piece.places]
    assert [(name, end - start) for name, start, end in places if end > start] == [
        ("content", 3),
        ("content", 4),
        ("content", 6),
    ]
    assert stream.ends[-1] == len("one two three")


def test_characters_that_nobody_sees_take_no_position() -> None:
    assert said("a\u200b\u200bb").ends[-1] == 2


def test_tool_calls_have_characters_but_no_positions() -> None:
    call: JSON = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "long enough"}'}}
    stream = said({"role": "assistant", "content": "text", "tool_calls": [call]})
    assert stream.ends[-1] == len("text")
    assert max(end for piece in stream.places.values() for name, _, end in piece.places if "arguments" in name) == 20


def test_completions_of_texts_are_streamed_as_such() -> None:
    stream = Said(Completions(), "some text", NO_BACKGROUND)
    assert {name for piece in stream.places.values() for name, _, _ in piece.places} == {"text"}


async def test_a_client_knows_what_had_come_when_a_piece_was_released() -> None:
    stream = said("12345678901234567890")
    client = Client(stream)
    chunks = [item async for (item,) in client.source()]
    assert len(chunks) == len(stream.items)
    first = next(item for item in stream.items if id(item) in stream.places and stream.places[id(item)].length)
    await client.write([Release(first)])  # type: ignore[arg-type] # a chunk, being in places
    await client.write([Finish(0, Decision(Action.FILTER))])
    await client.heartbeat(0)
    assert [(piece.end, came) for piece, came in client.released] == [(5, 20)]
    assert client.ended is Action.FILTER
