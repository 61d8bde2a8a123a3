"""A question is put again where that helps, twice where that is quicker, and not at all to a service that is down."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from random import Random

import pytest

from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.classifiers.service import ServiceError
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Verdict
from tests.classifiers.scripted_service import (
    HANG,
    HARMS_ONLY,
    JAILBREAK,
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


class Fixed(Random):
    """Draws the highest, or the lowest."""

    def __init__(self, highest: bool) -> None:
        super().__init__(0)
        self._highest = highest

    def uniform(self, a: float, b: float) -> float:
        return b if self._highest else a


class TestRetries:
    @pytest.mark.parametrize("retries", [0, 1, 3])
    @in_virtual_time
    async def test_there_are_so_many_at_most(self, retries: int) -> None:
        service, ledger = Service({"harms": [again()] * 9}, routes=HARMS_ONLY), Ledger()
        assert await reason(framed(service, ledger=ledger, retries=retries, timeout=60.0), message()) == "server_error"
        assert len(service.asked) == retries + 1
        assert ledger.told == [("it", "harms", "retry")] * retries

    @in_virtual_time
    async def test_one_that_succeeds_is_the_answer(self) -> None:
        service = Service({"harms": [again(), again("unreachable")]}, routes=HARMS_ONLY)
        assert await framed(service, retries=2).classify([message("harmful")]) == [Verdict({VIOLENCE: 6})]

    @pytest.mark.parametrize("error", [ServiceError("rejected"), ServiceError("rate_limited", pause=0.1), ValueError()])
    @in_virtual_time
    async def test_there_is_none_where_it_cannot_help(self, error: Exception) -> None:
        service = Service({"harms": [error] * 9}, routes=HARMS_ONLY)
        await reason(framed(service, retries=5), message())
        assert len(service.asked) == 1

    @in_virtual_time
    async def test_it_comes_when_the_service_says(self) -> None:
        service = Service({"harms": [again("rate_limited", pause=1.25)]}, routes=HARMS_ONLY)
        assert await took(framed(service, retries=1).classify([message()])) == pytest.approx(0.1 + 1.25 + 0.1)

    @pytest.mark.parametrize("pause", [1.95, 3600.0, 1e300, float("inf"), float("nan")])
    @in_virtual_time
    async def test_it_is_not_waited_for_when_it_would_come_too_late(self, pause: float) -> None:
        service, ledger = Service({"harms": [again("rate_limited", pause)]}, routes=HARMS_ONLY), Ledger()
        begun = now()
        assert await reason(framed(service, ledger=ledger, retries=3), message()) == "rate_limited"
        assert now() - begun == pytest.approx(0.1)
        assert ledger.told == []

    @pytest.mark.parametrize(("highest", "pauses"), [(True, [0.1, 0.2, 0.4, 0.8, 1.6]), (False, [0.05, 0.1, 0.2, 0.4, 0.8])])
    @in_virtual_time
    async def test_pauses_double_and_are_random_from_their_half_up(self, highest: bool, pauses: list[float]) -> None:
        service = Service({"harms": [again()] * 5}, routes=HARMS_ONLY, seconds=0.0)
        classifier = framed(service, retries=5, timeout=60.0, random=Fixed(highest), failures=99)
        await classifier.classify([message()])
        times = [time for time, _, _ in service.asked]
        assert [late - early for early, late in itertools.pairwise(times)] == pytest.approx(pauses)

    @in_virtual_time
    async def test_no_pause_is_longer_than_two_seconds(self) -> None:
        service = Service({"harms": [again()] * 8}, routes=HARMS_ONLY, seconds=0.0)
        classifier = framed(service, retries=8, timeout=60.0, random=Fixed(highest=True), failures=99)
        await classifier.classify([message()])
        assert service.asked[-1][0] - service.asked[-2][0] == pytest.approx(2.0)

    @in_virtual_time
    async def test_the_place_is_free_during_the_pause(self) -> None:
        service = Service({"harms": [again(pause=1.0)]}, routes=HARMS_ONLY)
        await framed(service, retries=1, concurrency=1).classify([message("first"), message("second")])
        assert [text for _, _, text in service.asked] == ["first", "second", "first"]

    @in_virtual_time
    async def test_one_that_gets_no_place_any_more_is_overloaded(self) -> None:
        service = Service({"harms": [again(pause=0.5), HANG]}, routes=HARMS_ONLY)
        classifier = framed(service, retries=1, concurrency=1)
        first = asyncio.ensure_future(outcome(classifier, [message("first")]))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(outcome(classifier, [message("second")]))
        assert [repr(each) for each in await asyncio.gather(first, second)] == [
            "ClassifierError('overloaded')",
            "ClassifierError('timeout')",
        ]

    @in_virtual_time
    async def test_the_sleep_is_the_one_that_was_given(self) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        service = Service({"harms": [again(pause=1.5)]}, routes=HARMS_ONLY)
        await RemoteClassifier("it", service, Frame(), sleep=sleep).classify([message()])
        assert slept == [1.5]


class TestBreaker:
    @staticmethod
    async def fail(classifier: RemoteClassifier, times: int = 5) -> list[str]:
        return [await reason(classifier, message()) for _ in range(times)]

    @pytest.mark.parametrize("failure", [again(), again("unreachable"), ServiceError("unauthorized"), HANG])
    @in_virtual_time
    async def test_after_five_failures_in_a_row_the_service_is_not_asked(self, failure: Step) -> None:
        service, ledger = Service({"harms": [failure] * 5}, routes=HARMS_ONLY), Ledger()
        classifier = framed(service, ledger=ledger)
        await self.fail(classifier)
        begun = now()
        assert await self.fail(classifier, 10) == ["circuit_open"] * 10
        assert now() == begun
        assert len(service.asked) == 5
        assert ledger.told == [("it", "harms", "open")]

    @in_virtual_time
    async def test_it_refuses_at_once_even_where_nobody_has_a_place(self) -> None:
        service = Service({"harms": [again()] * 5, "attacks": [*[0.1] * 5, HANG]})
        classifier = framed(service, concurrency=1)
        for _ in range(5):
            await classifier.classify([prompt()])
        hanging = asyncio.ensure_future(outcome(classifier, [prompt()]))
        await asyncio.sleep(0.1)
        begun = now()
        assert await reason(classifier, message()) == "circuit_open"
        assert now() == begun
        await hanging

    @in_virtual_time
    async def test_a_refusal_of_a_text_is_no_failure_of_the_service(self) -> None:
        service = Service({"harms": [ServiceError("rejected")] * 20}, routes=HARMS_ONLY)
        assert await self.fail(framed(service), 20) == ["rejected"] * 20

    @in_virtual_time
    async def test_when_the_while_is_over_exactly_one_question_tries_it(self) -> None:
        service, ledger = Service({"harms": [again()] * 5}, routes=HARMS_ONLY), Ledger()
        classifier = framed(service, ledger=ledger)
        await self.fail(classifier)
        await asyncio.sleep(5.0)
        results = await asyncio.gather(*(classifier.classify([message()]) for _ in range(9)), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["ClassifierError"] * 8 + ["list"]
        assert len(service.asked) == 6
        assert await classifier.classify([message()]) == [Verdict({VIOLENCE: 0})]
        assert [state for _, _, state in ledger.told] == ["open", "half_open", "closed"]

    @in_virtual_time
    async def test_a_try_that_fails_opens_it_again(self) -> None:
        service, ledger = Service({"harms": [again()] * 6}, routes=HARMS_ONLY), Ledger()
        classifier = framed(service, ledger=ledger)
        await self.fail(classifier)
        await asyncio.sleep(5.0)
        assert await self.fail(classifier, 3) == ["server_error", "circuit_open", "circuit_open"]
        assert [state for _, _, state in ledger.told] == ["open", "half_open", "open"]

    @in_virtual_time
    async def test_a_try_whose_client_leaves_frees_its_place(self) -> None:
        service = Service({"harms": [*[again()] * 5, HANG]}, routes=HARMS_ONLY)
        classifier = framed(service)
        await self.fail(classifier)
        await asyncio.sleep(5.0)
        leaving = asyncio.ensure_future(classifier.classify([message()]))
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await classifier.classify([message()]) == [Verdict({VIOLENCE: 0})]

    @in_virtual_time
    async def test_who_waits_for_a_place_when_it_opens_is_not_sent(self) -> None:
        service = Service({"harms": [again()] * 9}, routes=HARMS_ONLY)
        with pytest.raises(ClassifierError):
            await framed(service, concurrency=1).classify([message()] * 9)
        assert len(service.asked) == 5

    @in_virtual_time
    async def test_each_route_has_its_own(self) -> None:
        service = Service({"harms": [again()] * 5})
        classifier = framed(service)
        for _ in range(5):
            await classifier.classify([prompt()])
        assert await classifier.classify([prompt()]) == [
            Verdict(detections={JAILBREAK: False}, failures={VIOLENCE: "circuit_open"})
        ]

    @in_virtual_time
    async def test_clients_who_leave_do_not_open_it(self) -> None:
        service, ledger = Service({"harms": [HANG] * 9}, routes=HARMS_ONLY), Ledger()
        classifier = framed(service, ledger=ledger)
        calls = [asyncio.ensure_future(classifier.classify([message()])) for _ in range(9)]
        await asyncio.sleep(1.0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert ledger.told == []


class TestHedging:
    @in_virtual_time
    async def test_there_is_no_second_request_before_the_delay(self) -> None:
        service, ledger = Service({"harms": [0.49]}, routes=HARMS_ONLY), Ledger()
        await framed(service, ledger=ledger, hedge=0.5).classify([message()])
        assert len(service.asked) == 1
        assert ledger.told == []

    @in_virtual_time
    async def test_the_first_answer_counts_and_the_other_request_is_called_off(self) -> None:
        service, ledger = Service({"harms": [HANG]}, routes=HARMS_ONLY), Ledger()
        call = framed(service, ledger=ledger, hedge=0.5).classify([message("harmful")])
        begun = now()
        assert await call == [Verdict({VIOLENCE: 6})]
        assert now() - begun == pytest.approx(0.6)
        assert (len(service.asked), service.called_off, service.under_way) == (2, 1, 0)
        assert ledger.told == [("it", "harms", "hedge")]

    @in_virtual_time
    async def test_no_call_ends_before_the_request_that_it_called_off_has_let_go(self) -> None:
        class Slow(Service):
            async def _answer(self, route: str, text: str) -> Sequence[Verdict]:
                try:
                    return await super()._answer(route, text)
                finally:
                    await asyncio.sleep(0.3)

        service = Slow({"harms": [HANG]}, routes=HARMS_ONLY)
        await framed(service, hedge=0.5).classify([message()])
        assert service.under_way == 0

    @in_virtual_time
    async def test_the_first_request_may_still_be_the_first_to_answer(self) -> None:
        service = Service({"harms": [[Verdict({VIOLENCE: 3})], HANG]}, routes=HARMS_ONLY, seconds=0.7)
        assert await framed(service, hedge=0.5).classify([message()]) == [Verdict({VIOLENCE: 3})]
        assert service.called_off == 1

    @pytest.mark.parametrize("steps", [[1.0, again()], [again(), 1.0]])
    @in_virtual_time
    async def test_when_one_fails_the_other_is_waited_for(self, steps: list[Step]) -> None:
        service = Service({"harms": steps}, routes=HARMS_ONLY, seconds=0.6)
        assert await framed(service, hedge=0.5).classify([message("harmful")]) == [Verdict({VIOLENCE: 6})]
        assert len(service.asked) == 2

    @in_virtual_time
    async def test_one_that_fails_before_the_delay_is_not_hedged_but_retried(self) -> None:
        service, ledger = Service({"harms": [again()]}, routes=HARMS_ONLY), Ledger()
        await framed(service, ledger=ledger, hedge=0.5, retries=1).classify([message()])
        assert ledger.told == [("it", "harms", "retry")]

    @in_virtual_time
    async def test_both_failing_is_one_failure_that_may_be_retried(self) -> None:
        service, ledger = Service({"harms": [again(), again()]}, routes=HARMS_ONLY, seconds=0.6), Ledger()
        await framed(service, ledger=ledger, hedge=0.5, retries=1).classify([message()])
        assert [why for _, _, why in ledger.told] == ["hedge", "retry", "hedge"]

    @in_virtual_time
    async def test_both_hanging_ends_at_the_deadline(self) -> None:
        service = Service({"harms": [HANG, HANG]}, routes=HARMS_ONLY)
        assert await reason(framed(service, hedge=0.5), message()) == "timeout"
        assert (service.called_off, service.under_way) == (2, 0)

    @in_virtual_time
    async def test_who_waits_for_a_place_is_not_hedged(self) -> None:
        service, ledger = Service(routes=HARMS_ONLY, seconds=0.4), Ledger()
        await framed(service, ledger=ledger, hedge=0.5, concurrency=1).classify([message()] * 4)
        assert len(service.asked) == 4
        assert ledger.told == []

    @in_virtual_time
    async def test_both_requests_need_a_place(self) -> None:
        service = Service({"harms": [1.0]}, routes=HARMS_ONLY)
        await framed(service, hedge=0.5, concurrency=1).classify([message()])
        assert service.most == 1
