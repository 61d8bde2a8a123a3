"""What is kept of a completion, and told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.dialects.completions import Completions
from safety_proxy.events import Closed, Item
from safety_proxy.model import Action, Annotation, Category, Decision, JSONObject, Kind, Prompt, Query, Verdict
from safety_proxy.moderation import Judged
from safety_proxy.server.audit_content import Contents, Hashes, Messages
from safety_proxy.server.audit_texts import LONGEST, Findings, Hashing
from safety_proxy.settings_audit import Content
from tests.server.wire import Event, event, whole, words

NONE = Findings()


def streamed(*events: JSONObject) -> list[Item]:
    codec = StreamCodec(ChatCompletions(), StreamOptions())
    return [item for each in events for item in codec.read_event(each)]


def messages(items: Sequence[Item], *, redacted: bool = False) -> list[Any]:
    kept = Messages(redacted=redacted)
    for item in items:
        kept.arrived([item])
    return [*kept.tell(frozenset(), NONE)]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.integers(1, 7))
def test_a_stream_is_put_together_as_it_was_said_however_it_was_cut(text: str, size: int) -> None:
    assert messages(streamed(*words(text, size=size))) == [{"role": "assistant", "content": text}]


def test_choices_and_channels_are_kept_apart_and_a_choice_that_never_came_is_null() -> None:
    items = streamed(
        event({"role": "assistant", "reasoning_content": "so "}, index=2),
        event({"content": "a"}),
        event({"reasoning_content": "hm", "content": None}, index=2),
        event({"role": "assistant", "content": "b", "refusal": None}),
        event({"content": "c"}, index=2),
    )
    assert messages(items) == [
        {"content": "ab", "role": "assistant", "refusal": None},
        None,
        {"role": "assistant", "reasoning_content": "so hm", "content": "c"},
    ]


def test_tool_calls_are_put_together_by_their_index() -> None:
    def call(index: int, **function: str) -> Event:
        return event({"tool_calls": [{"index": index, "type": "function", "function": function}]})

    (message,) = messages(streamed(call(0, name="f"), call(1, name="g"), call(0, arguments="{"), call(0, arguments="}")))
    assert [each["function"] for each in message["tool_calls"]] == [{"name": "f", "arguments": "{}"}, {"name": "g"}]
    assert [each["type"] for each in message["tool_calls"]] == ["function", "function"]


def test_a_whole_answer_is_kept_as_it_is() -> None:
    assert messages(ChatCompletions().read_answer(whole("a", None))) == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": None},
    ]


def test_a_text_completion_is_a_string() -> None:
    answer = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    assert messages(Completions().read_answer(answer)) == ["a"]  # type: ignore[arg-type]  # JSON
    codec = StreamCodec(Completions(), StreamOptions())
    items = [item for text in "ab" for item in codec.read_event({"choices": [{"index": 0, "text": text}]})]
    assert messages([*items, Closed()]) == ["ab"]


def test_what_does_not_fit_is_cut_and_the_message_says_so() -> None:
    kept = Messages(redacted=False)
    for _ in range(3):
        kept.arrived(streamed(event({"content": "x" * (LONGEST // 2)})))
    (message,) = kept.tell(frozenset(), NONE)
    assert isinstance(message, dict)
    assert str(message["[cut]"]).endswith(" characters cut]")
    assert len(str(message["content"])) <= LONGEST + 40
    assert kept.weight() >= LONGEST


def test_a_channels_hash_is_that_of_all_of_it() -> None:
    kept = Hashes(Hashing())
    kept.arrived(streamed(*words("Hi there"), event({"content": ""}, index=1)))
    assert kept.tell(frozenset(), NONE) == [
        {"content": {"characters": 8, "sha256": hashlib.sha256(b"Hi there").hexdigest()}},
        {},
    ]
    assert kept.weight() == 0


# ------------------------------------------------------------------------------------------------------------ contents


def contents(form: Content) -> Contents:
    return Contents(form, Hashing(), {"messages": [{"role": "user", "content": "zebra"}]}, Prompt(()))


def test_without_content_nothing_is_kept() -> None:
    kept = contents("none")
    kept.arrived(streamed(*words("Hi")))
    assert (kept.completion, kept.tell(blocked=False, filtered=frozenset()), kept.weight()) == (None, {}, 0)


@pytest.mark.parametrize("form", ["hash", "redacted", "full"])
def test_without_a_completion_there_is_none_to_tell(form: Content) -> None:
    told = contents(form).tell(blocked=False, filtered=frozenset())["content"]
    assert isinstance(told, dict)
    assert (told["form"], told["completion"]) == (form, None)


def test_a_filtered_choice_that_nobody_can_point_at_is_withheld_and_others_are_not() -> None:
    kept = contents("redacted")
    kept.arrived(ChatCompletions().read_answer(whole("quokka", "lemur")))
    filtered = Decision(Action.FILTER, {Category.HATE: Annotation(True, 6)})
    kept.answered.hear([Judged(Query("lemur", Kind.COMPLETION), filtered, {"c": Verdict()})])
    told: Any = kept.tell(blocked=False, filtered=frozenset({1}))["content"]
    assert [message["content"] for message in told["completion"]] == ["quokka", "[withheld]"]
    assert told["completion"][1]["role"] == "assistant"
    assert told["request"]["messages"][0]["content"] == "zebra"


def test_a_filtered_prompt_that_nobody_can_point_at_is_withheld() -> None:
    kept = contents("redacted")
    kept.asked.unplaced = True
    told: Any = kept.tell(blocked=True, filtered=frozenset())["content"]
    assert told["request"] == {"messages": [{"role": "user", "content": "[withheld]"}]}
