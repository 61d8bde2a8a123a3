"""Lists that change under those who search them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

import pytest
from structlog.testing import capture_logs

from safety_proxy.classifiers import stored_blocklists
from safety_proxy.classifiers.base import LocalClassifier
from safety_proxy.classifiers.blocklist import Blocklist, BlocklistClassifier
from safety_proxy.classifiers.stored_blocklists import Match, StoredBlocklists
from safety_proxy.errors import ClassifierError, StoreError
from safety_proxy.model import Kind, Query, Span
from safety_proxy.store.base import Contents, NoSuchListError, StoredItem
from safety_proxy.store.sql import SQLStore
from tests.classifiers.judge import settle
from tests.classifiers.virtual_time import in_virtual_time


def item(text: str) -> StoredItem:
    return StoredItem(f"id of {text}", text)


class Store(SQLStore):
    """Needs no database. Holds what it is told to, counts what it is asked, and fails or waits when it is told to."""

    def __init__(self, **lists: Sequence[str]) -> None:
        super().__init__("sqlite://")
        self.now = Contents(0, {})
        self.change(**lists)
        self.failure: str | None = None
        self.opened = self.looked = self.read = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def change(self, **lists: Sequence[str]) -> None:
        """From now on it holds these."""
        held = {name: tuple(item(text) for text in texts) for name, texts in lists.items()}
        self.now = Contents(self.now.revision + 1, held)

    def _fail(self) -> None:
        if self.failure is not None:
            raise StoreError(self.failure)

    async def open(self) -> None:
        self._fail()
        self.opened += 1

    async def revision(self) -> int:
        self.looked += 1
        self._fail()
        return self.now.revision

    async def contents(self) -> Contents:
        self.read += 1
        await self.gate.wait()
        self._fail()
        return self.now


def at_once(_: object, work: Callable[..., object], *arguments: object) -> asyncio.Future[object]:
    """As an executor that takes no time."""
    done = asyncio.get_running_loop().create_future()
    done.set_result(work(*arguments))
    return done


def query(text: str, edge: Literal["left", "right"] | None = None) -> Query:
    return Query(text, Kind.COMPLETION, open_left=edge == "left", open_right=edge == "right")


async def found(lists: StoredBlocklists, text: str, *names: str) -> list[tuple[str, str]]:
    return [(match.list_name, match.item.text) for match in await lists.search(text, names)]


def spans(classifier: LocalClassifier, asked: Query) -> tuple[Span, ...]:
    (verdict,) = classifier.classify_now([asked])
    assert {span.label for span in verdict.spans} == {name for name, hit in verdict.blocklists.items() if hit}
    return verdict.spans


def reason(classifier: LocalClassifier) -> str:
    with pytest.raises(ClassifierError) as refused:
        classifier.classify_now([query("")])
    return refused.value.reason


class TestSearch:
    async def test_matches_come_by_list_as_given_and_then_by_age(self) -> None:
        lists = StoredBlocklists(Store(a=("worse", "bad", "good"), b=("Bad", "worst"), c=("bad",)))
        assert await lists.search("bad, worse", ["b", "a"]) == [
            Match("b", item("Bad")),
            Match("a", item("worse")),
            Match("a", item("bad")),
        ]
        assert await found(lists, "bad", "c", "a", "c") == [("c", "bad"), ("a", "bad")]
        assert await found(lists, "nothing", "a", "b") == []
        assert await found(lists, "bad") == []

    async def test_every_item_that_is_spelt_so_is_found_once(self) -> None:
        lists = StoredBlocklists(Store(a=("bad", "BAD", " bad ", "b\u0430d", "bad man")))
        assert [text for _, text in await found(lists, "b\u0430d men, bad man " * 200, "a")] == [
            "bad",
            "BAD",
            " bad ",
            "b\u0430d",
            "bad man",
        ]

    async def test_no_item_hides_behind_many_matches_of_another(self) -> None:
        lists = StoredBlocklists(Store(a=("bad", "worse")))
        assert await found(lists, "bad " * 300 + "worse", "a") == [("a", "bad"), ("a", "worse")]

    async def test_a_change_is_seen_at_once(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        assert await found(lists, "bad good", "a") == [("a", "bad")]
        store.change(a=("bad", "good"), b=())
        assert await found(lists, "bad good", "a", "b") == [("a", "bad"), ("a", "good")]
        store.change(b=("bad",))
        with pytest.raises(NoSuchListError):
            await lists.search("bad", ["a", "b"])

    async def test_a_store_that_fails_is_told_of(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        await lists.refresh()
        store.failure = "unreachable"
        with pytest.raises(StoreError, match="unreachable"):
            await lists.search("bad", ["a"])

    async def test_an_item_of_which_nothing_is_left_is_found_nowhere_and_hides_no_other(self) -> None:
        lists = StoredBlocklists(Store(a=("\u200b", "bad", " ", "good"), b=("\u00ad",)))
        assert await found(lists, " \u200b good bad", "a", "b") == [("a", "bad"), ("a", "good")]


class TestRefresh:
    async def test_lists_are_read_when_they_have_changed_and_else_not(self) -> None:
        store = Store(a=("bad",))
        assert not StoredBlocklists(store).is_loaded
        lists = StoredBlocklists(store)
        for _ in range(3):
            await lists.refresh()
        assert lists.is_loaded
        assert (store.opened, store.read) == (1, 1)
        store.change(a=())
        await lists.refresh()
        assert (store.opened, store.read) == (1, 2)

    async def test_a_store_that_went_back_in_time_is_followed(self) -> None:
        store = Store(a=("bad",))
        before = store.now
        store.change(b=())
        lists = StoredBlocklists(store)
        await lists.refresh()
        store.now = before
        assert await found(lists, "bad", "a") == [("a", "bad")]

    async def test_those_who_come_at_once_share_one_reading(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        store.gate.clear()
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(found(lists, "bad", "a")) for _ in range(9)]
            await settle()
            store.gate.set()
        assert [call.result() for call in calls] == [[("a", "bad")]] * 9
        assert store.read == 1

    async def test_who_comes_after_a_change_sees_it_though_a_reading_is_under_way(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        store.gate.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(found(lists, "good", "a"))
            await settle()
            store.change(a=("good",))
            later = group.create_task(found(lists, "good", "a"))
            await settle()
            store.gate.set()
        assert later.result() == [("a", "good")]

    async def test_a_failed_reading_leaves_the_lists_and_the_way_free(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        await lists.refresh()
        classifier = lists.classifier(["a"])
        store.change(a=("good",))
        store.failure = "broken"
        for _ in range(2):
            with pytest.raises(StoreError, match="broken"):
                await lists.refresh()
        assert spans(classifier, query("bad good")) == (Span(0, 3, "a"),)
        store.failure = None
        await lists.refresh()
        assert spans(classifier, query("bad good")) == (Span(4, 8, "a"),)

    async def test_the_loop_is_free_while_lists_are_made_searchable_and_nobody_makes_them_twice(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release, begun, made = threading.Event(), asyncio.Event(), list[str]()
        loop = asyncio.get_running_loop()

        class Slow(BlocklistClassifier):
            def __init__(self, lists: Sequence[Blocklist], name: str) -> None:
                made.append(threading.current_thread().name)
                loop.call_soon_threadsafe(begun.set)
                assert release.wait(5)
                super().__init__(lists, name)

        monkeypatch.setattr(stored_blocklists, "BlocklistClassifier", Slow)
        lists = StoredBlocklists(Store(a=("bad",)))
        first = asyncio.create_task(lists.refresh())
        await begun.wait()
        second = asyncio.create_task(lists.refresh())
        await settle()
        first.cancel()
        await asyncio.wait([first])
        await settle()
        release.set()
        await second
        assert first.cancelled()
        assert len(made) == 1
        assert threading.current_thread().name not in made
        assert lists.is_loaded


class TestFollow:
    @in_virtual_time
    async def test_it_looks_once_a_period_and_tells_of_each_outage_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = Store(a=("bad",))
        store.failure = "unreachable"
        lists = StoredBlocklists(store)
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", at_once)  # threads have times of their own
        with capture_logs() as logs:
            following = asyncio.create_task(lists.follow(2.0))
            await asyncio.sleep(5.0)
            assert (store.opened, store.looked) == (0, 0)
            store.failure = None
            await asyncio.sleep(2.0)
            assert lists.is_loaded
            store.failure = "timeout"
            await asyncio.sleep(10.0)
            store.failure, looked = None, store.looked
            await asyncio.sleep(10.0)
            assert store.looked == looked + 5
            following.cancel()
            await asyncio.wait([following])
        told = [(entry["event"], entry.get("reason"), entry["log_level"]) for entry in logs]
        assert told == [
            ("store.failed", "unreachable", "warning"),
            ("store.recovered", None, "info"),
            ("store.failed", "timeout", "warning"),
            ("store.recovered", None, "info"),
        ]

    async def test_a_classifier_sees_what_was_followed(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        following = asyncio.create_task(lists.follow(0.0))
        classifier = lists.classifier(["a"])
        while not lists.is_loaded:
            await settle()
        before = classifier.identity
        store.change(a=("good",))
        while classifier.identity == before:
            await settle()
        assert spans(classifier, query("bad good")) == (Span(4, 8, "a"),)
        following.cancel()
        await asyncio.wait([following])


class TestClassifier:
    async def test_it_reports_each_of_its_lists_and_no_other(self) -> None:
        lists = StoredBlocklists(Store(a=("bad",), b=("good",), c=("bad",), d=()))
        classifier: LocalClassifier = lists.classifier(["b", "a", "d"], "house")
        assert isinstance(classifier, LocalClassifier)
        assert (classifier.name, classifier.limit) == ("house", None)
        assert all(classifier.reports(kind) == frozenset() for kind in Kind)
        first, second = await classifier.classify([query("bad, good"), query("bad")])
        assert first.blocklists == {"a": True, "b": True, "d": False}
        assert first.spans == (Span(0, 3, "a"), Span(5, 9, "b"))
        assert second.blocklists == {"a": True, "b": False, "d": False}
        assert (await lists.classifier([]).classify([query("bad")]))[0].blocklists == {}
        await classifier.close()

    async def test_a_match_at_an_open_edge_does_not_count(self) -> None:
        lists = StoredBlocklists(Store(a=("bad",)))
        await lists.refresh()
        classifier = lists.classifier(["a"])
        assert spans(classifier, query("bad. bad")) == (Span(0, 3, "a"), Span(5, 8, "a"))
        assert spans(classifier, query("bad. bad", "left")) == (Span(5, 8, "a"),)
        assert spans(classifier, query("bad. bad", "right")) == (Span(0, 3, "a"),)

    async def test_without_lists_there_is_no_verdict(self) -> None:
        store = Store(a=("bad",))
        store.failure = "unreachable"
        classifier = StoredBlocklists(store).classifier(["a"])
        assert reason(classifier) == "store_unavailable"
        with pytest.raises(ClassifierError, match="store_unavailable"):
            await classifier.classify([query("bad")])
        store.failure = None
        await classifier.classify([query("bad")])
        store.failure = "unreachable"
        await classifier.classify([query("bad")])

    async def test_a_list_that_is_not_there_or_not_any_more_is_no_empty_list(self) -> None:
        store = Store(a=("bad",))
        lists = StoredBlocklists(store)
        await lists.refresh()
        classifier = lists.classifier(["a"])
        assert reason(lists.classifier(["a", "b"])) == "blocklist_missing"
        store.change(b=())
        assert spans(classifier, query("bad")) == (Span(0, 3, "a"),)
        await lists.refresh()
        assert reason(classifier) == "blocklist_missing"

    async def test_the_identity_changes_with_the_lists_and_quotes_nothing(self) -> None:
        store = Store(a=("badger",))
        lists = StoredBlocklists(store)
        one, other = lists.classifier(["a"]), lists.classifier(["a", "b"])
        seen = {one.identity, other.identity}
        await lists.refresh()
        seen |= {one.identity, other.identity, lists.classifier(["a"]).identity}
        store.change(a=("badgers",))
        await lists.refresh()
        seen |= {one.identity, other.identity}
        store.now = Contents(store.now.revision + 1, store.now.lists)
        await lists.refresh()
        seen |= {one.identity, other.identity}
        elsewhere = StoredBlocklists(Store(a=("badge",)))
        await elsewhere.refresh()
        seen.add(elsewhere.classifier(["a"]).identity)
        assert len(seen) == 9
        assert "badger" not in str(seen)


class TestSpeed:
    async def test_ten_thousand_items_cost_no_more_than_ten(self) -> None:
        text = ("The quick brown fox jumps over words and lists of words. " * 18)[:1000]

        async def seconds(items: int) -> float:
            lists = StoredBlocklists(Store(a=[f"word{number} of list" for number in range(items)]))
            await lists.refresh()
            classifier, queries = lists.classifier(["a"]), [query(text)] * 50
            begun = time.process_time()
            classifier.classify_now(queries)
            await asyncio.gather(*(lists.search(text, ["a"]) for _ in range(10)))
            return time.process_time() - begun

        assert min([await seconds(10_000) for _ in range(2)]) < 0.01 + 5 * min([await seconds(10) for _ in range(3)])
