"""What every service's classifier promises, whichever service it is.

Each is built as a configuration builds it, in its frame, and asks a stand-in on loopback that speaks the service's own
format. A new adapter needs a row in `tests.classifiers.contract_rows.ROWS`.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter

from safety_proxy.assembly import build_classifier
from safety_proxy.classifiers.base import Classifier, LocalClassifier
from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, JSON, Category, Kind, Query, Verdict
from safety_proxy.settings_classifiers import _SHAPES, ClassifierSettings, RemoteSettings
from safety_proxy.verdicts import merge, split
from tests.classifiers.contract_rows import ROWS, SECRET_KEY, Row
from tests.classifiers.loopback import LoopbackService

SETTINGS: TypeAdapter[ClassifierSettings] = TypeAdapter(ClassifierSettings)
SECRET = "Zwetschgenknoedel"
"""A word of a prompt, which must not turn up anywhere."""
UNREADABLE = {"invalid_answer", "missing_category"}


@dataclass
class Bench:
    """One service and the classifier that asks it."""

    row: Row
    service: LoopbackService
    classifier: Classifier

    def query(self, text: str) -> Query:
        return Query(text, self.row.kind)

    @property
    def clean(self) -> Query:
        return self.query(self.row.clean)

    @property
    def harmful(self) -> Query:
        return self.query(self.row.harmful)

    async def verdict(self, query: Query) -> Verdict:
        (only,) = await self.classifier.classify([query])
        return only

    async def reasons(self, query: Query | None = None) -> set[str]:
        """Why nothing that is reported was decided. No other end of the call is let pass."""
        query = query or self.query(f"{self.row.harmful} {SECRET}")
        found = await self.outcome(query)
        if isinstance(found, ClassifierError):
            return {found.reason}
        assert set(found.failures) >= self.classifier.reports(query.kind)
        assert not decided(found)
        return set(found.failures.values())

    async def outcome(self, query: Query) -> Verdict | ClassifierError:
        """What comes of a call. No other end of it is let pass, and no error that tells of the text."""
        try:
            return await self.verdict(query)
        except ClassifierError as error:
            failed = error
        assert failed.categories is None
        assert SECRET not in told_by(failed)
        return failed

    async def requests(self, query: Query) -> int:
        """How many requests a query is while the service is well."""
        before = len(self.service.received)
        await self.classifier.classify([query])
        return len(self.service.received) - before


@asynccontextmanager
async def bench(row: Row, **settings: JSON) -> AsyncIterator[Bench]:
    """A service, and a classifier whose *settings* leave it time, in which breaker and backoff are out of the way."""
    service = row.emulator()
    await service.start()
    patient: dict[str, JSON] = {"timeout": "10s", "breaker": {"failures": 1000}}
    classifier = build_classifier("it", SETTINGS.validate_python({**patient, **row.settings(service.url), **settings}))
    try:
        yield Bench(row, service, classifier)
    finally:
        await classifier.close()
        if service.gate is not None:
            service.gate.set()
        await service.stop()


def decided(verdict: Verdict) -> set[Category]:
    return {*verdict.severities, *verdict.detections}


def finds(verdict: Verdict, category: Category) -> bool:
    return bool(verdict.severities.get(category, 0) or verdict.detections.get(category, False))


def told_by(error: BaseException) -> str:
    """All that could be written of *error*."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=False)
    return f"{error!s} {error!r} {error.args} {error.__context__!r} {error.__cause__!r} {''.join(whole.format())}"


def is_clean(verdict: Verdict) -> bool:
    return not (verdict.failures or any(verdict.severities.values()) or any(verdict.detections.values()))


def our_tasks() -> set[asyncio.Task[object]]:
    """All tasks but this one and those of the server, which shares the loop."""
    found = {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}
    return found - {asyncio.current_task()}


def _params() -> Iterator[object]:
    """Each service; of those that come in several variants, all but the first are slow to go through."""
    types = [row.settings("http://127.0.0.1:1")["type"] for row in ROWS]
    for place, row in enumerate(ROWS):
        marks = [pytest.mark.slow] if types[place] in types[:place] else []
        yield pytest.param(row, id=row.name, marks=marks)


@pytest.fixture(params=_params())
def row(request: pytest.FixtureRequest) -> Row:
    """Each service in turn."""
    found = request.param
    assert isinstance(found, Row)
    return found


def test_every_type_of_service_has_a_row() -> None:
    services = {name for name, shape in _SHAPES.items() if issubclass(shape, RemoteSettings)}
    assert {row.settings("http://127.0.0.1:1")["type"] for row in ROWS} == services


class TestWell:
    async def test_harm_is_found_and_what_is_clean_is_clean(self, row: Row) -> None:
        async with bench(row) as it:
            found, clean = await it.verdict(it.harmful), await it.verdict(it.clean)
            assert finds(found, row.category)
            assert not found.failures
            assert is_clean(clean)

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.IMAGE])
    async def test_each_category_that_is_reported_is_decided_and_no_other(self, row: Row, kind: Kind) -> None:
        async with bench(row) as it:
            for text in (row.clean, row.harmful, ""):
                found = await it.verdict(Query(text, kind))
                assert decided(found) == it.classifier.reports(kind)
                assert set(found.severities) <= HARMS
                assert not set(found.detections) & HARMS
                assert not found.failures
                assert all(type(severity) is int and 0 <= severity <= 7 for severity in found.severities.values())

    async def test_it_says_what_it_is_without_a_secret(self, row: Row) -> None:
        async with bench(row) as it:
            same = build_classifier("other", SETTINGS.validate_python({**row.settings(it.service.url), "timeout": "1s"}))
            elsewhere = build_classifier("it", SETTINGS.validate_python(row.settings("http://127.0.0.1:1")))
            assert it.classifier.name == "it"
            assert it.classifier.identity == same.identity != elsewhere.identity
            assert not set("\r\n") & set(it.classifier.identity)
            assert SECRET_KEY not in it.classifier.identity
            assert not isinstance(it.classifier, LocalClassifier)
            assert it.classifier.reports(row.kind)
            await same.close()
            await elsewhere.close()

    async def test_many_texts_are_judged_at_once_and_answered_in_order(self, row: Row) -> None:
        async with bench(row) as it:
            queries = [it.harmful if number % 3 == 0 else it.clean for number in range(40)]
            verdicts = await it.classifier.classify(queries)
            assert [finds(verdict, row.category) for verdict in verdicts] == [number % 3 == 0 for number in range(40)]
            assert not any(verdict.failures for verdict in verdicts)

    async def test_never_are_more_requests_under_way_than_allowed(self, row: Row) -> None:
        async with bench(row, concurrency=2) as it:
            await asyncio.gather(*(it.classifier.classify([it.clean] * 5) for _ in range(4)))
            assert it.service.most_waiting <= 2

    async def test_a_blank_text_is_clean_and_not_sent(self, row: Row) -> None:
        async with bench(row) as it:
            blanks = [it.query(text) for text in ("", " ", "\n\t\u00a0\u2003")]
            for found in await it.classifier.classify(blanks):
                assert is_clean(found)
                assert decided(found) == it.classifier.reports(row.kind)
            assert not it.service.received
            *_, found = await it.classifier.classify([*blanks, it.harmful])
            assert finds(found, row.category)

    async def test_an_answer_that_is_slow_but_in_time_counts(self, row: Row) -> None:
        async with bench(row) as it:
            it.service.gate = asyncio.Event()
            call = asyncio.ensure_future(it.verdict(it.harmful))
            await it.service.received_by(1)
            assert not call.done()
            it.service.gate.set()
            assert finds(await call, row.category)


LONG = 25_000
ODD = ["\x00", "a\x00b", "\ud800", "\udfffx\ud83d", "\U0001f469\u200d\U0001f4bb \U00010348", "\u202e\ufeff", "\x1b[0m\x7f"]


class TestTexts:
    @pytest.mark.parametrize("word", ["mild weather ", "\u6674\u308c", "\U0001f600", "a", "\u0301", "\r\n.", '\\"<|x|>'])
    async def test_a_long_text_passes_in_parts_within_the_limit(self, row: Row, word: str) -> None:
        async with bench(row, timeout="50s") as it:
            limit = it.classifier.limit
            length = LONG if limit is None else min(LONG, 3 * limit)
            parts = split(it.query((word * length)[:length]), limit, it.classifier.overlap)
            assert limit is None or all(len(part.text) <= limit for part in parts)
            verdict = merge(await it.classifier.classify(parts))
            assert not verdict.failures
            assert decided(verdict) == it.classifier.reports(row.kind)

    async def test_harm_is_found_wherever_in_a_long_text_it_stands(self, row: Row) -> None:
        async with bench(row, timeout="50s") as it:
            length = LONG if it.classifier.limit is None else min(LONG, 3 * it.classifier.limit)
            filling = (f"{row.clean} " * length)[: length // 2]
            for text in (f"{filling} {row.harmful}", f"{filling} {row.harmful} {filling}", f"{row.harmful} {filling}"):
                parts = split(it.query(text), it.classifier.limit, it.classifier.overlap)
                assert finds(merge(await it.classifier.classify(parts)), row.category)

    async def test_an_odd_text_gets_a_verdict_or_a_reason_and_costs_no_other_its_own(self, row: Row) -> None:
        async with bench(row) as it:
            for text in ODD:
                found = await it.outcome(it.query(f"{SECRET} {text}"))
                if isinstance(found, Verdict):
                    assert decided(found) | set(found.failures) >= it.classifier.reports(row.kind)
            assert finds(await it.verdict(it.harmful), row.category)

    async def test_an_astral_text_is_sent_as_it_is(self, row: Row) -> None:
        async with bench(row) as it:
            await it.verdict(it.query("\U00010348\u6674 fine"))
            assert any("\U00010348\u6674 fine" in json.dumps(body, ensure_ascii=False) for body in it.service.bodies())


REFUSALS = {
    500: ("server_error", 2),
    503: ("server_error", 2),
    429: ("rate_limited", 2),
    408: ("timeout", 2),
    401: ("unauthorized", 1),
    403: ("unauthorized", 1),
    400: ("rejected", 1),
    404: ("rejected", 1),
    413: ("rejected", 1),
    422: ("rejected", 1),
    501: ("server_error", 1),
    201: ("invalid_answer", 1),
    204: ("invalid_answer", 1),
}
"""The reason of each status, and how often it is tried where one more try is allowed."""


PASSING: Sequence[tuple[int, Mapping[str, str]]] = [
    (429, {}),
    (429, {"Retry-After": "0"}),
    (429, {"retry-after-ms": "10"}),
    (408, {}),
    (500, {}),
    (502, {}),
    (503, {"Retry-After": "0.01"}),
    (504, {}),
]
"""Refusals that may be over at the next try, some with the time that it is to come at."""


class TestRefusals:
    async def test_what_may_pass_is_tried_again(self, row: Row) -> None:
        async with bench(row) as it:
            count = await it.requests(it.harmful)
            for status, headers in PASSING:
                before = len(it.service.received)
                it.service.fail(status=status, headers=headers, times=1)
                found = await it.verdict(it.harmful)
                assert finds(found, row.category)
                assert not found.failures
                assert (status, len(it.service.received) - before) == (status, count + 1)

    async def test_a_pause_beyond_the_deadline_is_not_waited_for(self, row: Row) -> None:
        async with bench(row) as it:
            count = await it.requests(it.clean)
            for header in ("3600", "1e9", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"):
                before = len(it.service.received)
                it.service.fail(status=429, headers={"Retry-After": header})
                async with asyncio.timeout(5.0):
                    assert (header, await it.reasons(it.clean)) == (header, {"rate_limited"})
                assert len(it.service.received) - before == count

    async def test_what_does_not_pass_has_its_reason_and_so_many_tries(self, row: Row) -> None:
        async with bench(row) as it:
            count = await it.requests(it.query(f"{row.harmful} {SECRET}"))
            for status, (reason, tries) in REFUSALS.items():
                before = len(it.service.received)
                body = b"" if status == 204 else json.dumps({"error": {"message": SECRET, "code": SECRET}}).encode()
                it.service.fail(status=status, body=body)
                assert (status, await it.reasons()) == (status, {reason})
                assert (status, len(it.service.received) - before) == (status, count * tries)
            it.service.mend()
            assert is_clean(await it.verdict(it.clean))

    async def test_a_redirect_is_not_followed(self, row: Row) -> None:
        elsewhere = row.emulator()
        await elsewhere.start()
        try:
            async with bench(row) as it:
                for status in (301, 302, 303, 307, 308):
                    it.service.fail(status=status, headers={"Location": elsewhere.url + "/elsewhere"})
                    assert (status, await it.reasons()) == (status, {"invalid_answer"})
                assert not elsewhere.received
        finally:
            await elsewhere.stop()

    async def test_refused_texts_leave_the_breaker_closed(self, row: Row) -> None:
        async with bench(row, breaker={"failures": 2, "probe": "60s"}) as it:
            it.service.fail(status=400)
            assert [await it.reasons() for _ in range(5)] == [{"rejected"}] * 5
            it.service.mend()
            assert finds(await it.verdict(it.harmful), row.category)

    async def test_a_service_that_fails_and_fails_is_left_alone(self, row: Row) -> None:
        async with bench(row, breaker={"failures": 2, "probe": "60s"}, retries=0) as it:
            it.service.fail(status=500)
            for _ in range(2):
                await it.reasons()
            sent = len(it.service.received)
            assert await it.reasons() == {"circuit_open"}
            assert len(it.service.received) == sent


BROKEN = [
    b"",
    b"\x00\xff not JSON",
    b"<html>fine</html>",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b'""',
    b"[[]]",
    b"[null]",
    b'{"error":{"message":"fine"}}',
    b'{"choices":[],"results":[],"data":[],"verdicts":[],"categoriesAnalysis":[]}',
    b'{"choices":null,"results":null,"data":null,"verdicts":null,"categoriesAnalysis":null}',
    b'{"choices":[null],"results":[null],"data":[null],"verdicts":[null],"categoriesAnalysis":[null]}',
    b'{"choices":[{}],"results":[{}],"data":[{}],"verdicts":[{}],"categoriesAnalysis":[{}]}',
    b'{"choices":"a","results":"a","data":"a","verdicts":"a","categoriesAnalysis":"a"}',
    b'{"choices":{"0":1},"results":{"0":1},"data":{"0":1},"verdicts":{"0":1},"categoriesAnalysis":{"0":1}}',
    b'{"choices":7,"results":7,"data":7,"verdicts":7,"categoriesAnalysis":7}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"safe",
    b'"safe"',
]
"""Bodies that no service answers with, each under the key where some service has its answer."""


class TestBrokenAnswers:
    async def test_what_cannot_be_understood_decides_nothing(self, row: Row) -> None:
        async with bench(row) as it:
            for body in BROKEN:
                for kind in ("application/json", "text/html"):
                    it.service.fail(body=body, headers={"Content-Type": kind})
                    reasons = await it.reasons()
                    assert reasons <= UNREADABLE, (body[:80], kind, reasons)

    async def test_a_category_that_is_missing_or_odd_is_undecided_and_never_clean(self, row: Row) -> None:
        async with bench(row) as it:
            for partial in row.partial:
                it.service.fail(body=json.dumps(partial).encode())
                found = await it.outcome(it.clean)
                if isinstance(found, ClassifierError):
                    assert found.reason in UNREADABLE, partial
                else:
                    assert found.failures, partial
                    assert set(found.failures.values()) <= UNREADABLE, partial
                    assert decided(found) | set(found.failures) >= it.classifier.reports(row.kind), partial

    async def test_a_connection_that_breaks_is_unreachable_and_tried_again(self, row: Row) -> None:
        async with bench(row) as it:
            count = await it.requests(it.harmful)
            faults: list[dict[str, object]] = [{"drop": True}, {"cut": True}, {"cut": True, "body": b'{"results":['}]
            for fault in faults:
                before = len(it.service.received)
                it.service.fail(**fault, times=1)
                found = await it.verdict(it.harmful)
                assert finds(found, row.category)
                assert not found.failures
                assert (fault, len(it.service.received) - before) == (fault, count + 1)
                it.service.fail(**fault)
                assert (fault, await it.reasons()) == (fault, {"unreachable"})

    async def test_a_service_that_is_not_there_is_unreachable(self, row: Row) -> None:
        async with bench(row) as it:
            await it.service.stop()
            assert await it.reasons() == {"unreachable"}

    async def test_an_answer_without_end_is_given_up(self, row: Row) -> None:
        async with bench(row) as it:
            it.service.fail(body=b'{"a":"' + b"x" * (5 * 2**20) + b'"}')
            assert await it.reasons() <= UNREADABLE


class TestTime:
    async def test_a_hang_ends_at_the_deadline(self, row: Row) -> None:
        async with bench(row, timeout="200ms") as it:
            it.service.fail(hang=True)
            begun = asyncio.get_running_loop().time()
            assert await it.reasons() == {"timeout"}
            assert asyncio.get_running_loop().time() - begun < 2.0
            async with asyncio.timeout(5.0):
                await it.service.abandoned.wait()

    async def test_a_client_who_leaves_ends_the_requests_and_leaves_no_task(self, row: Row) -> None:
        async with bench(row) as it:
            before = our_tasks()
            it.service.gate = asyncio.Event()
            call = asyncio.ensure_future(it.classifier.classify([it.clean] * 3))
            await it.service.received_by(1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert call.cancelled()
            assert our_tasks() <= before
            async with asyncio.timeout(5.0):
                await it.service.abandoned.wait()
            it.service.gate.set()
            assert finds(await it.verdict(it.harmful), row.category)

    async def test_a_slow_answer_is_overtaken_by_a_second_request(self, row: Row) -> None:
        async with bench(row, hedge="30ms") as it:
            it.service.fail(hang=True, times=1)
            found = await it.verdict(it.harmful)
            assert finds(found, row.category)
            assert not found.failures


class TestClosing:
    async def test_it_may_be_closed_twice_and_without_having_been_asked(self, row: Row) -> None:
        async with bench(row) as it:
            await it.classifier.close()
            await it.classifier.close()
        async with bench(row) as it:
            await it.classifier.classify([it.clean])
            await it.classifier.close()
            await it.classifier.close()
