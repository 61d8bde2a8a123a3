"""The audit log: what reaches the file, and what becomes of requests when nothing can."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from safety_proxy.errors import ConfigError
from safety_proxy.server.audit import AuditLog
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import CHAT, asks, finishes, post, stream, whole, words


@asynccontextmanager
async def writing(log: AuditLog) -> AsyncIterator[AuditLog]:
    log.open()
    yield log
    await log.close()


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


async def heard() -> None:
    """What the thread had to tell has been told."""
    for _ in range(5):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------------------ the file


async def test_every_line_that_was_put_is_in_the_file_when_the_server_has_ended(tmp_path: Path) -> None:
    lost: list[int] = []
    async with writing(AuditLog(str(tmp_path / "a"), lost.append)) as log:
        for number in range(500):
            log.put(lambda number=number: b"%d" % number, 1)  # type: ignore[misc]  # bound now
    assert lines(tmp_path / "a") == [b"%d" % number for number in range(500)]
    assert lost == []


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with writing(AuditLog(str(tmp_path / "a"), print)):
        pass
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


async def test_several_writers_share_a_file_line_by_line(tmp_path: Path) -> None:
    """Each has a file of its own open, as the processes of a server have."""
    logs = [AuditLog(str(tmp_path / "a"), print) for _ in range(3)]
    for log in logs:
        log.open()
    for number in range(200):
        for name, log in zip(b"xyz", logs, strict=True):
            log.put(lambda name=name, number=number: bytes([name]) * (1 + number * 20), 1)  # type: ignore[misc]  # bound now
    for log in logs:
        await log.close()
    found = lines(tmp_path / "a")
    assert sorted(found) == sorted(bytes([name]) * (1 + number * 20) for number in range(200) for name in b"xyz")


async def test_a_line_that_somebody_left_torn_is_given_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"whole": 1}\n{"to')
    async with writing(AuditLog(str(tmp_path / "a"), print)) as log:
        log.put(lambda: b"{}", 1)
    assert lines(tmp_path / "a") == [b'{"whole": 1}', b'{"to', b"{}"]


async def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    def move() -> bytes:
        (tmp_path / "a").rename(tmp_path / "b")
        return b"3"

    async with writing(AuditLog(str(tmp_path / "a"), print)) as log:
        for build in (lambda: b"1", lambda: b"2", move):
            log.put(build, 1)
    assert lines(tmp_path / "b") == [b"1", b"2"]
    assert lines(tmp_path / "a") == [b"3"]


async def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path / "no folder" / "a"), print)
    with pytest.raises(ConfigError, match=r"audit.path: the audit log cannot be opened: No such file or directory"):
        log.open()
    await log.close()


# -------------------------------------------------------------------------------------------------------------- outages


async def test_what_cannot_be_written_is_counted_and_told_once() -> None:
    lost: list[int] = []
    with structlog.testing.capture_logs() as told:
        async with writing(AuditLog("/dev/full", lost.append)) as log:
            for _ in range(3):
                log.put(lambda: b"{}", 1)
    assert sum(lost) == 3
    assert [(each["event"], each["error"]) for each in told] == [("audit.failed", "OSError")]


async def test_an_outage_ends_when_the_disk_has_room_again(tmp_path: Path) -> None:
    """The path is a link, which is led elsewhere."""
    (tmp_path / "a").symlink_to("/dev/full")
    lost: list[int] = []
    failed = asyncio.Event()

    def hear(number: int) -> None:
        lost.append(number)
        failed.set()

    with structlog.testing.capture_logs() as told:
        async with writing(AuditLog(str(tmp_path / "a"), hear)) as log:
            log.put(lambda: b"1", 1)
            await failed.wait()
            (tmp_path / "a").unlink()
            log.put(lambda: b"2", 1)
    assert lost == [1]
    assert lines(tmp_path / "a") == [b"2"]
    assert [each["event"] for each in told] == ["audit.failed", "audit.recovered"]


async def test_a_line_with_a_mistake_is_lost_and_the_next_one_is_not(tmp_path: Path) -> None:
    lost: list[int] = []
    async with writing(AuditLog(str(tmp_path / "a"), lost.append)) as log:
        log.put(lambda: b"%d" % (1 // 0), 1)
        log.put(lambda: b"2", 1)
    assert (lost, lines(tmp_path / "a")) == ([1], [b"2"])


@pytest.mark.parametrize("limits", [{"lines": 2}, {"weight": 20}])
async def test_what_waits_is_bounded_and_the_rest_is_counted(tmp_path: Path, limits: dict[str, int]) -> None:
    """While the disk hangs."""
    gate, lost = threading.Event(), list[int]()
    async with writing(AuditLog(str(tmp_path / "a"), lost.append, **limits)) as log:
        for _ in range(5):
            log.put(lambda: (gate.wait(), b"{}")[1], 10)
        assert sum(lost) == 3
        gate.set()
    assert len(lines(tmp_path / "a")) == 2


async def test_the_end_of_a_server_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_proxy.server.audit.PATIENCE", 0.01)
    gate, lost = threading.Event(), list[int]()
    async with writing(AuditLog(str(tmp_path / "a"), lost.append)) as log:
        for _ in range(3):
            log.put(lambda: (gate.wait(), b"{}")[1], 1)
    assert sum(lost) == 3
    gate.set()
    assert log._thread is not None
    await asyncio.to_thread(log._thread.join)


async def test_what_comes_too_late_is_lost(tmp_path: Path) -> None:
    lost: list[int] = []
    async with writing(AuditLog(str(tmp_path / "a"), lost.append)) as log:
        pass
    log.put(lambda: b"{}", 1)
    await heard()
    assert (lost, lines(tmp_path / "a")) == ([1], [])


# -------------------------------------------------------------------------------------------------------- over sockets


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path / "audit.jsonl")]


async def test_a_full_disk_touches_no_request_and_shows_in_the_metrics(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    async with serve(backend, config="audit: {path: /dev/full, content: full}\n") as url:
        assert finishes(await stream(http, url)) == {0: ["stop"]}
        while True:
            async with http.get(f"{url}/metrics") as response:
                if "safety_proxy_audit_lost_total 1.0" in await response.text():
                    return


async def test_without_audit_no_file_is_made(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend) as url:
        await post(http, url, asks())
    assert not (tmp_path / "audit.jsonl").exists()


async def test_a_mistake_in_what_is_noted_touches_no_request(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(HARM)

    for place in (
        "trail.prompt_gaps",
        "trail.completion_gaps",
        "audit_record.Tally.shown",
        "audit_content.Contents.arrived",
    ):
        monkeypatch.setattr(f"safety_proxy.server.{place}", fail)
    backend.answer = Answer.stream(*words("Hi"))
    async with serve(backend, config="audit: {}\n") as url:
        assert finishes(await stream(http, url)) == {0: ["stop"]}
        backend.answer = Answer.json(whole("Hi"))
        assert (await post(http, url, asks()))[0] == 200
        assert (await post(http, url, asks(HARM)))[0] == 400
        monkeypatch.setattr("safety_proxy.server.trail.Trail._end", fail)
        assert (await post(http, url, asks()))[0] == 200
    assert HARM not in (tmp_path / "audit.jsonl").read_text()


async def test_each_moderated_request_is_one_line(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What is refused before anybody judges it is none."""
    async with serve(backend, config="audit: {}\n") as url:
        backend.answer = Answer.json(whole("Hi"))
        await post(http, url, asks(), **{"x-request-id": "one"})
        backend.answer = Answer.stream(*words(f"so {HARM} and"))
        await stream(http, url)
        await post(http, url, asks(HARM))
        await post(http, url, {"messages": 7})
        await post(http, url, asks(), path="/v1/nowhere")
    found = read(tmp_path)
    assert [(line["route"], line["stream"], line["decision"]) for line in found] == [
        (CHAT, False, "allow"),
        (CHAT, True, "block"),
        (CHAT, False, "block"),
    ]
    assert found[0]["request_id"] == "one"
