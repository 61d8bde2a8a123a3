"""Cases spread over a Dask cluster, and their outcomes in the order of the cases (extra ``dask``).

The workers need this release of the package, and the variables and secrets that the plan's configuration names; no file is
shared with them. A worker judges one chunk at a time, however many threads it has: start workers with one thread each.
What a worker had under way when it was lost, another one does again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from safety_proxy import __version__
from safety_proxy.errors import ConfigError
from safety_proxy.harness.desk import Desk, Job, Make, Told
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.plan import Plan
from safety_proxy.harness.pool import AHEAD, Chunk, chunked

if TYPE_CHECKING:
    from distributed import Future, WorkerPlugin

_CONNECTING: Final = 10.0
"""Seconds for the scheduler to answer."""
_STARTING: Final = 60.0
"""Seconds for the first worker to be there: a cluster that grows with its work may have none before."""


def run_on_dask(
    jobs: Iterable[Job], make: Make, *, scheduler: str, starting: float = _STARTING
) -> Generator[Outcome, None, None]:
    """The outcomes of *jobs*, in their order, as they are asked for, from the cluster of the *scheduler* (``tcp://host:8786``).

    As `safety_proxy.harness.pool.run_cases`; raises `ConfigError` also if Dask is not installed, the cluster cannot be
    reached, or has no worker after *starting* seconds.
    """
    if isinstance(make, Plan) and make.record is not None:
        raise ConfigError("verdicts can be recorded on one machine only, not on a cluster", file=str(make.record))
    if find_spec("distributed") is None:
        raise ConfigError("needs Dask: pip install 'safety-proxy[dask]'")
    return _spread(chunked(jobs), make, scheduler, starting)


def _spread(chunks: Iterator[Chunk], make: Make, scheduler: str, starting: float) -> Generator[Outcome, None, None]:
    with _connected(scheduler) as client, _employed(client, make) as name:
        under_way: deque[tuple[Chunk, Future[Told]]] = deque()
        most = AHEAD
        while True:
            for chunk in islice(chunks, most - len(under_way)):
                under_way.append((chunk, client.submit(judge, name, chunk.jobs, pure=False)))
            if not under_way:
                return
            if starting:
                _wait_for_workers(client, starting)
                most, starting = AHEAD * len(client.nthreads()), 0
            chunk, future = under_way.popleft()
            chunk.told = _told(chunk, future)
            yield from chunk.outcomes()


class _Client(Protocol):
    """What is used of Dask's, which is written without types."""

    def submit(self, function: Callable[..., Told], /, *arguments: object, pure: bool) -> Future[Told]: ...
    def nthreads(self) -> Mapping[str, int]: ...
    def wait_for_workers(self, n_workers: int, timeout: float) -> None: ...
    def register_plugin(self, plugin: WorkerPlugin, name: str) -> object: ...
    def unregister_worker_plugin(self, name: str) -> object: ...
    def close(self) -> None: ...


def _wait_for_workers(client: _Client, seconds: float) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise ConfigError(f"the cluster has no worker after {seconds:.0f} seconds") from None


def _told(chunk: Chunk, future: Future[Told]) -> Told:
    try:
        return future.result()
    except (Exception, CancelledError, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever Dask tells of a loss
        places = f"{chunk.jobs[0].case.place} to {chunk.jobs[-1].case.place}"
        return Told(error=ConfigError(f"the cluster gave up {places}: {type(error).__name__}"))


@contextmanager
def _connected(scheduler: str) -> Iterator[_Client]:
    from distributed import Client  # noqa: PLC0415 - an extra, which writes its configuration when it is imported

    try:
        asyncio.run(_reach(scheduler))
        client: _Client = Client(scheduler, timeout=_CONNECTING, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler can be reached there: {type(error).__name__}", field=scheduler) from None
    try:
        yield client
    finally:
        client.close()


async def _reach(scheduler: str) -> None:
    """Raises OSError if nobody answers: a client that cannot connect does not end cleanly."""
    from distributed import Security  # noqa: PLC0415 - as above
    from distributed.comm.core import connect  # noqa: PLC0415 - as above

    arguments = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    comm = await connect(scheduler, timeout=_CONNECTING, **arguments)  # type: ignore[no-untyped-call]
    await comm.close()


# ------------------------------------------------------------------------------------------------------ on a worker


class SharedDesk:
    """The desk of a worker, at which its threads take turns."""

    def __init__(self, make: Make, release: str) -> None:
        self._desk, self._release = Desk(make), release
        self._turn = threading.Lock()

    def tell(self, jobs: Sequence[Job]) -> Told:
        """As `Desk.tell`."""
        if self._release != __version__:
            return Told(error=ConfigError(f"a Dask worker has safety-proxy {__version__}; install {self._release} there"))
        with self._turn:
            return self._desk.tell(jobs)

    def close(self) -> None:
        """When it is nobody's turn."""
        with self._turn:
            self._desk.close()


def judge(plugin: str, jobs: Sequence[Job]) -> Told:
    """What the desk of the worker that runs this tells."""
    from distributed import get_worker  # noqa: PLC0415 - as above

    desk: SharedDesk = get_worker().plugins[plugin].desk  # type: ignore[attr-defined]  # the plugin is one of those below
    return desk.tell(jobs)


def _plugin(make: Make) -> WorkerPlugin:
    """Keeps a desk on each worker, also on those that come later."""
    from distributed import WorkerPlugin  # noqa: PLC0415 - as above

    class Judging(WorkerPlugin):
        def __init__(self, make: Make, release: str) -> None:
            self._make, self._release = make, release

        def setup(self, worker: object) -> None:  # noqa: ARG002 - Dask's signature
            self.desk = SharedDesk(self._make, self._release)

        async def teardown(self, worker: object) -> None:  # noqa: ARG002 - Dask's signature
            await asyncio.to_thread(self.desk.close)  # in this thread the worker's own event loop is running

    return Judging(make, __version__)


@contextmanager
def _employed(client: _Client, make: Make) -> Iterator[str]:
    name = f"safety-proxy-{uuid4().hex}"
    client.register_plugin(_plugin(make), name=name)
    try:
        yield name
    finally:
        with suppress(Exception):  # the cluster may be gone, or else ends what it has under way
            client.unregister_worker_plugin(name)
