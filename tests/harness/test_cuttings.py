"""However a completion is cut, its stream says the same, and the same seed cuts it the same way."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.dialects.completions import Completions
from safety_proxy.events import Chunk, Closed
from safety_proxy.harness.cuttings import KINDS, Cutting, cuttings
from safety_proxy.model import JSON
from safety_proxy.sse import SSEDecoder

CHAT, TEXT = ChatCompletions(), Completions()
CALL: JSON = {
    "content": None,
    "reasoning_content": "let me see",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"where": "here"}'}}],
}


def said(cutting: Cutting, dialect: Dialect) -> dict[tuple[int, str], str]:
    """What each channel of each choice says in a stream that ends as it should."""
    decoder, codec = SSEDecoder(), StreamCodec(dialect, StreamOptions())
    items = [item for data in cutting.reads for event in decoder.feed(data) for item in codec.decode(event)]
    assert items[-1] == Closed(complete=True)
    texts: defaultdict[tuple[int, str], str] = defaultdict(str)
    for item in items[:-1]:
        assert isinstance(item, Chunk)
        assert item.strings == ()
        for segment in item.segments:
            texts[item.choice, segment.channel] += segment.text
    return {place: text for place, text in texts.items() if text}


@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=3), seed=st.integers(), text=st.booleans())
def test_every_cutting_says_what_was_said(texts: list[str], seed: int, text: bool) -> None:
    texts = [each.encode("utf-8", "replace").decode() for each in texts]
    dialect: Dialect = TEXT if text else CHAT
    channel = "text" if text else "content"
    for cutting in cuttings(dialect, [*texts], count=7, seed=seed):
        assert said(cutting, dialect) == {(i, channel): each for i, each in enumerate(texts)}


def test_tool_calls_and_reasoning_are_cut_too() -> None:
    whole, *others = [said(each, CHAT) for each in cuttings(CHAT, [CALL], count=8)]

    assert whole[0, "tool_call:0.arguments"] == '{"where": "here"}'
    assert whole[0, "reasoning_content"] == "let me see"
    assert all(each == whole for each in others)


def test_each_kind_comes_once_and_then_hostile_ones_of_their_own() -> None:
    names = [each.name for each in cuttings(CHAT, ["some text"], count=8, seed=3)]

    assert names == [*list(KINDS)[:-1], "hostile 3:4", "hostile 3:5", "hostile 3:6", "hostile 3:7"]
    assert len(set(names)) == len(names)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    def hostile(seed: int) -> tuple[bytes, ...]:
        return [*cuttings(CHAT, ["a text that is long enough to be cut"], count=5, seed=seed)][-1].reads

    assert hostile(1) == hostile(1) != hostile(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_leaves_no_character_out(kind: str) -> None:
    from random import Random  # noqa: PLC0415 - one test needs it

    text = "One line.\r\nAnother  line,\twith blanks \u2028 and words that are long: antidisestablishmentarianism\n"
    assert "".join(KINDS[kind](text, Random(1))) == text
