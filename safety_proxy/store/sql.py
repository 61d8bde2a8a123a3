"""Blocklists in a database: a file of SQLite for the workers of one machine, a PostgreSQL for several machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from safety_proxy.errors import StoreError
from safety_proxy.store.base import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_ITEMS,
    Contents,
    NewItem,
    NoSuchListError,
    StoredItem,
    StoredList,
    check_text,
)
from safety_proxy.store.sql_urls import check_store_url, is_postgres

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from safety_proxy.store.sql_statements import Statements

__all__ = ["SQLStore", "check_store_url", "is_postgres"]

_PATIENCE: Final = 15.0
"""Seconds for a transaction as a whole, waiting for others included."""


class SQLStore:
    """A `safety_proxy.store.base.BlocklistStore` at *url* (`check_store_url`) that holds at most *most_items* items.

    What a call has acknowledged survives the end of the process and, as far as the disk and the settings of PostgreSQL
    promise it, of the power. ``sqlite://`` is the exception: it is in memory, for one process. Connections are made by
    `open`, so the object may be made before a process forks; it belongs to the loop that opened it. No call takes much
    more than 15 seconds.

    Raises ValueError for a *url* that makes no sense, and `ConfigError` if PostgreSQL's driver is not installed.
    """

    def __init__(self, url: str, *, most_items: int = MOST_ITEMS) -> None:
        self._url = check_store_url(url)
        is_postgres(self._url)
        self._most_items = most_items
        self._engine: AsyncEngine | None = None
        self._opening: asyncio.Task[AsyncEngine] | None = None
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """As `BlocklistStore.open`. A file that is made is readable for its owner only; a folder is not made.

        Tables that are there are left alone, so that what cannot be written can still be read. Raises `StoreError` also for
        tables of another version.
        """
        if self._engine is None:
            # Whoever is called off meanwhile leaves it to the others, or to `close`: a connection of SQLite that was given
            # up half made has a thread that speaks to the loop later.
            opening = self._opening = self._opening or asyncio.create_task(self._open())
            await asyncio.wait({opening})
            if opening is self._opening:
                self._opening = None
            opening.result()

    async def _open(self) -> AsyncEngine:
        with _told():
            async with asyncio.timeout(_PATIENCE):
                self._engine = await _opened(self._url)
        return self._engine

    async def close(self) -> None:
        """As `BlocklistStore.close`. It may be opened again."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
            if not self._opening.cancelled():
                self._opening.exception()  # whoever wanted it open has heard of it, or has left
            self._opening = None
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def revision(self) -> int:
        """As `BlocklistStore.revision`."""
        async with self._transaction("glance") as statements:
            return await statements.revision()

    async def contents(self) -> Contents:
        """As `BlocklistStore.contents`."""
        async with self._transaction("read") as statements:
            return await statements.contents()

    async def lists(self, skip: int, most: int) -> Sequence[StoredList]:
        """As `BlocklistStore.lists`."""
        async with self._transaction("read") as statements:
            return await statements.lists(skip, most)

    async def find_list(self, name: str) -> StoredList:
        """As `BlocklistStore.find_list`."""
        _check_possible(name)
        async with self._transaction("read") as statements:
            return await statements.find_list(name)

    async def put_list(self, name: str, changes: Mapping[str, str | None]) -> tuple[StoredList, bool]:
        """As `BlocklistStore.put_list`."""
        if not changes.keys() <= {"description"}:
            raise ValueError("has an unknown change")
        check_text(name, LONGEST_NAME)
        check_text(changes.get("description") or "")
        async with self._transaction("write") as statements:
            return await statements.put_list(name, changes)

    async def remove_list(self, name: str) -> bool:
        """As `BlocklistStore.remove_list`."""
        if not _is_possible(name):
            return False
        async with self._transaction("write") as statements:
            return await statements.remove_list(name)

    async def add_items(self, name: str, items: Sequence[NewItem]) -> Sequence[StoredItem]:
        """As `BlocklistStore.add_items`."""
        for item in items:
            check_text(item.text, LONGEST_TEXT)
            check_text(item.description or "")
        _check_possible(name)
        async with self._transaction("write") as statements:
            return await statements.add_items(name, items, self._most_items)

    async def remove_items(self, name: str, ids: Sequence[str]) -> None:
        """As `BlocklistStore.remove_items`."""
        _check_possible(name)
        async with self._transaction("write") as statements:
            await statements.remove_items(name, [each for each in ids if _is_possible(each)])

    async def items(self, name: str, skip: int, most: int) -> Sequence[StoredItem]:
        """As `BlocklistStore.items`."""
        _check_possible(name)
        async with self._transaction("read") as statements:
            return await statements.items(name, skip, most)

    async def find_item(self, name: str, item_id: str) -> StoredItem | None:
        """As `BlocklistStore.find_item`."""
        _check_possible(name)
        async with self._transaction("read") as statements:
            return await statements.find_item(name, item_id if _is_possible(item_id) else "")

    @asynccontextmanager
    async def _transaction(self, use: Literal["glance", "read", "write"]) -> AsyncIterator[Statements]:
        if self._engine is None:
            raise StoreError("unreachable", "it is not open")
        from safety_proxy.store.sql_engine import transaction  # noqa: PLC0415 - as in `_opened`
        from safety_proxy.store.sql_statements import Statements  # noqa: PLC0415 - as in `_opened`

        # Those who write in this process queue here: SQLite lets others only try again and again.
        queue = self._writing if use == "write" else nullcontext()
        with _told():
            async with asyncio.timeout(_PATIENCE), queue, transaction(self._engine, use) as connection:
                yield Statements(connection)


@contextmanager
def _told() -> Iterator[None]:
    """What the driver raises is told as a `StoreError`, without its words: they hold statements, values and addresses."""
    try:
        yield
    except Exception as error:
        from safety_proxy.store.sql_engine import reason_of  # noqa: PLC0415 - as in `_opened`

        reason = reason_of(error)
        if reason is None or isinstance(error, StoreError):
            raise
        raise StoreError(reason) from None


async def _opened(url: str) -> AsyncEngine:
    # SQLAlchemy takes most of a second to be imported, and most proxies have no store. Nobody is kept waiting by that.
    await asyncio.to_thread(import_module, "safety_proxy.store.sql_statements")
    from safety_proxy.store.sql_engine import make_engine, prepare_database, transaction  # noqa: PLC0415
    from safety_proxy.store.sql_statements import find_schema, make_schema  # noqa: PLC0415

    engine = make_engine(url)
    try:
        async with transaction(engine, "read") as connection:
            is_made = await find_schema(connection)
        if not is_made:
            await prepare_database(engine)
            async with transaction(engine, "write") as connection:
                await make_schema(connection)
    except BaseException:
        await engine.dispose()
        raise
    return engine


def _is_possible(name: str) -> bool:
    try:
        check_text(name, LONGEST_NAME)
    except ValueError:
        return False
    return True


def _check_possible(name: str) -> None:
    """A name that no list can have is one that no list has."""
    if not _is_possible(name):
        raise NoSuchListError
