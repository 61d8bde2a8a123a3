"""What all stand-ins for services share: they serve on loopback, keep what they received, and can be made to fail."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

JSON_TYPE: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    """As JSON; None if there was none."""


@dataclass
class Fault:
    """What is answered instead."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON_TYPE))
    hang: bool = False
    """Never answer."""
    drop: bool = False
    """Close the connection without a word."""
    cut: bool = False
    """Close the connection in the middle of the body."""
    times: int | None = None
    """How often before it mends; None: never."""
    path: str | None = None
    """Only there; None: everywhere."""


class LoopbackService(ABC):
    """Serves on a free port between `start` and `stop`. A subclass says what a sound answer is."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.gate: asyncio.Event | None = None
        """If there is one, requests wait for it."""
        self._faults: dict[str | None, Fault] = {}
        self.waiting = 0
        self.most_waiting = 0
        self.abandoned = asyncio.Event()
        """A client left before its answer."""
        self.url = ""
        """Without a slash at its end; known while it runs."""
        self._arrived = asyncio.Condition()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)

    @abstractmethod
    def answer(self, request: Received) -> web.Response:
        """What the service answers when it is well."""

    async def start(self) -> None:
        """Begin to serve."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        """Stop serving; later requests are refused."""
        await self._runner.cleanup()

    def fail(self, **fault: Any) -> None:  # noqa: ANN401 - the fields of a fault have all types
        """Answer with a `Fault` of these fields from now on; faults of several paths stand beside each other."""
        made = Fault(**fault)
        self._faults[made.path] = made

    def mend(self) -> None:
        """Be well again."""
        self._faults.clear()

    async def received_by(self, count: int) -> None:
        """Wait until *count* requests have come in."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)

    def bodies(self) -> Sequence[Any]:
        """The bodies that were sent, in order."""
        return [request.body for request in self.received]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        received = Received(request.path, request.headers, request.query, body)
        async with self._arrived:
            self.received.append(received)
            self._arrived.notify_all()
        fault = self._current_fault(request.path)
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        try:
            if fault is not None and fault.hang:
                await asyncio.Event().wait()
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.abandoned.set()
            raise
        finally:
            self.waiting -= 1
        return await _broken(request, fault) if fault is not None else self.answer(received)

    def _current_fault(self, path: str) -> Fault | None:
        fault = self._faults.get(path) or self._faults.get(None)
        if fault is None:
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times < 0:
                return None
        return fault


async def _broken(request: web.Request, fault: Fault) -> web.StreamResponse:
    assert request.transport is not None
    if fault.drop:
        request.transport.abort()
    if not fault.cut:
        return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
    half = web.StreamResponse(headers={**fault.headers, "Content-Length": str(len(fault.body) + 100)})
    await half.prepare(request)
    await half.write(fault.body)
    request.transport.close()
    return half
