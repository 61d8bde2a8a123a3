"""What a store of blocklists can do, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

MOST_ITEMS: Final = 10_000
"""Items that a store holds over all its lists: Azure's limit."""
LONGEST_NAME: Final = 128
"""Characters of a list's name; Azure allows 64."""
LONGEST_TEXT: Final = 500
"""Characters of an item's text; Azure allows 128. A row of an index of PostgreSQL has 2,704 bytes for it and the name."""


@dataclass(frozen=True, slots=True)
class StoredList:
    """A blocklist without its items."""

    name: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A word or phrase of a blocklist."""

    id: str
    """Given by the store: a UUID, the same as long as the item lives."""
    text: str = field(repr=False)
    description: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NewItem:
    """A word or phrase to be put on a list."""

    text: str = field(repr=False)
    description: str | None = field(default=None, repr=False)


class NoSuchListError(Exception):
    """There is no list of this name."""


class StoreFullError(Exception):
    """The items would be more than the store holds (`MOST_ITEMS`). None of them was added."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a store held at one moment."""

    revision: int
    lists: Mapping[str, tuple[StoredItem, ...]]
    """By name; the items in the order in which they came."""


def check_text(text: str, longest: int | None = None) -> None:
    """Raise ValueError if no store can keep *text*: it is longer than *longest* characters, or has NUL or half a surrogate.

    PostgreSQL can hold neither of the two; that all stores refuse them makes it all the same which one is used.
    """
    if longest is not None and len(text) > longest:
        raise ValueError(f"is longer than {longest} characters")
    if "\0" in text:
        raise ValueError("has a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("has half a surrogate pair")


class BlocklistStore(Protocol):
    """Keeps blocklists. Each call is one transaction; one that has returned is there to stay.

    Names and texts differ where their characters do: case matters, and so does every other spelling. Every call raises
    `StoreError` when the store fails. One that is called off did all or nothing.
    """

    async def open(self) -> None:
        """Connect, and make what is missing. Calling it again does nothing."""

    async def close(self) -> None:
        """Let go of connections."""

    async def revision(self) -> int:
        """A number that grows with every change of any list, whoever makes it."""

    async def contents(self) -> Contents:
        """All lists with all their items, and the revision that they belong to."""

    async def lists(self, skip: int, most: int) -> Sequence[StoredList]:
        """At most *most* lists, by name, without the first *skip*."""

    async def find_list(self, name: str) -> StoredList:
        """One list. Raises `NoSuchListError`."""

    async def put_list(self, name: str, changes: Mapping[str, str | None]) -> tuple[StoredList, bool]:
        """Make a list, or change what *changes* tells of (``description``; None takes it away).

        The list as it is now, and whether it is new. Raises ValueError for a name or description that `check_text`
        refuses, and for an unknown change.
        """

    async def remove_list(self, name: str) -> bool:
        """Take a list away with all its items. Whether there was one."""

    async def add_items(self, name: str, items: Sequence[NewItem]) -> Sequence[StoredItem]:
        """Put items on a list, all or none; one whose text is there already gets the description and keeps its id.

        The items as they are now, in the order given; a text given twice is one item, with the later description. Raises
        `NoSuchListError`, `StoreFullError`, and ValueError for a text or description that `check_text` refuses.
        """

    async def remove_items(self, name: str, ids: Sequence[str]) -> None:
        """Take items off a list; ids that it does not have are ignored. Raises `NoSuchListError`."""

    async def items(self, name: str, skip: int, most: int) -> Sequence[StoredItem]:
        """At most *most* items in the order in which they came, without the first *skip*. Raises `NoSuchListError`."""

    async def find_item(self, name: str, item_id: str) -> StoredItem | None:
        """One item; None if the list has none of this id. Raises `NoSuchListError`."""
