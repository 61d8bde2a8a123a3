"""The law at the level of bytes: no part of a phrase that must not be said reaches the client, in whatever form it came.

Streams run through decoder, codec and filter with the product's own numbers; the judge knows one phrase.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.dialects.completions import Completions
from safety_proxy.events import Closed, Item
from safety_proxy.jsontext import as_object, strings, write
from safety_proxy.model import ALLOWED, JSON, Action, Decision, JSONObject, Query
from safety_proxy.sse import ServerSentEvent, SSEDecoder
from safety_proxy.stream import StreamFilter
from safety_proxy.testing import drive, occurs
from safety_proxy.windows import WindowPolicy

CHAT, TEXT = ChatCompletions(), Completions()
POLICY = WindowPolicy(first=80, size=120, context=180, holdback=50)
FILTERED = Decision(Action.FILTER)
PHRASE = "QWXZJKVYQWXZJKVYQWXZJKVY"
"""Of letters that stand nowhere else."""
LETTERS = frozenset(PHRASE)


def judge(queries: Sequence[Query]) -> Decision:
    return FILTERED if any(occurs(PHRASE, query) for query in queries) else ALLOWED


def stream(
    dialect: Dialect, payloads: Sequence[JSONObject], *, choices: int = 1, random: Random | None = None
) -> list[JSON]:
    """What the client reads of a stream of *payloads*."""
    codec = StreamCodec(dialect, StreamOptions(prompt_results=[]))
    decoder = SSEDecoder()
    sent = b"".join(b"data: " + write(payload) + b"\n\n" for payload in payloads) + b"data: [DONE]\n\n"
    cut = random.randrange(1, 200) if random is not None else len(sent)
    reads: list[list[Item]] = [
        [item for event in decoder.feed(sent[start : start + cut]) for item in codec.decode(event)]
        for start in range(0, len(sent), cut)
    ]
    effects = drive(StreamFilter(POLICY, choices=choices), [*reads, [Closed()]], judge, random=random)
    written = b"".join(map(codec.encode, effects))
    assert written.endswith(b"data: [DONE]\n\n")
    return [json.loads(event.data) for event in SSEDecoder().feed(written)[:-1]]


def shown(value: JSON) -> str:
    """Every text that a client could read in a value: strings, what JSON or base64 in them says, and arrays of bytes."""
    found = list(strings(value))
    for text in list(found):
        with suppress(ValueError):
            found += strings(json.loads(text))
        with suppress(ValueError):
            found.append(base64.b64decode(text, validate=True).decode())
    return "\n".join(found) + _bytes(value)


def _bytes(value: JSON) -> str:
    if isinstance(value, dict):
        return "".join(map(_bytes, value.values()))
    if isinstance(value, list):
        numbers = [element for element in value if isinstance(element, int) and 0 < element < 256]
        return bytes(numbers).decode("latin-1") + "".join(map(_bytes, value))
    return ""


def event(choice: JSONObject, index: int = 0, finish: str | None = None) -> JSONObject:
    whole: JSON = {"index": index, "finish_reason": finish, **choice}
    return {"id": "c-1", "object": "chunk", "created": 7, "model": "m", "choices": [whole]}


def finish_reasons(events: Sequence[JSON], index: int = 0) -> list[JSON]:
    choices = [choice for payload in events for choice in as_object(payload)["choices"]]  # type: ignore[union-attr]  # events
    return [c["finish_reason"] for c in choices if as_object(c).get("index") == index and c.get("finish_reason")]  # type: ignore[union-attr, index, call-overload]  # choices


def carried(channel: str, text: str) -> tuple[Dialect, JSONObject]:
    """A choice that says *text* in a channel."""
    entries: list[JSON] = [{"token": letter, "logprob": -1, "bytes": list(letter.encode())} for letter in text]
    in_bytes: list[JSON] = [{"token": ".", "bytes": list(text.encode())}]
    dots = "." * len(text)
    texts: dict[str, JSONObject] = {
        "text": {"text": text, "logprobs": {"tokens": list(text), "top_logprobs": [{text: -1.0}]}},
        "text tokens": {"text": dots, "logprobs": {"tokens": list(text)}},
    }
    choices: dict[str, JSONObject] = {
        "text of a chat": {"delta": {}, "text": text},
        "message": {"message": {"role": "assistant", "content": text}},
        "tokens": {"delta": {"content": dots}, "logprobs": {"content": entries}},
        "bytes": {"delta": {"content": "."}, "logprobs": {"content": in_bytes}},
        "content with logprobs": {"delta": {"content": text}, "logprobs": {"content": entries}},
    }
    deltas: dict[str, JSONObject] = {
        "tool arguments": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
        "tool name": {"tool_calls": [{"index": 3, "type": "function", "function": {"name": text}}]},
        "custom tool": {"tool_calls": [{"custom": {"input": text}}]},
        "function call": {"function_call": {"arguments": text}},
        "transcript": {"audio": {"id": "audio_1", "transcript": text, "data": base64.b64encode(text.encode()).decode()}},
        "parts": {"content": [{"type": "text", "text": text[:1]}, {"type": "text", "text": text[1:]}]},
        "details": {"reasoning_details": [{"type": "reasoning.text", "text": text}]},
        "reasoning twice": {"reasoning": text, "reasoning_content": text},
    }
    if channel in texts:
        return TEXT, texts[channel]
    return CHAT, choices.get(channel) or {"delta": deltas.get(channel, {channel: text})}


CHANNELS = [
    "content",
    "refusal",
    "reasoning_content",
    "reasoning",
    "details",
    "reasoning twice",
    "parts",
    "transcript",
    "tool arguments",
    "tool name",
    "custom tool",
    "function call",
    "content with logprobs",
    "bytes",
    "tokens",
    "text tokens",
    "text",
    "text of a chat",
    "message",
]


def said_in(channel: str, before: int, after: int, cuts: list[int], seed: int) -> list[JSON]:
    """What the client reads of a stream with the phrase in a channel."""
    text = "a" * before + PHRASE + "b" * after
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    dialect = carried(channel, "")[0]
    payloads = [event(carried(channel, text[a:b])[1]) for a, b in pairwise(ends)]
    payloads.append(event(dialect.empty_choice(0, dialect.delta_key, None), 0, "stop"))
    return stream(dialect, payloads, random=Random(seed))


lengths = st.integers(0, 260)
cuttings = st.lists(st.integers(0, 480), max_size=25)


@pytest.mark.parametrize("channel", CHANNELS)
@given(lengths, lengths, cuttings, st.integers(0, 1000))
def test_no_part_of_a_phrase_is_shown_however_it_is_cut(
    channel: str, before: int, after: int, cuts: list[int], seed: int
) -> None:
    events = said_in(channel, before, after, cuts, seed)

    assert LETTERS & set(shown(events)) == set()
    assert finish_reasons(events) == ["content_filter"]


@pytest.mark.parametrize("escaped", [PHRASE.replace("Q", r"\u0051"), "".join(f"\\u{ord(letter):04x}" for letter in PHRASE)])
@given(st.integers(1, 30))
def test_an_escaped_phrase_in_the_arguments_of_a_tool_is_not_shown(escaped: str, step: int) -> None:
    arguments = json.dumps({"a": "b"})[:-1] + f', "c": "{escaped}"}}'
    pieces = [arguments[i : i + step] for i in range(0, len(arguments), step)]
    events = stream(
        CHAT, [*(event(carried("tool arguments", piece)[1]) for piece in pieces), event({"delta": {}}, 0, "tool_calls")]
    )
    arguments_shown = "".join(strings([as_object(payload)["choices"] for payload in events]))

    assert "\\u" not in arguments_shown
    assert LETTERS & set(shown(events)) == set()


@given(st.integers(0, 2), st.integers(1, 40), st.integers(0, 1000), st.booleans())
def test_other_choices_go_on_as_they_were_sent(bad: int, step: int, seed: int, together: bool) -> None:
    texts = ["once upon a time " * 12] * 3
    texts[bad] = texts[bad][:100] + PHRASE + texts[bad][100:]
    payloads: list[JSONObject] = []
    for start in range(0, max(map(len, texts)), step):
        choices = [event({"delta": {"content": text[start : start + step]}}, i) for i, text in enumerate(texts)]
        joined: list[JSON] = [choice for one in choices for choice in one["choices"]]  # type: ignore[union-attr]  # a list
        payloads += [{**choices[0], "choices": joined}] if together else choices
    payloads += [event({"delta": {}}, i, "stop") for i in range(3)]
    events = stream(CHAT, payloads, choices=3, random=Random(seed))

    assert LETTERS & set(shown(events)) == set()
    assert [finish_reasons(events, i) for i in range(3)] == [["content_filter" if i == bad else "stop"] for i in range(3)]
    for i in {0, 1, 2} - {bad}:
        said = "".join(
            str(as_object(as_object(choice).get("delta")).get("content") or "")
            for payload in events
            for choice in as_object(payload)["choices"]  # type: ignore[union-attr]  # a list
            if as_object(choice).get("index") == i
        )
        assert said == texts[i]


@pytest.mark.parametrize("place", ["id", "model", "system_fingerprint", "odd", "created"])
@pytest.mark.parametrize("several", [False, True])
def test_a_phrase_beside_the_choices_is_not_shown(place: str, *, several: bool) -> None:
    payload = event({"delta": {"content": "Hi"}})
    if several:
        payload["choices"] = [*payload["choices"], {"index": 1, "delta": {}}]  # type: ignore[misc]  # a list
    payload[place] = f"{PHRASE} {PHRASE}"
    frame: JSONObject = {"id": "c-1", "choices": [], "usage": {"total_tokens": 1, place: f"{PHRASE} {PHRASE}"}}
    finishes = [event({"delta": {}}, i, "stop") for i in range(2)]

    assert LETTERS & set(shown(stream(CHAT, [payload, *finishes, frame], choices=2))) == set()


@given(
    st.recursive(
        st.none() | st.integers(-5, 5) | st.sampled_from(["Hi", "x y", "Ünïcode \u2028"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["content", "odd", "text", "id"]), inner, max_size=3)
        ),
    ),
    st.integers(1, 50),
    st.integers(0, 1000),
)
def test_what_is_allowed_arrives_as_it_was_sent(odd: JSON, step: int, seed: int) -> None:
    text = "once upon a time " * 30
    payloads = [
        event({"delta": {"content": text[i : i + step], "odd": odd}, "logprobs": None}) for i in range(0, len(text), step)
    ]
    payloads.append(event({"delta": {}}, 0, "stop"))
    payloads.append({"id": "c-1", "choices": [], "usage": {"total_tokens": 5}, "odd": odd})
    events = stream(CHAT, payloads, random=Random(seed))

    assert as_object(events[0]).pop("prompt_filter_results") == []
    for payload in events:
        for choice in as_object(payload)["choices"]:  # type: ignore[union-attr]  # a list
            assert as_object(choice).pop("content_filter_results") == {}
    assert events == payloads


def test_text_behind_the_end_of_a_choice_is_not_shown() -> None:
    late = event({"delta": {"content": PHRASE}})

    assert LETTERS & set(shown(stream(CHAT, [event({"delta": {"content": "Hi"}}, 0, "stop"), late]))) == set()


def test_events_are_read_back_by_the_strictest_rule() -> None:
    assert ServerSentEvent(b"x") in SSEDecoder().feed(b"data: x\n\n")
