"""Connections, files and errors."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from safety_proxy.errors import StoreError
from safety_proxy.store.base import NewItem
from safety_proxy.store.sql import SQLStore
from safety_proxy.store.sql_engine import make_engine, prepare_database, reason_of, transaction


def sqlite_error(code: int) -> DBAPIError:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode = code
    return DBAPIError("a statement", None, error)


def lost(error: Exception) -> DBAPIError:
    return DBAPIError("a statement", None, error, connection_invalidated=True)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timeout"),
        (PoolTimeoutError(), "timeout"),
        (ConnectionRefusedError(), "unreachable"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "timeout"),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), "timeout"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), "read_only"),
        (sqlite_error(sqlite3.SQLITE_FULL), "full"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), "unreachable"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "broken"),
        (sqlite_error(sqlite3.SQLITE_IOERR), "broken"),
        (sqlite3.ProgrammingError("words"), "broken"),
        (asyncpg.ReadOnlySQLTransactionError("words"), "read_only"),
        (asyncpg.InsufficientPrivilegeError("words"), "read_only"),
        (asyncpg.DiskFullError("words"), "full"),
        (asyncpg.TooManyConnectionsError("words"), "unreachable"),
        (asyncpg.CannotConnectNowError("words"), "unreachable"),
        (asyncpg.ConnectionDoesNotExistError("words"), "unreachable"),
        (asyncpg.InvalidPasswordError("words"), "unreachable"),
        (asyncpg.InvalidCatalogNameError("words"), "unreachable"),
        (asyncpg.QueryCanceledError("words"), "timeout"),
        (asyncpg.LockNotAvailableError("words"), "timeout"),
        (asyncpg.DeadlockDetectedError("words"), "timeout"),
        (asyncpg.UndefinedTableError("words"), "broken"),
        (asyncpg.InterfaceError("words"), "broken"),
        (lost(asyncpg.InterfaceError("words")), "unreachable"),
        (KeyError("words"), None),
        (ValueError("words"), None),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else each,
)
def test_each_error_has_a_reason_unless_it_is_a_mistake_of_ours(error: Exception, reason: str | None) -> None:
    assert reason_of(error) == reason


async def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = SQLStore(f"sqlite:///{tmp_path / 'lists.db'}")
        await store.open()
        made = modes(tmp_path)
    finally:
        os.umask(umask)
    assert made == dict.fromkeys(("lists.db", "lists.db-shm", "lists.db-wal"), 0o600)
    await store.close()
    assert list(modes(tmp_path)) == ["lists.db"]


async def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "lists.db"
    path.touch(0o640)
    store = SQLStore(f"sqlite:///{path}")
    await store.open()
    await store.close()
    assert modes(tmp_path) == {"lists.db": 0o640}


async def test_a_relative_path_begins_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLStore("sqlite:///lists ä%20.db")
    await store.open()
    await store.close()
    assert list(modes(tmp_path)) == ["lists ä%20.db"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOENT, "unreachable"), (errno.EACCES, "read_only"), (errno.EROFS, "read_only"), (errno.ENOSPC, "full")],
)
def test_a_file_that_cannot_be_made_has_a_reason(monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    def refuse(path: str, *_: int) -> int:
        raise OSError(number, "words", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError) as failed:
        make_engine("sqlite:///a/folder/lists.db")
    assert failed.value.reason == reason
    assert "folder" not in str(failed.value)


async def test_every_connection_writes_through_to_the_disk(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'lists.db'}")
    await prepare_database(engine)
    async with transaction(engine, "glance") as one, transaction(engine, "read") as other:
        for connection in (one, other):
            for pragma, value in (
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("foreign_keys", 1),
                ("busy_timeout", 10_000),
            ):
                assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one() == value
    await engine.dispose()


async def test_who_writes_takes_the_lock_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safety_proxy.store.sql_engine._STATEMENT", 0.01)
    engine = make_engine(f"sqlite:///{tmp_path / 'lists.db'}")
    await prepare_database(engine)
    async with transaction(engine, "write"), transaction(engine, "read") as reader:
        await reader.exec_driver_sql("SELECT * FROM sqlite_master")
        with pytest.raises(DBAPIError) as refused:
            async with transaction(engine, "write"):
                raise AssertionError
    assert reason_of(refused.value) == "timeout"
    await engine.dispose()


async def test_the_log_is_written_ahead_as_soon_as_nobody_has_the_file_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pauses = tmp_path / "lists.db", list[float]()
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            locker.rollback()

    monkeypatch.setattr("safety_proxy.store.sql_engine._STATEMENT", 0.01)
    engine = make_engine(f"sqlite:///{path}")
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", pause)
        await prepare_database(engine)
    assert len(pauses) == 2
    assert locker.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    locker.close()
    await engine.dispose()


async def test_a_call_that_is_called_off_at_any_moment_does_all_or_nothing(store: SQLStore) -> None:
    engine = store._engine
    assert engine is not None
    await store.put_list("a", {})
    outcomes = set()
    for patience in range(0, 150, 11):
        call = asyncio.create_task(store.add_items("a", [NewItem("t"), NewItem("u")]))
        for _ in range(patience):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        outcomes.add(call.cancelled())
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # what all pools but a few have
        held = await store.items("a", 0, 9)
        assert len(held) in {0, 2}
        await store.remove_items("a", [item.id for item in held])
    assert True in outcomes
    assert len(await store.add_items("a", [NewItem("t")])) == 1
