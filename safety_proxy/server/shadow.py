"""Policies on trial: they judge what the enforced ones have judged, and nobody waits for them.

A shadow judges when the request is over: the prompt, and the completion as the backend sent it, what was withheld included,
through an engine of its own. Its classifiers are those of the enforced policies, behind the same cache. Whatever
becomes of it - too much at once, failures, mistakes, the end of the server - is counted, and touches no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

import structlog

from safety_proxy.engine import Engine
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk, Closed, Item, Segment, Shown
from safety_proxy.model import Action, Decision, Prompt
from safety_proxy.server.audit_record import Stages, Tally, chunks_of, reason_of
from safety_proxy.server.meters import SHADOW_DECISIONS, Meters

ROOM: Final = 256
"""Shadows of a process that collect, wait or judge; a request beyond it has none."""
AT_ONCE: Final = 4
"""Of those, how many judge at a time: traffic that is enforced wants its turn."""
LONGEST: Final = 256 * 1024
"""Characters of a completion that are kept for a shadow; one that is longer is not judged by it."""

_OVERHEAD: Final = 200
"""Characters that a chunk counts for beside its text."""
_JOINED: Final = 100
"""Chunks of plain text that are kept as one; about a window and more."""
_PIECE: Final = 1_000
"""Characters that are judged before others have their turn: a few windows."""

Told: TypeAlias = Callable[[Stages | None, str | None], None]
"""Is told what a shadow decided, and why something was not evaluated."""

log = structlog.get_logger("safety_proxy.server")


@dataclass(slots=True)
class Shadow:
    """One request's, while its completion arrives. Made by `Shadows.open`."""

    engine: Engine
    deployment: str
    refused: str | None = None
    """Why it does not judge."""
    _chunks: list[Chunk] = field(default_factory=list)
    _begun: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    """By choice, a channel and what was said in it lately: a chunk for each word would take far more memory."""
    _length: int = 0

    def arrived(self, items: Iterable[Item]) -> None:
        """Keep what one read brought, without what the client gets to see beside the texts."""
        for chunk in chunks_of(items) if self.refused is None else ():
            self._length += sum(len(segment.text) for segment in chunk.segments) + sum(map(len, chunk.strings))
            if _is_plain(chunk):
                for segment in chunk.segments:
                    self._add(chunk.choice, segment)
            else:
                self._length += _OVERHEAD
                self._flush(chunk.choice)
                self._chunks.append(replace(chunk, payload={"finish_reason": reason_of(chunk)}))
        if self._length > LONGEST:
            self.refused = "too_long"
            self._chunks.clear()
            self._begun.clear()

    def completion(self) -> list[Chunk]:
        """All that arrived. Choices need not be in the order in which they came, but each is."""
        for choice in [*self._begun]:
            self._flush(choice)
        return self._chunks

    def _add(self, choice: int, segment: Segment) -> None:
        channel, texts = self._begun.setdefault(choice, (segment.channel, []))
        if channel != segment.channel or len(texts) >= _JOINED:
            self._flush(choice)
            texts = self._begun.setdefault(choice, (segment.channel, []))[1]
        texts.append(segment.text)

    def _flush(self, choice: int) -> None:
        if choice in self._begun:
            channel, texts = self._begun.pop(choice)
            self._chunks.append(Chunk(choice, {}, (Segment(channel, "".join(texts)),)))


def _is_plain(chunk: Chunk) -> bool:
    """Whether there is nothing but text of a choice that goes on."""
    beside = chunk.finished or chunk.strings or chunk.alternatives
    return not beside and not any(segment.whole or segment.beside for segment in chunk.segments)


@dataclass(frozen=True, slots=True)
class Case:
    """What a shadow is to judge, and what was enforced."""

    prompt: Prompt
    tenant: str
    input: Decision
    output: Decision | None
    """None: there was no completion, or not all of it was judged."""
    choices: int = 1


class Shadows:
    """All of one process. Owns the tasks in which they judge, and ends them."""

    def __init__(self, meters: Meters, *, room: int = ROOM, at_once: int = AT_ONCE) -> None:
        self._meters, self._room = meters, room
        self._taken = 0
        self._places = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[Stages]] = set()

    def open(self, engine: Engine, deployment: str) -> Shadow:
        """A place for a request that begins; it must be given to `judge` or `leave`."""
        if self._taken >= self._room:
            return Shadow(engine, deployment, refused="overloaded")
        self._taken += 1
        return Shadow(engine, deployment)

    def leave(self, shadow: Shadow) -> None:
        """There is nothing for it to judge."""
        if shadow.refused != "overloaded":
            self._taken -= 1

    def judge(self, shadow: Shadow, case: Case, told: Told) -> None:
        """Judge beside all else; *told* is called once, now or later. Returns at once."""
        if shadow.refused is not None:
            self.leave(shadow)
            self._tell(shadow, case, told, None, shadow.refused)
            return
        task = asyncio.create_task(self._judge(shadow, case))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, shadow, case, told))

    async def close(self) -> None:
        """Give up what is being judged."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # ------------------------------------------------------------------------------------------------------- judging

    async def _judge(self, shadow: Shadow, case: Case) -> Stages:
        async with self._places:
            engine = shadow.engine
            try:
                decision = (await engine.moderate_prompt(case.prompt, case.tenant)).decision
            except RequestError as error:
                decision = refusal_of(error)
            if case.output is None:
                return Stages(engine.policies, decision)
            tally = _Tallying()
            source, background = _again(shadow.completion()), engine.background(case.prompt, case.tenant)
            await engine.moderate_stream(source, tally, choices=case.choices, background=background)
            return Stages(engine.policies, decision, tally.tally)

    def _done(self, shadow: Shadow, case: Case, told: Told, task: asyncio.Task[Stages]) -> None:
        self._tasks.discard(task)
        self.leave(shadow)
        stages, reason = None, None
        if task.cancelled():
            reason = "stopped"
        elif (error := task.exception()) is not None:
            reason = "internal"
            log.error("shadow.failed", error=type(error).__name__, policy=shadow.engine.identity)
        else:
            stages = task.result()
        self._tell(shadow, case, told, stages, reason)

    def _tell(self, shadow: Shadow, case: Case, told: Told, stages: Stages | None, reason: str | None) -> None:
        count = partial(self._meters.count, SHADOW_DECISIONS, shadow.deployment, shadow.engine.identity)
        output = stages.output.decision if stages is not None and stages.output is not None else None
        count("input", case.input.action.word, _word(stages.input if stages is not None else None))
        if case.output is not None:
            count("output", case.output.action.word, _word(output))
        told(stages, reason)


def refusal_of(error: RequestError) -> Decision:
    """A prompt that cannot be judged - nobody can read it, or it is too long - as a decision."""
    return Decision(Action.FAIL, error=error.code or "refused")


def _word(decision: Decision | None) -> str:
    return "not_evaluated" if decision is None else decision.action.word


class _Tallying:
    """A sink that nobody reads."""

    def __init__(self) -> None:
        self.tally = Tally()

    async def write(self, effects: Sequence[Shown]) -> None:
        """Count."""
        self.tally.shown(effects)

    async def heartbeat(self, choice: int) -> None:
        """Nobody is waiting."""


async def _again(chunks: Sequence[Chunk]) -> AsyncGenerator[Sequence[Item], None]:
    """A completion that has arrived, bit by bit: judging must not keep the event loop from those who wait for it."""
    for chunk in chunks:
        for piece in _pieces(chunk):
            await asyncio.sleep(0)
            yield (piece,)
    yield (Closed(complete=True),)


def _pieces(chunk: Chunk) -> Iterator[Chunk]:
    """A long chunk as several short ones. What stands beside the text, or is judged as a whole, stays as it is."""
    if sum(len(s.text) for s in chunk.segments) <= _PIECE or any(s.whole or s.beside for s in chunk.segments):
        yield chunk
        return
    for segment in chunk.segments:
        for start in range(0, len(segment.text), _PIECE):
            yield Chunk(chunk.choice, {}, (Segment(segment.channel, segment.text[start : start + _PIECE]),))
    yield replace(chunk, segments=())
