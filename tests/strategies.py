"""Random streams: what the properties of the law are shown on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from safety_proxy.events import Chunk, Closed, Frame, Item, Segment
from safety_proxy.windows import WindowPolicy

CHANNELS = ("reasoning", "content", "refusal")


@dataclass(frozen=True)
class Text:
    """The text of one choice: runs of channels in order of arrival."""

    runs: tuple[tuple[str, str], ...]

    @property
    def positions(self) -> str:
        return "".join(text for _, text in self.runs)


@st.composite
def window_policies(draw: st.DrawFn) -> WindowPolicy:
    """Small numbers, so that short texts have many windows."""
    holdback = draw(st.integers(0, 8))
    return WindowPolicy(
        first=draw(st.integers(1, 14)),
        size=draw(st.integers(1, 14)),
        context=holdback + draw(st.integers(1, 8)),
        holdback=holdback,
        in_flight=draw(st.integers(1, 4)),
    )


@st.composite
def numbered_texts(draw: st.DrawFn, *, base: int = 0x4E00, longest: int = 60) -> Text:
    """Texts in which no character occurs twice, so that each tells its position. Clear of whatever is matched."""
    length = draw(st.integers(0, longest))
    cuts = sorted(draw(st.lists(st.integers(0, length), max_size=4)))
    return draw(_runs("".join(chr(base + i) for i in range(length)), cuts))


@st.composite
def with_phrase(draw: st.DrawFn, phrase: str, policy: WindowPolicy | None = None) -> Text:
    """A numbered text with *phrase* inside one of its runs; the runs like to end with the phrase and with the windows."""
    length = draw(st.integers(0, 60))
    place = draw(st.integers(0, length))
    end = place + len(phrase)
    numbered = "".join(chr(0x4E00 + i) for i in range(length))
    borders = [place, end]
    if policy is not None:
        borders += range(policy.first, length + len(phrase), policy.size)
    cuts = draw(st.lists(st.one_of(st.sampled_from(borders), st.integers(0, length + len(phrase))), max_size=5))
    return draw(_runs(numbered[:place] + phrase + numbered[place:], sorted(c for c in cuts if not place < c < end)))


@st.composite
def _runs(draw: st.DrawFn, characters: str, cuts: Sequence[int]) -> Text:
    """*characters* cut into runs, each of some channel."""
    pairs = zip([0, *cuts], [*cuts, len(characters)], strict=True)
    return Text(tuple((draw(st.sampled_from(CHANNELS)), characters[start:end]) for start, end in pairs if start < end))


@st.composite
def with_extras(draw: st.DrawFn, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same chunks, some of which also carry what takes no position: unknown strings, tokens beside the text."""
    found = []
    for piece in chunks:
        number = int(str(piece.payload["number"]))
        mark = chr(0x2800 + 0x100 * piece.choice + number)
        extra = draw(st.sampled_from(["none", "strings", "alternatives", "beside", "invisible"]))
        segments = {"beside": Segment("logprobs", mark, beside=True), "invisible": Segment("content", "\u200b")}
        found.append(
            replace(
                piece,
                segments=(*piece.segments, segments[extra]) if extra in segments else piece.segments,
                strings=(mark,) if extra == "strings" else (),
                alternatives=(mark,) if extra == "alternatives" else (),
            )
        )
    return found


@st.composite
def chunkings(draw: st.DrawFn, text: Text, choice: int = 0) -> list[Chunk]:
    """The chunks of one choice, cut anywhere; the last carries the finish, with text or without."""
    pieces: list[tuple[Segment, ...]] = []
    for channel, run in text.runs:
        cuts = sorted(draw(st.lists(st.integers(0, len(run)), max_size=8)))
        pieces += [
            (Segment(channel, run[a:b]),) if a < b else () for a, b in zip([0, *cuts], [*cuts, len(run)], strict=True)
        ]
    if len(pieces) > 1 and draw(st.booleans()):
        joint = draw(st.integers(0, len(pieces) - 2))
        pieces[joint : joint + 2] = [pieces[joint] + pieces[joint + 1]]
    if not pieces or draw(st.booleans()):
        pieces.append(())
    return [chunk(choice, number, segments, finished=number == len(pieces) - 1) for number, segments in enumerate(pieces)]


def chunk(choice: int, number: int, segments: tuple[Segment, ...], *, finished: bool = False) -> Chunk:
    return Chunk(choice, {"choice": choice, "number": number}, segments, finished=finished)


def one_by_one(text: Text, choice: int = 0) -> list[Chunk]:
    """A chunk for each character."""
    segments = [Segment(channel, character) for channel, run in text.runs for character in run]
    chunks = [chunk(choice, number, (segment,)) for number, segment in enumerate(segments)]
    return [*chunks, chunk(choice, len(chunks), (), finished=True)]


@st.composite
def interleavings(draw: st.DrawFn, lanes: Sequence[Sequence[Item]]) -> list[Item]:
    """The lanes merged at random, each in its own order."""
    rest = [list(lane) for lane in lanes if lane]
    merged: list[Item] = []
    while rest:
        lane = rest[draw(st.integers(0, len(rest) - 1))]
        merged.append(lane.pop(0))
        rest = [lane for lane in rest if lane]
    return merged


@st.composite
def reads(draw: st.DrawFn, items: Sequence[Item]) -> list[list[Item]]:
    """What each read brings: the items in groups, and the end of the stream."""
    items = [*items, Closed(complete=True)]
    cuts = sorted(draw(st.lists(st.integers(0, len(items)), max_size=10)))
    groups = [list(items[a:b]) for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]
    return [group for group in groups if group]


def frame(number: int) -> Frame:
    return Frame({"frame": number})
