"""The frame keeps its promises whatever the service does. Time is virtual, the service a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.base import Classifier, LocalClassifier
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Image, Kind, Query, Verdict
from tests.classifiers.scripted_service import (
    HANG,
    HARMS_ONLY,
    HATE,
    JAILBREAK,
    SECRET,
    VIOLENCE,
    Ledger,
    Service,
    Step,
    again,
    framed,
    message,
    now,
    outcome,
    prompt,
    reason,
    took,
)
from tests.classifiers.virtual_time import in_virtual_time


class TestVerdicts:
    @in_virtual_time
    async def test_it_is_a_classifier_as_its_service_is(self) -> None:
        service = Service()
        classifier: Classifier = framed(service)
        assert not isinstance(classifier, LocalClassifier)
        assert (classifier.name, classifier.identity) == ("it", "scripted")
        assert (classifier.limit, classifier.overlap) == (1000, 10)
        assert (classifier.reads_images, classifier.reads_conversation) == (True, True)
        assert all(classifier.reports(kind) == service.reports(kind) for kind in Kind)
        await classifier.close()
        assert service.closed == 1

    @in_virtual_time
    async def test_the_answers_to_all_questions_on_a_text_make_one_verdict(self) -> None:
        assert await framed(Service()).classify([prompt(), message("harmful"), prompt("harmful")]) == [
            Verdict({VIOLENCE: 0}, {JAILBREAK: False}),
            Verdict({VIOLENCE: 6}),
            Verdict({VIOLENCE: 6}, {JAILBREAK: True}),
        ]

    @in_virtual_time
    async def test_no_query_no_verdict(self) -> None:
        assert list(await framed(Service()).classify([])) == []

    @in_virtual_time
    async def test_a_blank_text_is_clean_and_not_sent_but_an_image_without_text_is(self) -> None:
        service = Service()
        image = Query(" ", Kind.IMAGE, images=(Image("image/png", b""),))
        first, _, last = await framed(service).classify([prompt(" \n"), message("x"), image])
        assert first == Verdict({VIOLENCE: 0}, {JAILBREAK: False})
        assert last == Verdict({VIOLENCE: 0})
        assert [text for _, _, text in service.asked] == ["x", " "]

    @in_virtual_time
    async def test_a_question_that_fails_is_a_failure_of_its_categories_and_of_no_others(self) -> None:
        service = Service({"attacks": [ServiceError("rejected")]})
        assert await framed(service).classify([prompt("harmful")]) == [
            Verdict({VIOLENCE: 6}, failures={JAILBREAK: "rejected"})
        ]

    @in_virtual_time
    async def test_one_text_that_fails_does_not_cost_the_others_their_verdicts(self) -> None:
        service = Service({"harms": [ServiceError("rejected")]})
        assert await framed(service).classify([message(), message()]) == [
            Verdict(failures={VIOLENCE: "rejected"}),
            Verdict({VIOLENCE: 0}),
        ]

    @in_virtual_time
    async def test_where_nothing_was_decided_the_call_fails_with_one_of_the_reasons(self) -> None:
        service = Service({"harms": [ServiceError("unauthorized")], "attacks": [ServiceError("rejected")]})
        with pytest.raises(ClassifierError) as failed:
            await framed(service).classify([prompt()])
        assert failed.value.reason in {"unauthorized", "rejected"}
        assert failed.value.categories is None

    @in_virtual_time
    async def test_a_category_that_no_question_was_about_is_missing(self) -> None:
        assert await framed(Service(routes=HARMS_ONLY)).classify([prompt()]) == [
            Verdict({VIOLENCE: 0}, failures={JAILBREAK: "missing_category"})
        ]

    @pytest.mark.parametrize("odd", [Verdict(), Verdict({HATE: 0}), Verdict(failures={HATE: "timeout"})])
    @in_virtual_time
    async def test_a_category_that_an_answer_leaves_out_is_missing(self, odd: Verdict) -> None:
        found = (await framed(Service({"harms": [[odd]]})).classify([prompt()]))[0]
        assert found.detections == {JAILBREAK: False}
        assert VIOLENCE not in found.severities
        assert found.failures[VIOLENCE] == "missing_category"

    @in_virtual_time
    async def test_what_one_of_two_answers_leaves_out_stays_undecided_though_the_other_has_it(self) -> None:
        service = Service({"harms": [[Verdict()]]}, routes=("harms", "harms"))
        assert await framed(service).classify([message()]) == [
            Verdict({VIOLENCE: 0}, failures={VIOLENCE: "missing_category"})
        ]

    @in_virtual_time
    async def test_a_question_about_several_texts_fails_them_all_or_answers_them_in_order(self) -> None:
        class Batch(Service):
            def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
                ask = super().questions([queries[0]])[0].ask
                return [Question("harms", (1, 0), frozenset({VIOLENCE}), ask)]

        batch = Batch({"harms": [[Verdict({VIOLENCE: 1}), Verdict({VIOLENCE: 2})], again()]})
        classifier = framed(batch)
        assert await classifier.classify([message(), message()]) == [Verdict({VIOLENCE: 2}), Verdict({VIOLENCE: 1})]
        with pytest.raises(ClassifierError, match="server_error"):
            await classifier.classify([message(), message()])


class TestMistakes:
    """Of our own adapters: no verdict, no word of the text, and no breaker that opens because of them."""

    @pytest.mark.parametrize("step", [ValueError(SECRET), TimeoutError(SECRET), KeyError(SECRET), [], [Verdict()] * 2])
    @in_virtual_time
    async def test_a_question_that_breaks_is_internal(self, step: Step, capsys: pytest.CaptureFixture[str]) -> None:
        classifier = framed(Service({"harms": [step] * 20}, routes=HARMS_ONLY))
        for _ in range(20):
            with pytest.raises(ClassifierError) as failed:
                await classifier.classify([message(SECRET)])
            assert failed.value.reason == "internal"
            assert failed.value.__context__ is None
        assert SECRET not in "".join(capsys.readouterr())

    @in_virtual_time
    async def test_an_adapter_that_refuses_to_ask_says_why(self) -> None:
        class Choosy(Service):
            def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
                raise ClassifierError("rejected")

        assert await reason(framed(Choosy()), message()) == "rejected"

    @in_virtual_time
    async def test_an_adapter_that_cannot_ask_is_internal(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Puzzled(Service):
            def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
                raise ValueError(queries[0].text)

        with pytest.raises(ClassifierError) as failed:
            await framed(Puzzled()).classify([message(SECRET)])
        assert failed.value.reason == "internal"
        assert failed.value.__context__ is None
        assert SECRET not in "".join(capsys.readouterr())


class TestDeadline:
    @in_virtual_time
    async def test_a_hang_ends_at_the_deadline_and_the_request_with_it(self) -> None:
        service = Service({"harms": [HANG]}, routes=HARMS_ONLY)
        classifier = framed(service)
        assert await took(classifier.classify([message()])) == pytest.approx(2.0)
        assert (service.under_way, service.called_off) == (0, 1)
        service.steps["harms"] = [HANG]
        assert await reason(classifier, message()) == "timeout"

    @in_virtual_time
    async def test_it_is_one_for_all_texts_and_all_tries(self) -> None:
        service = Service({"harms": [again(), HANG, again(pause=0.3)] * 20}, seconds=0.4)
        queries = [prompt()] * 10
        assert await took(framed(service, retries=5, concurrency=2).classify(queries)) == pytest.approx(2.0)

    @in_virtual_time
    async def test_what_was_answered_before_it_counts(self) -> None:
        found = (await framed(Service({"harms": [HANG]})).classify([prompt("harmful")]))[0]
        assert found == Verdict(detections={JAILBREAK: True}, failures={VIOLENCE: "timeout"})

    async def test_it_holds_on_a_real_clock_too(self) -> None:
        classifier = framed(Service({"harms": [HANG]}, routes=HARMS_ONLY), timeout=0.05)
        assert 0.04 < await took(classifier.classify([message()])) < 1.0


class TestPlaces:
    @in_virtual_time
    async def test_never_are_more_questions_under_way_than_there_are_places(self) -> None:
        service = Service()
        classifier = framed(service, concurrency=3)
        await asyncio.gather(*(classifier.classify([prompt(), prompt()]) for _ in range(5)))
        assert (service.most, len(service.asked)) == (3, 20)

    @pytest.mark.parametrize("hedge", [None, 0.5, 5.0])
    @in_virtual_time
    async def test_who_waits_too_long_for_a_place_is_overloaded(self, hedge: float | None) -> None:
        service = Service({"harms": [HANG, HANG]}, routes=HARMS_ONLY)
        classifier = framed(service, concurrency=1, hedge=hedge)
        with pytest.raises(ClassifierError, match="timeout"):
            await classifier.classify([message("first"), message("second")])
        service.steps["harms"] = [HANG, HANG]
        first = asyncio.ensure_future(classifier.classify([message("first")]))
        await asyncio.sleep(0)
        assert await reason(classifier, message("second")) == "overloaded"
        await asyncio.gather(first, return_exceptions=True)
        assert {text for _, _, text in service.asked} == {"first"}

    @in_virtual_time
    async def test_places_are_given_back_however_a_question_ends(self) -> None:
        steps: list[Step] = [HANG, again(), ServiceError("rejected"), ValueError(), []]
        service = Service({"harms": steps}, routes=HARMS_ONLY)
        classifier = framed(service, concurrency=1)
        for _ in range(5):
            await reason(classifier, message())
        assert await classifier.classify([message()]) == [Verdict({VIOLENCE: 0})]

    @in_virtual_time
    async def test_who_waited_so_long_for_a_place_that_no_time_is_left_does_not_open_the_breaker(self) -> None:
        service, ledger = Service(seconds=1.5, routes=HARMS_ONLY), Ledger()
        verdicts = await framed(service, ledger=ledger, concurrency=8).classify([message()] * 16)
        assert [verdict.failures for verdict in verdicts] == [{}] * 8 + [{VIOLENCE: "timeout"}] * 8
        assert ledger.told == []


class TestRate:
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))
    def test_no_window_sees_more_requests_however_long_places_are_taken(self, calls: int, places: int, seed: int) -> None:
        @in_virtual_time
        async def scenario() -> None:
            random = Random(seed)
            steps: list[Step] = [random.choice([0.001, 0.2, 3.0]) for _ in range(40)]
            service = Service({"harms": steps}, routes=HARMS_ONLY)
            classifier = framed(service, rate=(calls, 1.0), concurrency=places, timeout=1000.0)
            await classifier.classify([message()] * 40)
            times = [time for time, _, _ in service.asked]
            assert len(times) == 40
            assert all(late - early >= 1.0 - 1e-6 for early, late in zip(times, times[calls:], strict=False))

        scenario()

    @in_virtual_time
    async def test_each_route_has_its_own_and_who_waits_for_one_keeps_no_place_from_the_other(self) -> None:
        service = Service()
        begun = now()
        await framed(service, rate=(1, 1.5), concurrency=1).classify([message(), prompt()])
        told = [(round(time - begun, 3), route) for time, route, _ in service.asked]
        assert told[:2] == [(0.0, "harms"), (0.1, "attacks")]
        assert told[2:] == [(1.5, "harms")]

    @in_virtual_time
    async def test_whose_turn_comes_too_late_is_refused_at_once_and_not_asked(self) -> None:
        service = Service(routes=HARMS_ONLY)
        classifier = framed(service, rate=(1, 60.0), retries=3)
        await classifier.classify([message()])
        begun = now()
        assert await reason(classifier, message()) == "rate_limited"
        assert now() == begun
        assert len(service.asked) == 1

    @in_virtual_time
    async def test_further_tries_take_turns_as_well(self) -> None:
        service = Service({"harms": [again(pause=0.0)]}, routes=HARMS_ONLY)
        await framed(service, rate=(1, 1.0), retries=1).classify([message()])
        assert service.asked[1][0] - service.asked[0][0] == pytest.approx(1.0)


class TestLeaving:
    @pytest.mark.parametrize("hedge", [None, 0.1])
    @in_virtual_time
    async def test_a_client_who_leaves_ends_all_requests_and_leaves_no_task(self, hedge: float | None) -> None:
        service = Service({"harms": [HANG] * 9, "attacks": [HANG] * 9})
        call = asyncio.ensure_future(framed(service, hedge=hedge, concurrency=4).classify([prompt()] * 4))
        await asyncio.sleep(1.0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        assert (service.under_way, service.called_off) == (0, 4)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @in_virtual_time
    async def test_who_leaves_while_waiting_for_a_turn_a_place_or_a_retry_leaves_no_task(self) -> None:
        service = Service({"harms": [again(pause=1.0), *[0.5] * 9]}, routes=HARMS_ONLY)
        classifier = framed(service, concurrency=1, rate=(3, 1.5), retries=1)
        call = asyncio.ensure_future(classifier.classify([message()] * 5))
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        assert service.under_way == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(5.0)
        assert await classifier.classify([message()]) == [Verdict({VIOLENCE: 0})]


def flapping(random: Random, count: int) -> list[Step]:
    """A service at its worst."""
    reasons = ["unreachable", "rate_limited", "server_error", "rejected", "invalid_answer"]
    odd: list[Sequence[Verdict]] = [[], [Verdict()], [Verdict({HATE: 7})], [Verdict(failures={VIOLENCE: "timeout"})]]
    draws: list[Callable[[], Step]] = [
        lambda: random.choice([0.001, 0.1, 1.0]),
        lambda: random.choice([0.001, 0.1, 1.0]),
        lambda: HANG,
        lambda: ServiceError(
            random.choice(reasons), again=random.random() < 0.5, pause=random.choice([None, 0.0, 1.0, 1e9])
        ),
        lambda: ValueError(SECRET),
        lambda: random.choice(odd),
    ]
    return [random.choice(draws)() for _ in range(count)]


@given(
    st.integers(0, 2**32),
    st.sampled_from([None, 0.05, 0.5]),
    st.integers(1, 6),
    st.sampled_from([None, (5, 1.0), (100, 0.5)]),
)
def test_whatever_the_service_does_each_call_ends_in_time_and_none_is_silently_clean(
    seed: int, hedge: float | None, concurrency: int, rate: tuple[int, float] | None
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        random = Random(seed)
        service = Service({route: flapping(random, 300) for route in ("harms", "attacks")})
        classifier = framed(
            service, hedge=hedge, concurrency=concurrency, rate=rate, retries=random.randint(0, 2), random=random, probe=1.0
        )

        async def call(after: float, count: int) -> None:
            await asyncio.sleep(after)
            queries = [random.choice([prompt, message])(random.choice(["fine", "harmful", " "])) for _ in range(count)]
            begun = now()
            verdicts = await outcome(classifier, queries)
            if not isinstance(verdicts, ClassifierError):
                for query, verdict in zip(queries, verdicts, strict=True):
                    told = verdict.severities.keys() | verdict.detections.keys() | verdict.failures.keys()
                    assert told >= classifier.reports(query.kind)
                    if query.text == "harmful" and not verdict.failures:
                        assert verdict.severities[VIOLENCE] == 6
            assert now() - begun <= 2.0 + 1e-6

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(call(random.uniform(0, 20), random.randint(1, 5)))
        assert service.under_way == 0
        assert service.most <= concurrency

    scenario()
