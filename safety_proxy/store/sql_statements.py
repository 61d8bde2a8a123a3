"""The tables, and what is done in a transaction. All that writes takes the lock first, so it sees what others wrote."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from safety_proxy.errors import StoreError
from safety_proxy.store.base import Contents, NewItem, NoSuchListError, StoredItem, StoredList, StoreFullError

SCHEMA: Final = 1
"""Version of the tables."""

_LARGEST: Final = 2**63 - 1
_AT_ONCE: Final = 500
"""Values of one statement; SQLite and PostgreSQL take some 32,000."""
_MAKING: Final = 0x5AFE_11B5
"""Number of the lock under which PostgreSQL's tables are made; any will do that no other program uses."""
_BY_BYTES: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared and put in order by their bytes, as SQLite does."""

_METADATA: Final = MetaData()
_STATE: Final = Table(
    "safety_proxy_state",
    _METADATA,
    Column("id", Integer, primary_key=True),  # 1, as there is one row
    Column("schema_version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
_LISTS: Final = Table(
    "safety_proxy_lists",
    _METADATA,
    Column("name", _BY_BYTES, primary_key=True),
    Column("description", Text),
)
_ITEMS: Final = Table(
    "safety_proxy_items",
    _METADATA,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("list", _BY_BYTES, ForeignKey(_LISTS.c.name, ondelete="CASCADE"), nullable=False),
    Column("text", _BY_BYTES, nullable=False),
    Column("description", Text),
    UniqueConstraint("list", "text"),
    sqlite_autoincrement=True,  # else the position of a removed item would be given again
)
_ITEM: Final = (_ITEMS.c.id, _ITEMS.c.text, _ITEMS.c.description)


async def find_schema(connection: AsyncConnection) -> bool:
    """Whether the tables are there. Raises `StoreError` if they are not ours, or a newer release's."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(_STATE.name)):
        return False
    version = await connection.scalar(select(_STATE.c.schema_version))
    if version != SCHEMA:
        raise StoreError("broken", f"its tables have version {version}, this release needs {SCHEMA}")
    return True


async def make_schema(connection: AsyncConnection) -> None:
    """Make the tables if nobody else has, in a transaction that writes. Raises `StoreError`."""
    if connection.dialect.name == "postgresql":
        if await connection.scalar(text("SHOW server_encoding")) != "UTF8":
            raise StoreError("broken", "the encoding of the database is not UTF8")
        await connection.execute(select(func.pg_advisory_xact_lock(_MAKING)))
    if not await find_schema(connection):
        await connection.run_sync(_METADATA.create_all)
        await connection.execute(insert(_STATE).values(id=1, schema_version=SCHEMA, revision=0))


class Statements:
    """What is done in the transaction of *connection*. Those that change something need one that writes."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def revision(self) -> int:
        """As `BlocklistStore.revision`."""
        number = await self._connection.scalar(select(_STATE.c.revision))
        if number is None:
            raise StoreError("broken", "it has no revision")
        return int(number)

    async def contents(self) -> Contents:
        """As `BlocklistStore.contents`."""
        number = await self.revision()
        by_name: dict[str, list[StoredItem]] = {
            name: [] for name in await self._connection.scalars(select(_LISTS.c.name).order_by(_LISTS.c.name))
        }
        for name, *item in await self._connection.execute(select(_ITEMS.c.list, *_ITEM).order_by(_ITEMS.c.position)):
            by_name[name].append(StoredItem(*item))
        return Contents(number, {name: tuple(items) for name, items in by_name.items()})

    async def lists(self, skip: int, most: int) -> Sequence[StoredList]:
        """As `BlocklistStore.lists`."""
        rows = await self._connection.execute(
            _page(select(_LISTS.c.name, _LISTS.c.description).order_by(_LISTS.c.name), skip, most)
        )
        return [StoredList(*row) for row in rows]

    async def find_list(self, name: str) -> StoredList:
        """As `BlocklistStore.find_list`."""
        row = (
            await self._connection.execute(select(_LISTS.c.name, _LISTS.c.description).where(_LISTS.c.name == name))
        ).first()
        if row is None:
            raise NoSuchListError
        return StoredList(*row)

    async def put_list(self, name: str, changes: Mapping[str, str | None]) -> tuple[StoredList, bool]:
        """As `BlocklistStore.put_list`."""
        await self._lock()
        try:
            before = await self.find_list(name)
        except NoSuchListError:
            made = StoredList(name, changes.get("description"))
            await self._connection.execute(insert(_LISTS).values(name=name, description=made.description))
            await self._note_change()
            return made, True
        after = StoredList(name, changes.get("description", before.description))
        if after != before:
            await self._connection.execute(update(_LISTS).where(_LISTS.c.name == name).values(description=after.description))
            await self._note_change()
        return after, False

    async def remove_list(self, name: str) -> bool:
        """As `BlocklistStore.remove_list`."""
        await self._lock()
        removed = (await self._connection.execute(delete(_LISTS).where(_LISTS.c.name == name))).rowcount > 0
        if removed:
            await self._note_change()
        return removed

    async def add_items(self, name: str, items: Sequence[NewItem], most_items: int) -> Sequence[StoredItem]:
        """As `BlocklistStore.add_items`, if at most *most_items* are there afterwards."""
        await self._lock()
        await self.find_list(name)
        wanted = {item.text: item.description for item in items}
        before: dict[str, StoredItem] = {}
        for texts in _portions(wanted):
            query = select(*_ITEM).where(_ITEMS.c.list == name, _ITEMS.c.text.in_(texts))
            before |= {row.text: StoredItem(*row) for row in await self._connection.execute(query)}
        new = {key: StoredItem(str(uuid.uuid4()), key, about) for key, about in wanted.items() if key not in before}
        if new and len(new) + (await self._connection.scalar(select(func.count()).select_from(_ITEMS)) or 0) > most_items:
            raise StoreFullError
        changed = {
            key: StoredItem(item.id, key, wanted[key]) for key, item in before.items() if item.description != wanted[key]
        }
        if changed:
            statement = update(_ITEMS).where(_ITEMS.c.id == bindparam("which")).values(description=bindparam("about"))
            await self._connection.execute(
                statement, [{"which": each.id, "about": each.description} for each in changed.values()]
            )
        if new:
            rows = [
                {"id": each.id, "list": name, "text": each.text, "description": each.description} for each in new.values()
            ]
            await self._connection.execute(insert(_ITEMS), rows)
        if changed or new:
            await self._note_change()
        after = before | changed | new
        return [after[item.text] for item in items]

    async def remove_items(self, name: str, ids: Collection[str]) -> None:
        """As `BlocklistStore.remove_items`."""
        await self._lock()
        await self.find_list(name)
        removed = 0
        for portion in _portions(ids):
            statement = delete(_ITEMS).where(_ITEMS.c.list == name, _ITEMS.c.id.in_(portion))
            removed += (await self._connection.execute(statement)).rowcount
        if removed:
            await self._note_change()

    async def items(self, name: str, skip: int, most: int) -> Sequence[StoredItem]:
        """As `BlocklistStore.items`."""
        await self.find_list(name)
        query = select(*_ITEM).where(_ITEMS.c.list == name).order_by(_ITEMS.c.position)
        return [StoredItem(*row) for row in await self._connection.execute(_page(query, skip, most))]

    async def find_item(self, name: str, item_id: str) -> StoredItem | None:
        """As `BlocklistStore.find_item`."""
        await self.find_list(name)
        row = (await self._connection.execute(select(*_ITEM).where(_ITEMS.c.list == name, _ITEMS.c.id == item_id))).first()
        return None if row is None else StoredItem(*row)

    async def _lock(self) -> None:
        """Wait until nobody else writes. In SQLite, the beginning of the transaction has done so."""
        await self._connection.execute(select(_STATE.c.revision).with_for_update())

    async def _note_change(self) -> None:
        await self._connection.execute(update(_STATE).values(revision=_STATE.c.revision + 1))


def _page(query: Select[Any], skip: int, most: int) -> Select[Any]:
    return query.offset(min(skip, _LARGEST)).limit(min(most, _LARGEST))


def _portions(values: Collection[str]) -> Iterator[Sequence[str]]:
    every = list(values)
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))
