"""The store that machines share, against a real server, which is slowed, filled, stopped and killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from safety_proxy.classifiers.base import Classifier
from safety_proxy.classifiers.cache import MemoryStore, Store, VerdictCache
from safety_proxy.classifiers.redis_store import PREFIX, RedisStore
from safety_proxy.errors import ConfigError
from safety_proxy.model import Verdict
from tests.classifiers.judge import VIOLENCE, Judge, prompt, said_of

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed: the shared cache goes UNTESTED")

SECRET = b"of these tests"
TEXT = "the words of a prompt"
KEYS = [bytes([number]) * 32 for number in range(3)]
PATIENCE = 5.0
"""Seconds that a busy machine may take for what takes milliseconds."""


@dataclass
class Server:
    """A redis-server of our own."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @classmethod
    def start(cls, folder: Path) -> Server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return cls(port, cls._run(folder, port), folder)

    def start_again(self) -> None:
        """Once it was stopped, at the same port and empty."""
        self.process = self._run(self.folder, self.port)

    @staticmethod
    def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
        assert SERVER is not None
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        process = subprocess.Popen([SERVER, *options], stdout=subprocess.PIPE)  # noqa: S603 - what was found above
        assert process.stdout is not None
        for line in process.stdout:
            if b"Ready to accept connections" in line:
                return process
        raise RuntimeError("redis-server did not start")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """End it, by its own process id, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server.start(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(server: Server, clock: Clock) -> AsyncIterator[RedisStore]:
    made = RedisStore(server.url, ttl=60.0, timeout=PATIENCE, clock=clock)
    yield made
    await made.close()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    """To look inside."""
    client = Redis.from_url(server.url, protocol=2)
    yield client
    await client.aclose()


def verdict(severity: int = 3) -> Verdict:
    return Verdict({VIOLENCE: severity})


def events(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [(entry["event"], entry.get("operation")) for entry in logs]


def behind(store: Store, judge: Judge, secret: bytes = SECRET) -> Classifier:
    """*judge* on a machine of its own."""
    return VerdictCache(MemoryStore(2**20, 60.0), store, secret=secret).wrap(judge)


class TestStore:
    async def test_what_was_put_is_found_in_order(self, store: RedisStore) -> None:
        await store.put_many({KEYS[0]: verdict(1), KEYS[2]: verdict(2)})
        assert await store.get_many(KEYS) == [verdict(1), None, verdict(2)]

    async def test_nothing_is_asked_about_nothing(self, store: RedisStore, server: Server) -> None:
        server.stop()
        with capture_logs() as logs:
            assert await store.get_many([]) == []
            await store.put_many({})
            await store.put_many({KEYS[0]: Verdict(failures={VIOLENCE: "timeout"})})
        assert not logs

    async def test_each_entry_has_its_time(self, store: RedisStore, server: Server, redis: Redis) -> None:
        await store.put_many(dict.fromkeys(KEYS, verdict()))
        for key in KEYS:
            assert 50_000 < await redis.pttl(PREFIX + key.hex()) <= 60_000
        short = RedisStore(server.url, ttl=0.0001, timeout=PATIENCE)
        await short.put_many({KEYS[0]: verdict()})
        await redis.blpop(["nothing"], timeout=0.01)  # until some time has passed there
        assert await short.get_many(KEYS) == [None, verdict(), verdict()]
        await short.close()

    @pytest.mark.parametrize("value", [b"", b"null", b"\x00\xff", b'{"v":1}', b'{"v":2,"s":{"violence":0}}'])
    async def test_anything_odd_is_a_miss(self, store: RedisStore, redis: Redis, value: bytes) -> None:
        await redis.set(PREFIX + KEYS[0].hex(), value)
        assert await store.get_many(KEYS[:1]) == [None]

    async def test_an_entry_of_another_type_or_key_is_a_miss(self, store: RedisStore, redis: Redis) -> None:
        await store.put_many({KEYS[0]: verdict()})
        written = await redis.get(PREFIX + KEYS[0].hex()) or b""
        await redis.set(PREFIX + KEYS[1].hex(), written)
        await redis.lpush(PREFIX + KEYS[2].hex(), written)
        assert await store.get_many(KEYS) == [verdict(), None, None]

    async def test_prefixes_are_kept_apart(self, store: RedisStore, server: Server) -> None:
        other = RedisStore(server.url, ttl=60.0, prefix="other:", timeout=PATIENCE)
        await store.put_many({KEYS[0]: verdict()})
        assert await other.get_many(KEYS[:1]) == [None]
        await other.close()


class TestSharing:
    async def test_machines_with_one_secret_share_verdicts_and_others_do_not(self, server: Server) -> None:
        stores = [RedisStore(server.url, ttl=60.0, timeout=PATIENCE) for _ in range(3)]
        one, other, stranger = Judge(), Judge(), Judge()
        batch = [prompt("a"), prompt("b"), prompt("a", tenant="theirs")]
        expected = [said_of(query) for query in batch]
        assert await behind(stores[0], one).classify(batch) == expected
        assert await behind(stores[1], other).classify([*batch, prompt("c")]) == [*expected, said_of(prompt("c"))]
        assert await behind(stores[2], stranger, b"another secret").classify(batch) == expected
        assert [len(judge.asked) for judge in (one, other, stranger)] == [3, 1, 3]
        for each in stores:
            await each.close()

    async def test_redis_holds_no_text(self, store: RedisStore, redis: Redis) -> None:
        judge = Judge(say=lambda _: Verdict({VIOLENCE: 3}), reported=frozenset({VIOLENCE}))
        await behind(store, judge).classify([prompt(TEXT, tenant="whose")])
        (name,) = await redis.keys()
        held = f"{name!r} {await redis.get(name)!r}"
        assert "violence" in held
        for word in ("words", "prompt", "whose", "model=1", SECRET.decode()):
            assert word not in held

    async def test_a_server_that_is_killed_midway_stops_nobody(
        self, server: Server, store: RedisStore, clock: Clock
    ) -> None:
        judge = Judge()
        cached = behind(store, judge)
        await cached.classify([prompt("before")])
        server.stop()
        with capture_logs() as logs:
            for number in range(20):
                text = f"after {number}"
                assert await cached.classify([prompt("before"), prompt(text)]) == [
                    said_of(prompt("before")),
                    said_of(prompt(text)),
                ]
                clock.now += 2.0
        assert len(judge.asked) == 21
        assert events(logs) == [("cache.redis_failed", "read")]
        assert str(server.port) not in str(logs)

    async def test_it_is_used_again_when_it_is_back(self, server: Server, store: RedisStore, clock: Clock) -> None:
        await store.put_many({KEYS[0]: verdict()})
        server.stop()
        with capture_logs() as logs:
            assert await store.get_many(KEYS[:1]) == [None]
            server.start_again()
            assert await store.get_many(KEYS[:1]) == [None]  # it is left alone for a while
            clock.now += 1.1
            await store.put_many({KEYS[0]: verdict(5)})
            assert await store.get_many(KEYS[:1]) == [verdict(5)]
        assert events(logs) == [("cache.redis_failed", "read"), ("cache.redis_is_back", "read")]

    async def test_the_log_hears_of_it_once_a_minute(self, server: Server, store: RedisStore, clock: Clock) -> None:
        server.stop()
        with capture_logs() as logs:
            for _ in range(100):
                await store.get_many(KEYS)
                clock.now += 1.3
        assert events(logs) == [("cache.redis_failed", "read")] * 3


class TestSlowness:
    async def test_a_stopped_server_is_waited_for_only_so_long(self, server: Server, clock: Clock) -> None:
        store = RedisStore(server.url, ttl=60.0, timeout=0.1, clock=clock)
        server.signal(signal.SIGSTOP)
        judge = Judge()
        cached = behind(store, judge)
        begun = time.monotonic()
        assert await cached.classify([prompt("a")]) == [said_of(prompt("a"))]
        waited = time.monotonic() - begun
        assert 0.09 < waited < 2.0
        begun = time.monotonic()
        for number in range(50):
            await cached.classify([prompt(str(number))])
        assert time.monotonic() - begun < 2.0  # not fifty times as long
        server.signal(signal.SIGCONT)
        await store.close()

    async def test_answers_that_come_too_late_are_given_to_nobody_else(self, server: Server, clock: Clock) -> None:
        """Whoever gives up waiting leaves an answer on the wire behind."""
        patient = RedisStore(server.url, ttl=60.0, timeout=PATIENCE)
        hasty = RedisStore(server.url, ttl=60.0, timeout=0.05, clock=clock)
        everything = {bytes([number]) * 32: verdict(number % 8) for number in range(64)}
        await patient.put_many(everything)
        await hasty.get_many(list(everything))
        for _ in range(3):
            server.signal(signal.SIGSTOP)
            await asyncio.gather(*(hasty.get_many([key]) for key in everything))
            server.signal(signal.SIGCONT)
            assert await patient.get_many(list(everything)) == list(everything.values())
            clock.now += 2.0
            found = await asyncio.gather(*(hasty.get_many([key]) for key in everything))
            for (told,), expected in zip(found, everything.values(), strict=True):
                assert told in (expected, None)
            clock.now += 2.0
        await patient.close()
        await hasty.close()

    async def test_who_leaves_does_not_spoil_it_for_others(self, server: Server, store: RedisStore) -> None:
        everything = {bytes([number]) * 32: verdict(number % 8) for number in range(64)}
        await store.put_many(everything)
        for number in range(12):
            calls = [asyncio.create_task(_one(store, key)) for key in everything]
            for _ in range(number):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for outcome, expected in zip(outcomes[1::2], list(everything.values())[1::2], strict=True):
                assert outcome == expected
        assert await store.get_many(list(everything)) == list(everything.values())


async def _one(store: RedisStore, key: bytes) -> Verdict | None:
    (only,) = await store.get_many([key])
    return only


class TestRefusals:
    async def test_a_full_server_is_still_read(self, store: RedisStore, redis: Redis, clock: Clock) -> None:
        await store.put_many({KEYS[0]: verdict()})
        await redis.config_set("maxmemory", "1")
        with capture_logs() as logs:
            for _ in range(3):
                await store.put_many({KEYS[1]: verdict()})
                assert await store.get_many(KEYS[:2]) == [verdict(), None]
            clock.now += 61.0
            await store.put_many({KEYS[1]: verdict()})
        assert events(logs) == [("cache.redis_failed", "write")] * 2

    async def test_a_server_that_wants_a_password_is_passed_by(self, server: Server, redis: Redis) -> None:
        await redis.config_set("requirepass", "open sesame")
        stranger = RedisStore(server.url, ttl=60.0, timeout=PATIENCE)
        knowing = RedisStore(f"redis://:open%20sesame@127.0.0.1:{server.port}", ttl=60.0, timeout=PATIENCE)
        with capture_logs() as logs:
            assert await stranger.get_many(KEYS) == [None] * 3
            await knowing.put_many({KEYS[0]: verdict()})
            assert await knowing.get_many(KEYS) == [verdict(), None, None]
        assert events(logs) == [("cache.redis_failed", "read")]
        await stranger.close()
        await knowing.close()

    @pytest.mark.parametrize("url", ["redis://:hidden@host:port/", "http://:hidden@host", "hidden"])
    def test_a_url_that_makes_no_sense_is_refused_without_being_quoted(self, url: str) -> None:
        with pytest.raises(ConfigError) as refused:
            RedisStore(url, ttl=60.0)
        assert "hidden" not in str(refused.value)
        assert str(refused.value) == "cache.redis.url: is no URL of a Redis"

    def test_without_the_library_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(ConfigError, match=r"pip install 'safety-proxy\[redis\]'"):
            RedisStore("redis://127.0.0.1", ttl=60.0)
