"""The one frame around every service: what it takes to rely on somebody else's machine.

A call of `classify` has one deadline, whatever happens. Within it each question waits for its turn (rate) and for a place
(concurrency), is refused at once while the service is known to be down (circuit breaker), is asked again where that may
help (retries, with jitter, or when the service says), and is put twice if the first answer is slow in coming (hedging). A
question that stays open is a failure of its categories with a reason, never a clean text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import structlog
import tenacity

from safety_proxy.classifiers.base import UNOBSERVED, Observer, State
from safety_proxy.classifiers.breaker import CircuitBreaker
from safety_proxy.classifiers.rate import RateLimit
from safety_proxy.classifiers.service import Adapter, Question, ServiceError, clean
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Category, Kind, Query, Verdict
from safety_proxy.verdicts import union

_BACKOFF: Final = 0.1
"""Seconds before a second try that the service did not date; twice as many before each further one."""
_LONGEST_BACKOFF: Final = 2.0
_EARLY: Final = 0.002
"""Seconds by which a timer may fire before its time: event loops round."""

log = structlog.get_logger("safety_proxy.classifiers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How a service is relied on. Times in seconds."""

    timeout: float = 2.0
    """For all that one call of `classify` asks, waiting and further tries included."""
    concurrency: int = 32
    """Questions under way at a time."""
    rate: tuple[int, float] | None = None
    """Questions of one route in so many seconds."""
    retries: int = 1
    """Further tries of a question."""
    failures: int = 5
    """Failures in a row after which a route is left alone."""
    probe: float = 5.0
    """How long, before it is tried again."""
    hedge: float | None = None
    """After how long a question without an answer is put once more, beside the first; the first answer counts."""


@dataclass(frozen=True, slots=True)
class _Route:
    breaker: CircuitBreaker
    line: RateLimit | None
    """Where a question waits for its turn, before it takes a place: who waits long here keeps no place from other routes."""
    rate: RateLimit | None
    """The same once more, for those that have a place: turns may have piled up while there was none."""


@dataclass(frozen=True, slots=True)
class _Call:
    question: Question
    deadline: float
    sent: asyncio.Event
    """Its present try has gone out to the service."""


class RemoteClassifier:
    """A `Classifier` that asks the service of *adapter* within *frame*.

    One question may fail without the others: then the verdict tells of what was decided, and its ``failures`` of what was
    not. Only if nothing at all was decided, `classify` raises ClassifierError. A blank text without an image is clean
    without asking: there is nothing in it to judge, and services refuse it.
    """

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        frame: Frame,
        *,
        observer: Observer = UNOBSERVED,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self.name, self.identity = name, adapter.identity
        self.limit, self.overlap = adapter.limit, adapter.overlap
        self.reads_images, self.reads_conversation = adapter.reads_images, adapter.reads_conversation
        self._adapter, self._frame, self._observer = adapter, frame, observer
        self._sleep, self._random = sleep, random or Random()  # noqa: S311 - jitter is no secret
        self._places = asyncio.Semaphore(frame.concurrency)
        self._routes: dict[str, _Route] = {}

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """As the service does."""
        return self._adapter.reports(kind)

    async def close(self) -> None:
        """Let go of connections."""
        await self._adapter.close()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order. Raises `ClassifierError` if nothing could be decided."""
        deadline = self._now() + self._frame.timeout
        verdicts = [clean(self.reports(query.kind)) for query in queries]
        places = [i for i, query in enumerate(queries) if query.images or query.text.strip()]
        questions = self._questions([queries[i] for i in places]) if places else ()
        reported = [self.reports(queries[i].kind) for i in places]
        answers: list[list[Verdict]] = [[] for _ in places]
        async with asyncio.TaskGroup() as group:
            asked = [(question, group.create_task(self._answer(question, deadline))) for question in questions]
        for question, task in asked:
            for position, verdict in zip(question.positions, task.result(), strict=True):
                answers[position].append(_complete(verdict, question.categories & reported[position]))
        for place, answer, categories in zip(places, answers, reported, strict=True):
            verdicts[place] = _complete(union(answer), categories)
        _require_any(verdicts)
        return verdicts

    def _questions(self, queries: Sequence[Query]) -> Sequence[Question]:
        try:
            return self._adapter.questions(queries)
        except ClassifierError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the texts have no verdict
            self._note_mistake(type(error))
        raise ClassifierError("internal")  # not in the handler: the mistake may quote a text

    # ------------------------------------------------------------------------------------------------ one question

    async def _answer(self, question: Question, deadline: float) -> Sequence[Verdict]:
        """The answer to *question*; if there is none, verdicts that say why not."""
        call = _Call(question, deadline, asyncio.Event())
        try:
            async with asyncio.timeout_at(deadline):
                return await self._persist(call)
        except ServiceError as error:
            reason = error.reason
        except TimeoutError:
            reason = "timeout" if call.sent.is_set() else "overloaded"
        return [Verdict(failures=dict.fromkeys(sorted(question.categories), reason))] * len(question.positions)

    async def _persist(self, call: _Call) -> Sequence[Verdict]:
        """Ask until there is an answer, or no further try would help or be in time."""

        def is_late(state: tenacity.RetryCallState) -> bool:
            in_time = self._now() + state.upcoming_sleep < call.deadline  # false for NaN, too
            return state.attempt_number > self._frame.retries or not in_time

        async def sleep(seconds: float) -> None:
            self._observer.repeated(self.name, call.question.route, "retry")
            await self._sleep(seconds)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ServiceError) and error.again),
            wait=self._pause,
            stop=is_late,
            sleep=sleep,
            reraise=True,
        )
        answer: Sequence[Verdict] = await retrying(partial(self._hedged, call))
        return answer

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """How long before the next try: as the service says, else a random part of a time that doubles."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, ServiceError) and error.pause is not None:
            return error.pause
        longest: float = min(_BACKOFF * 2 ** (state.attempt_number - 1), _LONGEST_BACKOFF)
        return longest * self._random.uniform(0.5, 1.0)

    async def _hedged(self, call: _Call) -> Sequence[Verdict]:
        """Ask, and once more beside it if no answer comes for a while. The first answer counts; both errors make one."""
        call.sent.clear()
        if self._frame.hedge is None:
            return await self._attempt(call)
        tasks = {asyncio.ensure_future(self._attempt(call))}
        sending = asyncio.ensure_future(call.sent.wait())
        try:
            # While it waits for its turn or a place, a second one would only wait behind it, and others behind both.
            await asyncio.wait({*tasks, sending}, return_when=asyncio.FIRST_COMPLETED)
            done, waiting = await asyncio.wait(tasks, timeout=self._frame.hedge)
            if not done:
                self._observer.repeated(self.name, call.question.route, "hedge")
                tasks.add(asyncio.ensure_future(self._attempt(call)))
                done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if waiting and all(task.exception() is not None for task in done):
                done, _ = await asyncio.wait(waiting)
            return min(done, key=lambda task: task.exception() is not None).result()
        finally:
            for task in (*tasks, sending):
                task.cancel()
            await asyncio.gather(*tasks, sending, return_exceptions=True)

    async def _attempt(self, call: _Call) -> Sequence[Verdict]:
        """Ask once, in turn. Raises `ServiceError`."""
        route = self._route(call.question.route)
        if route.breaker.refuses:
            raise ServiceError("circuit_open")
        if route.line is not None:
            await route.line.turn(call.deadline)
        async with self._places:
            if route.rate is not None:
                await route.rate.turn(call.deadline)
            return await self._ask(call, route.breaker)

    async def _ask(self, call: _Call, breaker: CircuitBreaker) -> Sequence[Verdict]:
        """Ask now, and tell the breaker how it ended. A refusal of the text says that the service is well."""
        number = breaker.admit()
        if number is None:
            raise ServiceError("circuit_open")
        call.sent.set()
        begun = self._now()
        try:
            answer = await call.question.ask()
        except ServiceError as error:
            breaker.succeeded() if error.reason == "rejected" else breaker.failed(number)
            raise
        except asyncio.CancelledError:
            # What was cut off soon after it was asked, having waited too long here, says nothing of the service.
            is_slow = self._now() + _EARLY >= max(call.deadline, begun + self._frame.timeout / 2)
            breaker.failed(number) if is_slow else breaker.given_up(number)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the texts have no verdict
            self._note_mistake(type(error))
        else:
            if len(answer) == len(call.question.positions):
                breaker.succeeded()
                return answer
            self._note_mistake(ValueError)
        breaker.given_up(number)
        raise ServiceError("internal")  # not in the handler: the mistake may quote a text

    # ------------------------------------------------------------------------------------------------ shared

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _route(self, name: str) -> _Route:
        if name not in self._routes:
            breaker = CircuitBreaker(self._frame.failures, self._frame.probe, self._now, partial(self._turned, name))
            line, rate = self._rate(), self._rate()
            self._routes[name] = _Route(breaker, line, rate)
        return self._routes[name]

    def _rate(self) -> RateLimit | None:
        return None if self._frame.rate is None else RateLimit(*self._frame.rate, self._now, self._sleep)

    def _note_mistake(self, error: type[Exception]) -> None:
        log.error("classifier.broken", classifier=self.name, error=error.__name__)  # no traceback: it may quote a text

    def _turned(self, route: str, state: State) -> None:
        self._observer.breaker(self.name, route, state)
        log.warning("classifier.breaker", classifier=self.name, route=route, state=state.value)


def _complete(verdict: Verdict, reported: frozenset[Category]) -> Verdict:
    """The verdict in which each category that should be there is there, if only as a failure."""
    missing = {c for c in reported if not verdict.reports(c) and c not in verdict.failures}
    if not missing:
        return verdict
    failures = {**verdict.failures, **dict.fromkeys(sorted(missing), "missing_category")}
    return Verdict(verdict.severities, verdict.detections, verdict.blocklists, verdict.spans, failures, verdict.scores)


def _require_any(verdicts: Sequence[Verdict]) -> None:
    reasons = [reason for verdict in verdicts for reason in verdict.failures.values()]
    if reasons and not any(verdict.severities or verdict.detections or verdict.blocklists for verdict in verdicts):
        raise ClassifierError(reasons[0])
