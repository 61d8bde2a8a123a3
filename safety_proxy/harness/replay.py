"""A completion judged whole, and as streams: they must decide alike, and show nothing of what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.dialects.completions import Completions
from safety_proxy.engine import Engine, decided
from safety_proxy.events import Chunk, Closed, Item, Shown
from safety_proxy.harness.cuttings import Cutting, cuttings
from safety_proxy.harness.outcome import FoundSide, FoundSpan
from safety_proxy.harness.spans import explained, found_spans
from safety_proxy.jsontext import as_object, parse
from safety_proxy.model import JSON, Action, Decision
from safety_proxy.moderation import Background, Judged
from safety_proxy.policy import strictest
from safety_proxy.sse import DONE, SSEDecoder

_CHAT: Final = ChatCompletions()
_TEXT: Final = Completions()


@dataclass(slots=True)
class _Choice:
    """What was made of one choice, judged as a whole."""

    decision: Decision
    judged: list[Judged]
    judged_up_to: dict[str, int] = field(default_factory=dict)
    """By channel: the end of the last window that was let pass, in characters."""
    found_from: dict[str, int] = field(default_factory=dict)
    """By channel: where the first thing begins for which it was filtered, if it is no longer than the holdback."""


@dataclass(slots=True)
class _Received:
    """What a client received of one choice."""

    texts: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))
    finish_reason: str | None = None


class Replay:
    """The completion of a case under an engine; *said* are its choices as the case has them. *text*: it completes a text."""

    def __init__(
        self, engine: Engine, chunks: Sequence[Chunk], said: Sequence[JSON], background: Background, *, text: bool
    ) -> None:
        self._engine, self._chunks, self._said, self._background = engine, chunks, said, background
        self._dialect = _TEXT if text else _CHAT
        self._choices: list[_Choice] = []

    async def judge(self) -> FoundSide:
        """The decision on the whole completion, and where something was found."""
        self._choices = [await self._judge(chunk) for chunk in self._chunks]
        spans: list[FoundSpan] = []
        for index, choice in enumerate(self._choices):
            for each in choice.judged:
                spans += found_spans(await explained(self._engine, each), f"completion[{index}].{each.query.channel}")
        decided = strictest(choice.decision for choice in self._choices)
        return FoundSide.of(
            decided, tuple(dict.fromkeys(sorted(spans, key=lambda span: (span.field, span.start, span.end))))
        )

    async def faults(self, *, cuttings: int, seed: int) -> list[str]:
        """What is wrong with the streams, after `judge`: a decision that depends on the cutting, or text that got out."""
        return [fault for each in self._streams(cuttings, seed) async for fault in self._faults_of(each)]

    def _streams(self, count: int, seed: int) -> Iterator[Cutting]:
        return cuttings(self._dialect, self._said, count=count, seed=seed)

    # ----------------------------------------------------------------------------------------------------- whole

    async def _judge(self, chunk: Chunk) -> _Choice:
        """One choice as the only one of an answer, so that it is known whose windows are judged."""
        windows: list[list[Judged]] = []
        effects = await self._engine.moderate_answer(
            [chunk], choices=1, background=self._background, witness=lambda judged: windows.append([*judged])
        )
        decision = decided(effects)
        choice = _Choice(decision, [each for window in windows for each in window])
        if decision.action is not Action.ALLOW:
            self._bound(choice, windows)
        return choice

    def _bound(self, choice: _Choice, windows: Sequence[Sequence[Judged]]) -> None:
        """How far a stream of the choice may go at most."""
        passed: dict[str, list[int]] = defaultdict(list)
        stopped: dict[str, list[int]] = defaultdict(list)
        for window in windows:
            allowed = strictest(each.decision for each in window).action is Action.ALLOW
            for each in window:
                if each.query.offset is not None:
                    (passed if allowed else stopped)[each.query.channel].append(each.query.offset + len(each.query.text))
        for channel in {*passed, *stopped}:
            first = min(stopped[channel], default=None)
            choice.judged_up_to[channel] = max((end for end in passed[channel] if first is None or end < first), default=0)
        filtered = {str(category) for category, each in choice.decision.annotations.items() if each.filtered}
        filtered |= {name for name, blocks in choice.decision.blocklists.items() if blocks}
        for each in choice.judged:
            for span in found_spans(each, each.query.channel):
                if span.label in filtered and span.end - span.start <= self._engine.stream.holdback:
                    choice.found_from[span.field] = min(span.start, choice.found_from.get(span.field, span.start))

    # --------------------------------------------------------------------------------------------------- streams

    async def _faults_of(self, cutting: Cutting) -> AsyncGenerator[str, None]:
        received = await self._receive(cutting)
        for index, choice in enumerate(self._choices):
            got = received[index]
            where = f"output: cut into {cutting.name}" + (f", choice {index}" if len(self._choices) > 1 else "")
            expected = choice.decision.action.value or "stop"
            if got.finish_reason != expected:
                yield f"{where}: ended in {got.finish_reason}, judged as a whole in {expected}"
            if choice.decision.action is not Action.ALLOW and self._engine.stream.mode != "asynchronous":
                for fault in _leaks(choice, got.texts):
                    yield f"{where}: {fault}"

    async def _receive(self, cutting: Cutting) -> defaultdict[int, _Received]:
        """What a client receives of a stream, choice by choice."""
        codec = StreamCodec(self._dialect, StreamOptions(annotations=False))
        sink = _Client(codec)
        source = _read(cutting, codec)
        await self._engine.moderate_stream(source, sink, choices=len(self._choices), background=self._background)
        return sink.received(self._dialect.delta_key)


class _Client:
    """Takes the bytes of a stream and reads them as clients do."""

    def __init__(self, codec: StreamCodec) -> None:
        self._codec, self._decoder = codec, SSEDecoder()
        self._sent: list[bytes] = []

    async def write(self, effects: Sequence[Shown]) -> None:
        """Take what one turn brought."""
        self._sent += map(self._codec.encode, effects)

    async def heartbeat(self, choice: int) -> None:
        """Nobody waits long here."""

    def received(self, key: str) -> defaultdict[int, _Received]:
        """What each choice came to; *key* is where its text stands."""
        found: defaultdict[int, _Received] = defaultdict(_Received)
        for event in (*self._decoder.feed(b"".join(self._sent)), *self._decoder.flush()):
            choices = as_object(parse(event.data)).get("choices") if event.data != DONE else None
            for choice in map(as_object, choices if isinstance(choices, list) else ()):
                index = choice.get("index")
                got = found[index if isinstance(index, int) else 0]
                for channel, text in _texts(choice.get(key)):
                    got.texts[channel] += text
                reason = choice.get("finish_reason")
                got.finish_reason = reason if isinstance(reason, str) else got.finish_reason
        return found


def _texts(delta: JSON) -> Iterator[tuple[str, str]]:
    if isinstance(delta, str):
        yield "text", delta
    for name, value in as_object(delta).items():
        if isinstance(value, str) and name != "role":
            yield name, value


async def _read(cutting: Cutting, codec: StreamCodec) -> AsyncGenerator[Sequence[Item], None]:
    decoder = SSEDecoder()
    for data in cutting.reads:
        if items := [item for event in decoder.feed(data) for item in codec.decode(event)]:
            yield items
    yield [*(item for event in decoder.flush() for item in codec.decode(event)), Closed()]


def _leaks(choice: _Choice, shown: Mapping[str, str]) -> Iterator[str]:
    """What got out that should not have."""
    for channel, text in shown.items():
        if channel in choice.judged_up_to and len(text) > choice.judged_up_to[channel]:
            yield f"{len(text) - choice.judged_up_to[channel]} characters of {channel} were shown that no window let pass"
        begins = choice.found_from.get(channel)
        if begins is not None and len(text) > begins:
            yield f"{len(text) - begins} characters of {channel} were shown from where something was found"
