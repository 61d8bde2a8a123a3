"""The blocklists of a store, searched as they are now, whoever changed them.

All lists are searched by one automaton, which is made anew when the store has changed. Whoever searches by `search` sees
all that was acknowledged before, by whatever process. The classifiers that policies ask do not wait for the store: they see
a change as soon as anything has refreshed the lists, within the period of `StoredBlocklists.follow` at the latest. While the
store fails they go on with the lists as they were last.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn
from weakref import WeakSet

import structlog

from safety_proxy.classifiers.blocklist import Blocklist, BlocklistClassifier
from safety_proxy.errors import ClassifierError, StoreError
from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.normalise import term_length
from safety_proxy.store.base import BlocklistStore, Contents, NoSuchListError, StoredItem

PERIOD: Final = 1.0
"""Default for the seconds between two looks at the store. A look costs it one row."""

log = structlog.get_logger("safety_proxy.store")


@dataclass(frozen=True, slots=True)
class Match:
    """An item that a text holds."""

    list_name: str
    item: StoredItem


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The lists, ready to be searched."""

    revision: int
    items: Mapping[str, Sequence[StoredItem]]
    """As they are in *engine*: without those of which nothing is left to search for."""
    engine: BlocklistClassifier

    @classmethod
    def of(cls, contents: Contents) -> _Compiled:
        items = {name: tuple(each for each in held if term_length(each.text)) for name, held in contents.lists.items()}
        lists = [Blocklist(name, tuple(each.text for each in held)) for name, held in items.items()]
        return cls(contents.revision, items, BlocklistClassifier(lists, "stored"))


class StoredBlocklists:
    """The lists of *store*, for one event loop. The store is opened with the first refresh, if it is not open yet."""

    def __init__(self, store: BlocklistStore) -> None:
        self._store = store
        self._is_open = False
        self._compiled: _Compiled | None = None
        self._turn = asyncio.Lock()
        self._compiling: asyncio.Future[_Compiled] | None = None
        self._classifiers: WeakSet[StoredBlocklistClassifier] = WeakSet()

    async def refresh(self) -> None:
        """Take over what the store holds now, or at any later time until this returns. Raises `StoreError`.

        Lists are read only if they have changed, once for all who wait for it. While a thread makes them searchable, the
        loop is free.
        """
        if not self._is_open:
            await self._store.open()
            self._is_open = True
        if await self._is_current():
            return
        async with self._turn:
            await self._end_compiling()  # of one who was called off
            if not await self._is_current():
                contents = await self._store.contents()
                self._compiling = asyncio.get_running_loop().run_in_executor(None, _Compiled.of, contents)
                await self._end_compiling()

    async def follow(self, period: float = PERIOD) -> NoReturn:
        """Refresh, and again *period* seconds after the end of each time, for ever.

        The log is told once when the store begins to fail, and once when it has recovered. Meanwhile the lists stay as they
        were last.
        """
        fails = False
        while True:
            try:
                await self.refresh()
            except StoreError as error:
                if not fails:
                    log.warning("store.failed", reason=error.reason)
                fails = True
            else:
                if fails:
                    log.info("store.recovered")
                fails = False
            await asyncio.sleep(period)

    async def search(self, text: str, names: Sequence[str]) -> list[Match]:
        """The items of the lists called *names* that *text* holds: list by list as given, in each by age.

        They are those that the store holds now: it is looked at first. Raises `StoreError`, and `NoSuchListError` if one of
        the lists does not exist.
        """
        await self.refresh()
        compiled = self._compiled
        if compiled is None or not compiled.items.keys() >= set(names):
            raise NoSuchListError
        found = compiled.engine.terms_in(Query(text, Kind.MESSAGE), names)
        return [Match(name, compiled.items[name][place]) for name, places in found.items() for place in places]

    def classifier(self, names: Sequence[str], name: str = "stored_blocklists") -> StoredBlocklistClassifier:
        """A classifier called *name* that searches the lists called *names*."""
        made = StoredBlocklistClassifier(self, names, name)
        self._classifiers.add(made)
        return made

    @property
    def state(self) -> str:
        """Changes with the revision and with the contents of the lists. Quotes nothing."""
        return "never read" if self._compiled is None else f"{self._compiled.revision}:{self._compiled.engine.identity}"

    @property
    def is_loaded(self) -> bool:
        """Whether the lists have been read at least once."""
        return self._compiled is not None

    def verdict(self, query: Query, names: Collection[str]) -> Verdict:
        """What the lists called *names*, as they were read last, say of *query*. Raises `ClassifierError`.

        Its reason is ``store_unavailable`` if they were never read, ``blocklist_missing`` if one does not exist.
        """
        if self._compiled is None:
            raise ClassifierError("store_unavailable")
        if not self._compiled.items.keys() >= set(names):
            raise ClassifierError("blocklist_missing")
        return self._compiled.engine.search(query, names)

    async def _is_current(self) -> bool:
        revision = await self._store.revision()
        return self._compiled is not None and self._compiled.revision == revision

    async def _end_compiling(self) -> None:
        """Wait for the thread. Who is called off meanwhile leaves it to the next one: there are never two of them."""
        if self._compiling is not None:
            await asyncio.wait([self._compiling])
            compiling, self._compiling = self._compiling, None
            self._compiled = compiling.result()
            for classifier in self._classifiers:
                classifier.lists_changed()


class StoredBlocklistClassifier:
    """Searches each text for the items of the lists called *names*, as `BlocklistClassifier` does for terms.

    They are searched as they are at that moment, so verdicts must not be kept for longer than `identity` stays the same. A
    list without items is searched, and never matches.
    """

    limit: int | None = None
    overlap = 0
    reads_images = False
    reads_conversation = False

    def __init__(self, lists: StoredBlocklists, names: Sequence[str], name: str) -> None:
        self.name = name
        self._lists, self._names = lists, tuple(names)
        self.lists_changed()

    def lists_changed(self) -> None:
        """Take another identity. Called when the lists have been read anew."""
        about = json.dumps([self._lists.state, self._names])
        self.identity = f"stored_blocklists:{hashlib.sha256(about.encode()).hexdigest()}"

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        """Nothing: a blocklist is no category."""
        return frozenset()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query. The store is waited for if the lists have never been read, and else not."""
        if not self._lists.is_loaded:
            try:
                await self._lists.refresh()
            except StoreError:
                raise ClassifierError("store_unavailable") from None
        return self.classify_now(queries)

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, by the lists as they were read last. Raises `ClassifierError`."""
        return [self._lists.verdict(query, self._names) for query in queries]

    async def close(self) -> None:
        """Nothing to let go of: the store belongs to who made it."""
