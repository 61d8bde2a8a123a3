"""Running the server: sockets, worker processes, signals."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import structlog
from aiohttp import http_parser, web

from safety_proxy.server.app import create_app
from safety_proxy.server.shared import Shared, share
from safety_proxy.settings import Settings

_BACKLOG: Final = 1024
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("safety_proxy.server")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; open requests may finish within ``settings.drain`` seconds.

    Raises `ConfigError` for what cannot be enforced, and OSError if the address cannot be bound.
    """
    if not hasattr(http_parser, "HttpRequestParserC"):
        log.warning("config.warning", message="aiohttp's C parser is missing: slower, and a different reading of HTTP")
    with _listening(settings.listen.host, settings.listen.port) as listener:
        if settings.workers == 1:
            _work(settings, listener, share(settings), 0)
        else:
            _supervise(settings, listener)


@asynccontextmanager
async def running(app: web.Application, *, host: str = "127.0.0.1", port: int = 0, drain: float = 0) -> AsyncIterator[str]:
    """An application that is being served; gives its URL. Port 0 is any free one."""
    with _listening(host, port) as listener:
        async with _serving(app, listener, drain):
            yield _url(listener)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.create_server(address[:2], family=family, backlog=_BACKLOG) as listener:
        yield listener


@asynccontextmanager
async def _serving(app: web.Application, listener: socket.socket, drain: float) -> AsyncIterator[None]:
    # handler_cancellation: without it a client that leaves goes unnoticed until something is written to it.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=drain)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"


# ------------------------------------------------------------------------------------------------------ processes


def _work(settings: Settings, listener: socket.socket, shared: Shared, worker: int) -> None:
    """Serve in this process."""

    async def serve() -> None:
        stop = asyncio.Event()
        for number in _STOPPING:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with _serving(create_app(settings, shared=shared, worker=worker), listener, settings.drain):
            host, port, *_ = listener.getsockname()
            log.info("server.started", host=host, port=port, workers=settings.workers, pid=os.getpid())
            await stop.wait()
            log.info("server.draining")
        log.info("server.stopped")

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(serve())


def _new_loop() -> asyncio.AbstractEventLoop:
    """Of uvloop where there is one (not on Windows and PyPy), else asyncio's own."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


def _supervise(settings: Settings, listener: socket.socket) -> None:
    """Serve in several processes that share the listener; when one dies, all stop, and the operator's tools see it."""
    create_app(settings)  # mistakes show once, here
    fork = multiprocessing.get_context("fork")
    shared = share(settings)
    workers = [fork.Process(target=_work, args=(settings, listener, shared, i)) for i in range(settings.workers)]
    for worker in workers:
        worker.start()

    def stop(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    for number in _STOPPING:
        signal.signal(number, stop)
    multiprocessing.connection.wait([worker.sentinel for worker in workers])
    stop()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(1)
