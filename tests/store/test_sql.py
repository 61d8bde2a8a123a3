"""A store through thick and thin: with others beside it, killed, locked out, and without what it needs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from safety_proxy.errors import ConfigError, StoreError
from safety_proxy.store import sql, sql_urls
from safety_proxy.store.base import BlocklistStore, NewItem, StoreFullError
from safety_proxy.store.sql import SQLStore, is_postgres
from safety_proxy.store.sql_engine import transaction
from safety_proxy.store.sql_statements import Statements
from tests.store.postgres import Postgres

WORKERS = Path(__file__).parent / "workers.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
NOBODY = 65534
PROCESSES = ["file", pytest.param("postgres", marks=pytest.mark.slow)]


def python(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves


async def opened(url: str, most_items: int = 100) -> SQLStore:
    store = SQLStore(url, most_items=most_items)
    await store.open()
    return store


async def refusal(store: SQLStore) -> str:
    """Reason why nothing can be written; it tells nothing else."""
    with pytest.raises(StoreError) as failed:
        await store.put_list("secret", {"description": "secret"})
    return said(failed.value)


async def refusal_to_open(url: str) -> str:
    with pytest.raises(StoreError) as failed:
        await SQLStore(url).open()
    return said(failed.value)


def said(error: StoreError) -> str:
    for word in ("secret", "hidden", "127.0.0.1", "lists.db", "SELECT"):
        assert word not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    return error.reason


@contextmanager
def powerless() -> Iterator[None]:
    """Without the privileges of root, to whom nothing is read-only."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


class TestLife:
    def test_a_store_is_a_store(self) -> None:
        store: BlocklistStore = SQLStore("sqlite://")
        assert isinstance(store, SQLStore)
        assert sql.check_store_url is sql_urls.check_store_url

    def test_who_has_no_store_does_not_load_the_library(self) -> None:
        code = "import sys, safety_proxy.store.sql as sql; sql.SQLStore('sqlite://'); sys.exit('sqlalchemy' in sys.modules)"
        with python("-c", code) as process:
            assert process.wait() == 0

    def test_a_url_is_checked_when_the_store_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="no URL of a store"):
            SQLStore("nothing")
        assert is_postgres("postgresql://host/lists")
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(ConfigError, match="pip install"):
            SQLStore("postgres://host/lists")

    async def test_it_is_opened_once_and_may_be_opened_again(self, url: str) -> None:
        store = SQLStore(url)
        assert await refusal(store) == "unreachable"
        await asyncio.gather(store.open(), store.open())
        engine = store._engine
        await store.open()
        assert store._engine is engine
        await store.put_list("a", {})
        await store.close()
        await store.close()
        assert await refusal(store) == "unreachable"
        await store.open()
        await store.put_list("b", {})
        assert [each.name for each in await store.lists(0, 9)] == (["b"] if url == "sqlite://" else ["a", "b"])
        await store.close()

    async def test_who_is_called_off_while_it_is_opened_leaves_it_to_the_others_or_to_the_end(self, url: str) -> None:
        store = SQLStore(url)
        for stay in (True, False):
            leaving, staying = asyncio.create_task(store.open()), asyncio.create_task(store.open())
            await asyncio.sleep(0)  # both wait now
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            if stay:
                await staying
                assert await store.lists(0, 9) == []
            else:
                staying.cancel()
            await store.close()
            assert store._engine is None

    async def test_what_one_store_acknowledged_is_seen_by_another(self, shared_url: str) -> None:
        one, other = await opened(shared_url), await opened(shared_url)
        await one.put_list("a", {"description": "x"})
        added = await other.add_items("a", [NewItem("t"), NewItem("u")])
        assert await one.items("a", 0, 9) == added
        assert await one.revision() == await other.revision()
        await one.remove_list("a")
        assert await other.lists(0, 9) == []
        await one.close()
        await other.close()

    async def test_the_contents_are_those_of_one_moment(self, shared_url: str) -> None:
        one, other = await opened(shared_url), await opened(shared_url)
        await one.put_list("a", {})
        assert one._engine is not None
        async with transaction(one._engine, "read") as connection:
            before = await Statements(connection).revision()
            await other.add_items("a", [NewItem("t")])
            await other.put_list("b", {})
            contents = await Statements(connection).contents()
        assert (contents.revision, contents.lists) == (before, {"a": ()})
        await one.close()
        await other.close()


class TestOthers:
    async def test_the_bound_holds_while_several_stores_write(self, shared_url: str) -> None:
        stores = [await opened(shared_url, 10) for _ in range(3)]
        await stores[0].put_list("a", {})
        calls = [store.add_items("a", [NewItem(f"{who}.{n}")]) for who, store in enumerate(stores) for n in range(6)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, StoreFullError) for outcome in outcomes) == 8
        acknowledged = {outcome[0] for outcome in outcomes if not isinstance(outcome, BaseException)}
        assert len(acknowledged) == 10
        assert set(await stores[0].items("a", 0, 99)) == acknowledged
        for store in stores:
            await store.close()

    @pytest.mark.parametrize("shared_url", PROCESSES, indirect=True)
    async def test_processes_that_open_and_write_at_once_never_fail(self, shared_url: str) -> None:
        process = python(WORKERS, "race", shared_url, "4", "41")
        acknowledged = (await asyncio.to_thread(process.communicate))[0].split()
        assert process.returncode == 0
        store = await opened(shared_url)
        texts = [item.text for item in await store.items("list", 0, 99)]
        assert len(texts) == 40
        assert sorted(texts) == sorted(acknowledged + [f"{text}!" for text in acknowledged])
        assert texts[1::2] == [f"{text}!" for text in texts[::2]]
        assert await store.revision() == 21
        await store.close()

    @pytest.mark.parametrize("shared_url", PROCESSES, indirect=True)
    async def test_what_was_acknowledged_survives_the_writer(self, shared_url: str) -> None:
        acknowledged = 0
        with python(WORKERS, "endless", shared_url) as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged = int(line) + 1
                if acknowledged == 20:
                    process.kill()
        assert process.returncode == -signal.SIGKILL
        store = await opened(shared_url, 10**6)
        texts = [item.text for item in await store.items("list", 0, 10**6)]
        assert len(texts) in {2 * acknowledged, 2 * acknowledged + 2}
        assert texts == [f"{number}{end}" for number in range(len(texts) // 2) for end in ("", "!")]
        await store.add_items("list", [NewItem("after")])
        await store.close()


class TestFile:
    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """One that everybody may write to."""
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o777)
            yield Path(name)

    async def test_a_file_that_cannot_be_written_can_be_read(self, folder: Path) -> None:
        path = folder / "lists.db"
        store = await opened(f"sqlite:///{path}")
        await store.put_list("a", {})
        await store.close()
        os.chmod(path, 0o444)  # noqa: PTH101 - that of a path is for those who may block
        with powerless():
            await store.open()
            assert [each.name for each in await store.lists(0, 9)] == ["a"]
            assert await refusal(store) == "read_only"
            await store.close()

    async def test_a_folder_that_cannot_be_written_gets_no_file(self, folder: Path) -> None:
        os.chmod(folder, 0o555)  # noqa: PTH101, S103 - that of a path is for those who may block
        with powerless():
            assert await refusal_to_open(f"sqlite:///{folder / 'lists.db'}") == "read_only"

    async def test_a_file_that_cannot_be_read_is_unreachable(self, folder: Path) -> None:
        path = folder / "lists.db"
        path.touch()
        os.chmod(path, 0)  # noqa: PTH101 - that of a path is for those who may block
        with powerless():
            assert await refusal_to_open(f"sqlite:///{path}") == "unreachable"

    async def test_a_folder_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        assert await refusal_to_open(f"sqlite:///{tmp_path / 'missing' / 'lists.db'}") == "unreachable"
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - that of a path is for those who may block
        assert await refusal_to_open(f"sqlite:///{tmp_path}") == "unreachable"

    async def test_a_file_of_another_kind_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "lists.db"
        path.write_text("no database\n" * 1000)
        assert await refusal_to_open(f"sqlite:///{path}") == "broken"
        assert path.read_text() == "no database\n" * 1000

    async def test_a_file_that_was_damaged_is_broken(self, tmp_path: Path) -> None:
        path = tmp_path / "lists.db"
        store = await opened(f"sqlite:///{path}")
        await store.put_list("a", {})
        await store.close()
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
        assert await refusal_to_open(f"sqlite:///{path}") == "broken"

    async def test_a_database_with_other_tables_is_shared(self, tmp_path: Path) -> None:
        path = tmp_path / "lists.db"
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE items (text)")
        store = await opened(f"sqlite:///{path}")
        await store.put_list("a", {})
        assert other.execute("SELECT * FROM items").fetchall() == []
        other.close()
        await store.close()

    async def test_who_is_locked_out_for_too_long_is_told_and_may_come_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("safety_proxy.store.sql_engine._STATEMENT", 0.01)
        store = await opened(f"sqlite:///{tmp_path / 'lists.db'}")
        locker = sqlite3.connect(tmp_path / "lists.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        assert await refusal(store) == "timeout"
        assert await store.lists(0, 9) == []
        locker.rollback()
        locker.close()
        await store.put_list("a", {})
        await store.close()


class TestPostgres:
    async def test_a_server_that_crashes_midway_and_comes_back_has_lost_nothing(self, postgres: Postgres) -> None:
        store = await opened(await postgres.empty_database())
        await store.put_list("a", {})
        added = await store.add_items("a", [NewItem("t")])
        assert store._engine is not None
        async with transaction(store._engine, "write") as connection:
            await Statements(connection).put_list("b", {})
            postgres.kill()
            assert await refusal(store) == "unreachable"
            with pytest.raises(StoreError) as failed:
                await store.contents()
            assert failed.value.reason == "unreachable"
            postgres.start_again()
            await connection.invalidate()
            await connection.rollback()
        assert (await store.contents()).lists == {"a": tuple(added)}
        await store.put_list("c", {})
        await store.close()

    async def test_a_server_that_was_started_again_between_two_calls_is_no_failure(self, postgres: Postgres) -> None:
        store = await opened(await postgres.empty_database())
        postgres.kill()
        postgres.start_again()
        await store.put_list("a", {})
        assert [each.name for each in await store.lists(0, 9)] == ["a"]
        await store.close()

    async def test_who_adds_waits_for_others_before_it_counts(self, postgres: Postgres) -> None:
        url = await postgres.empty_database()
        one, other = await opened(url, 1), await opened(url, 1)
        await one.put_list("a", {})
        assert one._engine is not None
        async with transaction(one._engine, "write") as connection:
            await Statements(connection).add_items("a", [NewItem("t")], 1)
            later = asyncio.create_task(other.add_items("a", [NewItem("u")]))
            while not await connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                assert not later.done()
        with pytest.raises(StoreFullError):
            await later
        assert [item.text for item in await other.items("a", 0, 9)] == ["t"]
        await one.close()
        await other.close()

    async def test_a_server_that_is_not_there_is_told_of(self, postgres: Postgres) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert await refusal_to_open(f"postgresql://u:hidden@127.0.0.1:{port}/d") == "unreachable"
        assert await refusal_to_open(postgres.url("no_such_database")) == "unreachable"
        assert await refusal_to_open("postgresql://u:hidden@nowhere.invalid/d") == "unreachable"

    async def test_a_server_that_says_nothing_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("safety_proxy.store.sql_engine._CONNECT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"postgresql://u:hidden@127.0.0.1:{silent.getsockname()[1]}/d"
            assert await refusal_to_open(url) == "timeout"

    async def test_a_user_without_the_right_to_write_may_read(self, postgres: Postgres) -> None:
        url = await postgres.empty_database()
        store = await opened(url)
        await store.put_list("a", {})
        await store.close()
        await postgres.run("ALTER DATABASE postgres SET default_transaction_read_only = on")
        await store.open()
        assert [each.name for each in await store.lists(0, 9)] == ["a"]
        assert await refusal(store) == "read_only"
        await store.close()

    @pytest.mark.parametrize("limit", ["sql._PATIENCE", "sql_engine._STATEMENT"])
    async def test_who_waits_for_too_long_is_told_and_may_come_again(
        self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        url = await postgres.empty_database()
        holder = await opened(url)
        monkeypatch.setattr(f"safety_proxy.store.{limit}", 0.5)
        store = await opened(url)
        await store.lists(0, 9)
        assert holder._engine is not None
        async with transaction(holder._engine, "write") as connection:
            await Statements(connection).put_list("a", {})
            assert await refusal(store) == "timeout"
            assert await store.lists(0, 9) == []
        await store.put_list("b", {})
        assert [each.name for each in await store.lists(0, 9)] == ["a", "b"]
        await store.close()
        await holder.close()
