"""What each operation does, compared with a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_proxy.errors import StoreError
from safety_proxy.store.base import NewItem, NoSuchListError, StoredItem, StoredList, StoreFullError
from safety_proxy.store.sql import SQLStore
from safety_proxy.store.sql_engine import transaction
from tests.store.postgres import Postgres

MOST = 6


@dataclass
class Model:
    """A store as simple as can be; items are told by their texts."""

    descriptions: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, dict[str, str | None]] = field(default_factory=dict)

    def put_list(self, name: str, changes: Mapping[str, str | None]) -> object:
        is_new = name not in self.held
        self.held.setdefault(name, {})
        self.descriptions[name] = changes.get("description", self.descriptions.get(name))
        return StoredList(name, self.descriptions[name]), is_new

    def remove_list(self, name: str) -> object:
        self.descriptions.pop(name, None)
        return self.held.pop(name, None) is not None

    def add_items(self, name: str, items: Sequence[NewItem]) -> object:
        if name not in self.held:
            return NoSuchListError
        after = self.held[name] | {item.text: item.description for item in items}
        if len(after) > len(self.held[name]) and len(after) + self.others(name) > MOST:
            return StoreFullError
        self.held[name] = after
        return [(item.text, after[item.text]) for item in items]

    def others(self, name: str) -> int:
        return sum(len(items) for other, items in self.held.items() if other != name)

    def remove_items(self, name: str, texts: Sequence[str]) -> object:
        if name not in self.held:
            return NoSuchListError
        for text in texts:
            self.held[name].pop(text, None)
        return None


NAMES = st.sampled_from(["a", "A", "é"])
ABOUT = st.none() | st.sampled_from(["", "x"])
ITEMS = st.lists(st.builds(NewItem, st.sampled_from(["t", "T", "u", "ü", "v", "w"]), ABOUT), max_size=5)
STEPS = st.one_of(
    st.tuples(st.just("put_list"), NAMES, st.just({}) | st.builds(lambda about: {"description": about}, ABOUT)),
    st.tuples(st.just("remove_list"), NAMES),
    st.tuples(st.just("add_items"), NAMES, ITEMS),
    st.tuples(st.just("remove_items"), NAMES, st.lists(st.sampled_from(["t", "T", "u"]), max_size=3)),
)


async def taken(store: SQLStore, step: tuple[str, ...]) -> object:
    """What the store says to *step*, in the words of the model."""
    name, *rest = cast(tuple[Any, ...], step)
    if name == "remove_items":
        contents = await store.contents()
        ids = [item.id for item in contents.lists.get(rest[0], ()) if item.text in rest[1]]
        rest = [rest[0], [*ids, "no id of any"]]
    try:
        said = await getattr(store, name)(*rest)
    except (NoSuchListError, StoreFullError) as error:
        return type(error)
    return [(item.text, item.description) for item in said] if name == "add_items" else said


async def compare(steps: Sequence[tuple[str, ...]]) -> None:
    store, model = SQLStore("sqlite://", most_items=MOST), Model()
    await store.open()
    ids: dict[tuple[str, str], str] = {}
    before = await store.contents()
    for step in steps:
        name, *rest = step
        assert await taken(store, step) == getattr(model, name)(*rest)
        after = await store.contents()
        told = {name: [(item.text, item.description) for item in items] for name, items in after.lists.items()}
        assert told == {name: list(items.items()) for name, items in model.held.items()}
        assert list(after.lists) == sorted(model.held, key=str.encode)
        assert await store.lists(0, 9) == [StoredList(name, model.descriptions[name]) for name in after.lists]
        if after.lists != before.lists:
            assert after.revision > before.revision
        now = {(name, item.text): item.id for name, items in after.lists.items() for item in items}
        assert all(ids[key] == now[key] for key in ids.keys() & now.keys())
        ids, before = now, after
    await store.close()


@settings(max_examples=10)
@given(st.lists(STEPS, min_size=4, max_size=10))
def test_the_store_behaves_as_a_dictionary(steps: list[tuple[str, ...]]) -> None:
    asyncio.run(compare(steps))


async def test_the_revision_grows_with_real_changes_only(store: SQLStore) -> None:
    revisions = [await store.revision()]

    async def grows() -> bool:
        revisions.append(await store.revision())
        return revisions[-1] > revisions[-2]

    await store.remove_list("a")
    assert not await grows()
    await store.put_list("a", {"description": "x"})
    assert await grows()
    await store.put_list("a", {})
    await store.put_list("a", {"description": "x"})
    assert not await grows()
    await store.put_list("a", {"description": None})
    assert await grows()
    (item,) = await store.add_items("a", [NewItem("t")])
    assert await grows()
    await store.add_items("a", [NewItem("t")])
    await store.add_items("a", [])
    await store.remove_items("a", ["no id", ""])
    assert not await grows()
    await store.add_items("a", [NewItem("t", "x")])
    assert await grows()
    await store.remove_items("a", [item.id])
    assert await grows()
    await store.remove_list("a")
    assert await grows()


async def test_items_come_in_pages_in_the_order_in_which_they_came(store: SQLStore) -> None:
    await store.put_list("a", {})
    added = [*await store.add_items("a", [NewItem("z"), NewItem("y")]), *await store.add_items("a", [NewItem("x")])]
    await store.add_items("a", [NewItem("y", "again"), NewItem("z")])
    added[1] = StoredItem(added[1].id, "y", "again")
    assert await store.items("a", 0, 9) == added
    assert await store.items("a", 1, 1) == added[1:2]
    assert await store.items("a", 3, 9) == []
    assert await store.items("a", 10**30, 10**30) == []
    assert (await store.contents()).lists == {"a": tuple(added)}
    await store.remove_items("a", [added[2].id])
    (last,) = await store.add_items("a", [NewItem("x")])
    assert last.id != added[2].id
    assert await store.items("a", 2, 9) == [last]


async def test_lists_come_in_pages_by_name(store: SQLStore) -> None:
    for name in ("b", "é", "B", "a", "\U0001f9a1", "\uff21"):
        await store.put_list(name, {})
    assert [each.name for each in await store.lists(0, 9)] == ["B", "a", "b", "é", "\uff21", "\U0001f9a1"]
    assert [each.name for each in await store.lists(1, 2)] == ["a", "b"]
    assert [each.name for each in await store.lists(10**30, 1)] == []


async def test_a_text_given_twice_is_one_item_with_the_later_description(store: SQLStore) -> None:
    await store.put_list("a", {})
    first, other, second = await store.add_items("a", [NewItem("t", "x"), NewItem("T"), NewItem("t", "y")])
    assert first == second
    assert first.description == "y"
    assert await store.items("a", 0, 9) == [first, other]


async def test_items_belong_to_their_list(store: SQLStore) -> None:
    await store.put_list("a", {})
    await store.put_list("b", {})
    (of_a,) = await store.add_items("a", [NewItem("t")])
    (of_b,) = await store.add_items("b", [NewItem("t")])
    assert of_a.id != of_b.id
    assert await store.find_item("a", of_a.id) == of_a
    assert await store.find_item("a", of_b.id) is None
    await store.remove_items("a", [of_b.id])
    assert await store.find_item("b", of_b.id) == of_b
    await store.remove_list("a")
    assert (await store.contents()).lists == {"b": (of_b,)}


async def test_items_that_are_too_many_change_nothing(store: SQLStore) -> None:
    await store.put_list("a", {})
    await store.put_list("b", {})
    await store.add_items("a", [NewItem(f"{number}") for number in range(19)])
    before = await store.contents()
    with pytest.raises(StoreFullError):
        await store.add_items("b", [NewItem("t"), NewItem("u")])
    with pytest.raises(StoreFullError):
        await store.add_items("a", [NewItem("0", "changed"), NewItem("t"), NewItem("u")])
    assert await store.contents() == before
    await store.add_items("b", [NewItem("t"), NewItem("t")])
    await store.add_items("a", [NewItem("0", "changed")])


async def test_thousands_of_items_are_added_and_removed_at_once() -> None:
    store = SQLStore("sqlite://")
    await store.open()
    await store.put_list("a", {})
    added = await store.add_items("a", [NewItem(f"{number}") for number in range(1200)])
    assert await store.add_items("a", [NewItem(item.text) for item in added]) == added
    await store.remove_items("a", [item.id for item in added[1:]])
    assert await store.items("a", 0, 9) == added[:1]
    await store.close()


async def test_a_list_that_is_not_there_is_no_list(store: SQLStore) -> None:
    await store.put_list("a", {})
    for name in ("A", "a ", "a\0", "\ud800", "x" * 1000):
        for call in (
            store.find_list(name),
            store.items(name, 0, 1),
            store.add_items(name, [NewItem("t")]),
            store.add_items(name, []),
            store.remove_items(name, []),
            store.find_item(name, "1"),
        ):
            with pytest.raises(NoSuchListError):
                await call
        assert not await store.remove_list(name)


async def test_an_id_that_cannot_be_one_is_that_of_no_item(store: SQLStore) -> None:
    await store.put_list("a", {})
    for item_id in ("", "1", "a\0", "\ud800", "x" * 1000):
        assert await store.find_item("a", item_id) is None
        await store.remove_items("a", [item_id])


async def test_what_no_store_can_keep_is_refused_by_all(store: SQLStore) -> None:
    await store.put_list("a", {})
    before = await store.contents()
    for odd in ("a\0", "\ud800"):
        for call in (
            store.put_list(odd, {}),
            store.put_list("a", {"description": odd}),
            store.add_items("a", [NewItem("t"), NewItem(odd)]),
            store.add_items("a", [NewItem("t", odd)]),
        ):
            with pytest.raises(ValueError, match="has"):
                await call
    for long in (store.put_list("x" * 129, {}), store.add_items("a", [NewItem("x" * 501)])):
        with pytest.raises(ValueError, match="longer"):
            await long
    with pytest.raises(ValueError, match="unknown change"):
        await store.put_list("a", {"name": "b"})
    assert await store.contents() == before


async def test_the_longest_texts_fit(store: SQLStore) -> None:
    name, text = "\U0001f9a1" * 128, "".join(chr(0x20000 + number * 7) for number in range(500))
    await store.put_list(name, {"description": "x" * 10_000})
    (item,) = await store.add_items(name, [NewItem(text)])
    assert await store.items(name, 0, 1) == [item]


async def test_tables_of_a_newer_release_are_refused(shared_url: str) -> None:
    store = SQLStore(shared_url)
    await store.open()
    assert store._engine is not None
    async with transaction(store._engine, "write") as connection:
        await connection.exec_driver_sql("UPDATE safety_proxy_state SET schema_version = 2")
    await store.close()
    with pytest.raises(StoreError, match="broken: its tables have version 2, this release needs 1"):
        await store.open()


async def test_a_database_that_cannot_hold_every_letter_is_refused(postgres: Postgres) -> None:
    url = await postgres.make_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(StoreError, match="broken: the encoding of the database is not UTF8"):
        await SQLStore(url).open()
