"""Stand-ins for tests, ours and yours: a classifier and a model server that follow scripts, and a filter's driver.

A phrase counts as found by the rule that every classifier keeps: not where it touches an edge of the text beyond which the
text goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast

from aiohttp import web

from safety_proxy.errors import ClassifierError
from safety_proxy.events import Classify, Effect, Item, Shown, StopReading
from safety_proxy.jsontext import as_object, parse, write
from safety_proxy.model import HARMS, JSON, Category, Decision, JSONObject, Kind, Query, Span, Verdict
from safety_proxy.sse import DONE, encode
from safety_proxy.stream import Filter

__all__ = ["Answer", "FakeBackend", "Request", "ScriptedClassifier", "drive", "occurs"]


def occurs(phrase: str, query: Query) -> tuple[int, int] | None:
    """Where *phrase* counts as found in *query*, as a half-open range of characters."""
    start = query.text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if not (query.open_left and start == 0) and not (query.open_right and end == len(query.text)):
            return start, end
        start = query.text.find(phrase, start + 1)
    return None


class ScriptedClassifier:
    """A classifier that finds what it is told to find.

    *severities* and *detections* map phrases to what their occurrence means, one thing or several; *errors* maps phrases
    to the reason of a `ClassifierError`. With a *gate*, no verdict is given before it is set. All that was asked is kept in
    `asked`. If it *reads_images*, a phrase occurs in an image whose bytes hold it as ASCII.
    """

    limit: int | None = None
    overlap: int = 0

    def __init__(
        self,
        severities: Mapping[str, tuple[Category, int] | Sequence[tuple[Category, int]]] | None = None,
        *,
        detections: Mapping[str, Category | Sequence[Category]] | None = None,
        errors: Mapping[str, str] | None = None,
        gate: asyncio.Event | None = None,
        name: str = "scripted",
        reads_images: bool = False,
        reads_conversation: bool = False,
    ) -> None:
        self.name = self.identity = name
        self.reads_images, self.reads_conversation = reads_images, reads_conversation
        self.asked: list[Query] = []
        self.closed = False
        self._severities = [
            (phrase, category, severity)
            for phrase, means in (severities or {}).items()
            for category, severity in _several(means)
        ]
        self._detections = [
            (phrase, category)
            for phrase, means in (detections or {}).items()
            for category in ([means] if isinstance(means, Category) else means)
        ]
        self._errors = dict(errors or {})
        self._gate = gate

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        """Everything there is."""
        return frozenset(Category)

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """By the script."""
        if self._gate is not None:
            await self._gate.wait()
        self.asked += queries
        return [self._verdict(query) for query in queries]

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _verdict(self, query: Query) -> Verdict:
        if query.images:
            query = replace(query, text="\n".join(image.data.decode("latin-1") for image in query.images))
        for phrase, reason in self._errors.items():
            if phrase in query.text:
                raise ClassifierError(reason)
        severities = dict.fromkeys(HARMS, 0)
        detections = dict.fromkeys(Category, False)
        spans = []
        for phrase, category, severity in self._severities:
            if found := occurs(phrase, query):
                severities[category] = max(severities[category], severity)
                spans.append(Span(*found, category))
        for phrase, category in self._detections:
            if found := occurs(phrase, query):
                detections[category] = True
                spans.append(Span(*found, category))
        return Verdict(severities, {c: d for c, d in detections.items() if c not in HARMS}, spans=tuple(spans))


def _several(means: tuple[Category, int] | Sequence[tuple[Category, int]]) -> Sequence[tuple[Category, int]]:
    if len(means) == 2 and isinstance(means[1], int):  # noqa: PLR2004 - a category and its severity
        return [cast("tuple[Category, int]", means)]
    return cast("Sequence[tuple[Category, int]]", means)


def drive(
    stream_filter: Filter,
    reads: Sequence[Sequence[Item]],
    judge: Callable[[Sequence[Query]], Decision],
    *,
    random: Random | None = None,
    seen: Callable[[Effect], None] | None = None,
) -> list[Shown]:
    """Run a filter to its end without an event loop; return what the client is shown.

    *reads* are what the backend brings, one read at a time, as long as the filter wants more. With *random*, decisions
    come late and in any order; without, each at once. *seen* is told every effect.
    """
    shown: list[Shown] = []
    pending: list[Classify] = []
    waiting = list(reads)
    while not stream_filter.done:
        read_next = (
            bool(waiting) and stream_filter.wants_more and (not pending or random is None or random.getrandbits(1) == 1)
        )
        if read_next:
            effects = stream_filter.feed(waiting.pop(0))
        elif pending:
            asked = pending.pop(random.randrange(len(pending)) if random is not None else 0)
            effects = stream_filter.decide(asked.window, judge(asked.queries))
        else:
            raise AssertionError("the filter waits for nothing and is not done")
        for effect in effects:
            if seen is not None:
                seen(effect)
            if isinstance(effect, Classify):
                pending.append(effect)
            elif not isinstance(effect, StopReading):
                shown.append(effect)
    return shown


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend was asked."""

    path: str
    headers: Mapping[str, str]
    """Names in any case."""
    body: JSONObject


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend says: *pieces* one write after the other, waiting at each event until it is set."""

    pieces: Sequence[bytes | asyncio.Event] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    abort: bool = False
    """Break the connection off at the end."""
    head_after: asyncio.Event | None = None
    """Say nothing at all before this is set."""

    @classmethod
    def stream(cls, *events: JSON | bytes, done: bool = True) -> Answer:
        """Server-sent events: JSON, or bytes as they are; ``[DONE]`` at the end."""
        pieces = [event if isinstance(event, bytes) else encode(write(event)) for event in events]
        return cls([*pieces, *([encode(DONE)] if done else [])])

    @classmethod
    def json(cls, body: JSON, status: int = 200) -> Answer:
        """A whole answer."""
        return cls([write(body)], status, {"Content-Type": "application/json"})


class FakeBackend:
    """A model server on loopback that gives `answer`, the same or one for each request, and remembers what it was asked."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer: Answer | Callable[[Request], Answer] = answer or Answer.stream()
        self.requests: list[Request] = []
        self.left = asyncio.Event()
        """Set when a client closed its connection before the answer's end."""
        self.asked = asyncio.Event()
        """Set when a request has come."""
        self.url = ""
        """What a client appends ``/chat/completions`` to; known while it runs."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeBackend]:
        """Serve on a free port."""
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}/v1"
            yield self
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = as_object(parse(await request.read() or b"{}"))
        asked = Request(request.path, request.headers, body)
        self.requests.append(asked)
        self.asked.set()
        answer = self.answer if isinstance(self.answer, Answer) else self.answer(asked)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        try:
            if answer.head_after is not None:
                await answer.head_after.wait()
            await response.prepare(request)
            for piece in answer.pieces:
                if isinstance(piece, bytes):
                    await response.write(piece)
                else:
                    await piece.wait()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        if answer.abort and request.transport is not None:
            request.transport.abort()
        return response
