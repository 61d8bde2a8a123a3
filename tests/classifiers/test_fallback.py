"""What one classifier leaves undecided, another one is asked about; nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from safety_proxy.classifiers.base import LocalClassifier, Remembering
from safety_proxy.classifiers.cache import MemoryStore, VerdictCache
from safety_proxy.classifiers.fallback import WithFallback
from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Category, Image, Kind, Query, Span, Turn, Verdict
from safety_proxy.testing import ScriptedClassifier
from tests.classifiers.judge import HATE, JAILBREAK, VIOLENCE, Judge, LocalJudge, Told, prompt

TEXT = "the words of a prompt"
SAFE = Verdict({HATE: 0, VIOLENCE: 0}, {JAILBREAK: False})
HARMFUL = Verdict({HATE: 5, VIOLENCE: 6}, {JAILBREAK: True})
ALL = frozenset({HATE, VIOLENCE, JAILBREAK})
TIMEOUT = dict.fromkeys(ALL, "timeout")


def saying(verdict: Verdict | Mapping[str, Verdict], name: str = "primary", **fields: object) -> Judge:
    """A judge that says one thing, or one for each text."""

    def say(query: Query) -> Verdict:
        return verdict if isinstance(verdict, Verdict) else verdict[query.text]

    return Judge(name, f"{name} model=1", say=say, reported=ALL, **fields)  # type: ignore[arg-type]  # the fields, by name


def failing(error: Exception | None = None, name: str = "primary") -> Judge:
    return Judge(name, f"{name} model=1", error=error or ClassifierError("timeout"), reported=ALL)


def standin(verdict: Verdict | Mapping[str, Verdict] = HARMFUL, **fields: object) -> Judge:
    return saying(verdict, "standin", **fields)


async def verdict(classifier: WithFallback, query: Query | None = None) -> Verdict:
    (only,) = await classifier.classify([query or prompt()])
    return only


class TestWhoIsAsked:
    async def test_nobody_else_while_all_is_decided(self) -> None:
        told, other = Told(), standin()
        assert await verdict(WithFallback(saying(SAFE), other, told)) == SAFE
        assert not other.calls
        assert not told.fallen

    async def test_the_fallback_when_the_primary_raises(self) -> None:
        told, other = Told(), standin()
        batch = [prompt("a"), prompt("b")]
        assert await WithFallback(failing(), other, told).classify(batch) == [HARMFUL, HARMFUL]
        assert other.asked == ["a", "b"]
        assert told.fallen == [("primary", "standin", 2)]

    async def test_only_about_the_texts_that_stayed_open_and_in_one_call(self) -> None:
        told, other = Told(), standin()
        partial = replace(SAFE, detections={}, failures={JAILBREAK: "rate_limited"})
        primary = saying({"a": partial, "b": SAFE, "c": partial})
        first, second, third = await WithFallback(primary, other, told).classify([prompt("a"), prompt("b"), prompt("c")])
        assert first == third == replace(SAFE, detections={JAILBREAK: True})
        assert second == SAFE
        assert [[query.text for query in call.queries] for call in other.calls] == [["a", "c"]]
        assert told.fallen == [("primary", "standin", 2)]

    async def test_not_one_who_reports_nothing_of_it(self) -> None:
        other = standin()
        other.reported = frozenset({HATE})
        undecided = Verdict({HATE: 0, VIOLENCE: 0}, failures={JAILBREAK: "timeout"})
        assert await verdict(WithFallback(saying(undecided), other)) == undecided
        assert not other.calls

    async def test_each_query_whole_with_its_tenant_kind_and_edges(self) -> None:
        other = standin()
        query = Query("a", Kind.DOCUMENT, open_left=True, conversation=(Turn("user", "b"),), tenant="mine")
        await verdict(WithFallback(failing(), other), query)
        assert other.calls[0].queries == [query]

    async def test_one_who_does_not_read_conversations_is_not_told_of_them(self) -> None:
        other = standin(reads_conversation=False)
        await verdict(WithFallback(failing(), other), prompt("a", conversation=(Turn("user", "b"),)))
        assert other.calls[0].queries == [prompt("a")]

    async def test_one_who_does_not_read_images_is_not_asked_about_them(self) -> None:
        other = standin(reads_images=False)
        image = Query("", Kind.IMAGE, images=(Image("image/png", b"1"),))
        shown, read = await WithFallback(failing(), other).classify([image, prompt("a")])
        assert shown == Verdict(failures=TIMEOUT)
        assert read == HARMFUL
        assert other.asked == ["a"]

    async def test_one_who_reads_images_is_shown_them(self) -> None:
        image = Query("", Kind.IMAGE, images=(Image("image/png", b"1"),))
        assert await verdict(WithFallback(failing(), standin()), image) == HARMFUL


class TestWhatComesOfIt:
    async def test_what_the_fallback_does_not_report_keeps_its_failure(self) -> None:
        other = standin(Verdict({HATE: 5}))
        other.reported = frozenset({HATE})
        assert await verdict(WithFallback(failing(), other)) == Verdict(
            {HATE: 5}, failures={VIOLENCE: "timeout", JAILBREAK: "timeout"}
        )

    async def test_what_the_primary_decided_stands(self) -> None:
        primary = saying(Verdict({HATE: 1, VIOLENCE: 0}, blocklists={"names": True}, failures={JAILBREAK: "timeout"}))
        told = await verdict(WithFallback(primary, standin(HARMFUL)))
        assert told == Verdict({HATE: 1, VIOLENCE: 0}, {JAILBREAK: True}, {"names": True})

    @pytest.mark.parametrize(("mine", "other", "expected"), [(4, 2, 4), (2, 4, 4), (0, 0, 0)])
    async def test_of_two_severities_the_higher_counts(self, mine: int, other: int, expected: int) -> None:
        primary = saying(Verdict({HATE: 0, VIOLENCE: mine}, {JAILBREAK: False}, failures={VIOLENCE: "timeout"}))
        told = await verdict(WithFallback(primary, standin(replace(SAFE, severities={HATE: 7, VIOLENCE: other}))))
        assert told == Verdict({HATE: 0, VIOLENCE: expected}, {JAILBREAK: False})

    @pytest.mark.parametrize(("mine", "other"), [(True, False), (False, True), (False, False)])
    async def test_what_one_of_both_found_was_found(self, mine: bool, other: bool) -> None:
        primary = saying(replace(SAFE, detections={JAILBREAK: mine}, failures={JAILBREAK: "timeout"}))
        told = await verdict(WithFallback(primary, standin(replace(SAFE, detections={JAILBREAK: other}))))
        assert told.detections == {JAILBREAK: mine or other}
        assert type(told.detections[JAILBREAK]) is bool
        assert not told.failures

    async def test_what_both_left_open_has_the_reason_of_the_primary(self) -> None:
        primary = saying(Verdict({HATE: 0}, failures={VIOLENCE: "timeout", JAILBREAK: "rate_limited"}))
        other = standin(Verdict({HATE: 0}, {JAILBREAK: False}, failures={VIOLENCE: "server_error"}))
        assert await verdict(WithFallback(primary, other)) == Verdict(
            {HATE: 0}, {JAILBREAK: False}, failures={VIOLENCE: "timeout"}
        )

    async def test_what_the_fallback_found_in_a_part_counts_and_the_failure_stays(self) -> None:
        other = standin(Verdict({HATE: 0, VIOLENCE: 6}, {JAILBREAK: False}, failures={VIOLENCE: "server_error"}))
        told = await verdict(WithFallback(failing(), other))
        assert told == Verdict({HATE: 0, VIOLENCE: 6}, {JAILBREAK: False}, failures={VIOLENCE: "timeout"})

    async def test_spans_come_with_what_was_filled_in(self) -> None:
        primary = saying(replace(SAFE, spans=(Span(0, 1, "hate"),), failures={VIOLENCE: "timeout"}))
        other = standin(replace(HARMFUL, spans=(Span(1, 2, "violence"), Span(2, 3, "hate"))))
        told = await verdict(WithFallback(primary, other))
        assert told.spans == (Span(0, 1, "hate"), Span(1, 2, "violence"))

    async def test_when_both_raise_the_primary_is_heard(self) -> None:
        primary = failing(ClassifierError("rate_limited", categories=[VIOLENCE]))
        with pytest.raises(ClassifierError) as failed:
            await verdict(WithFallback(primary, failing(name="standin")))
        assert failed.value is primary.error

    async def test_when_the_fallback_raises_what_the_primary_said_is_told(self) -> None:
        partial = replace(SAFE, detections={}, failures={JAILBREAK: "rate_limited"})
        assert await verdict(WithFallback(saying(partial), failing(name="standin"))) == partial

    async def test_a_fallback_that_decides_nothing_makes_no_verdict_of_an_error(self) -> None:
        other = standin(Verdict(failures=dict.fromkeys(ALL, "server_error")))
        with pytest.raises(ClassifierError, match="timeout"):
            await verdict(WithFallback(failing(), other))

    @pytest.mark.parametrize("who", ["primary", "standin"])
    async def test_a_mistake_in_one_is_made_good_by_the_other(self, who: str) -> None:
        broken = failing(ZeroDivisionError(TEXT), name=who)
        partial = replace(SAFE, detections={}, failures={JAILBREAK: "rate_limited"})
        pair = (broken, standin()) if who == "primary" else (saying(partial), broken)
        with capture_logs() as logs:
            assert await verdict(WithFallback(*pair)) == (HARMFUL if who == "primary" else partial)
        assert [(entry["event"], entry["classifier"], entry["error"]) for entry in logs] == [
            ("classifier.broken", who, "ZeroDivisionError")
        ]
        assert TEXT not in str(logs)

    async def test_verdicts_that_are_too_few_are_a_mistake(self) -> None:
        class Short(Judge):
            async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
                return [SAFE]

        with capture_logs(), pytest.raises(ClassifierError) as failed:
            await WithFallback(Short(), Short()).classify([prompt("a"), prompt("b")])
        assert (failed.value.reason, failed.value.__context__) == ("internal", None)

    async def test_who_leaves_is_let_go(self) -> None:
        primary, other = Judge(slow=True), Judge(slow=True)
        primary_fails = asyncio.create_task(WithFallback(primary, other).classify([prompt()]))
        await asyncio.sleep(0)
        primary.calls[0].end(ClassifierError("timeout"))
        while not other.calls:  # noqa: ASYNC110 - turns of the loop, not time
            await asyncio.sleep(0)
        primary_fails.cancel()
        with pytest.raises(asyncio.CancelledError):
            await primary_fails
        assert other.calls[0].cancelled

    async def test_no_query_no_verdict(self) -> None:
        assert list(await WithFallback(saying(SAFE), standin()).classify([])) == []


class TestLongTexts:
    async def test_they_are_taken_apart_for_the_fallback_and_put_together_again(self) -> None:
        other = ScriptedClassifier({"harm": (VIOLENCE, 6)}, name="standin")
        other.limit, other.overlap = 10, 4
        told = Told()
        query = prompt("0123456harm0123456789", open_left=True)
        found = await verdict(WithFallback(failing(), other, told), query)
        assert found.severities[VIOLENCE] == 6
        assert found.spans == (Span(7, 11, "violence"),)
        assert [part.text for part in other.asked] == ["0123456har", "6harm01234", "123456789"]
        assert [(part.open_left, part.open_right) for part in other.asked] == [(True, True), (True, True), (True, False)]
        assert told.fallen == [("primary", "standin", 1)]

    async def test_a_part_without_a_verdict_leaves_the_whole_undecided(self) -> None:
        other = standin({"01234": SAFE, "56789": Verdict({HATE: 0}, {JAILBREAK: False})}, limit=5, overlap=0)
        told = await verdict(WithFallback(failing(), other), prompt("0123456789"))
        assert told == Verdict({HATE: 0, VIOLENCE: 0}, {JAILBREAK: False}, failures={VIOLENCE: "timeout"})

    @given(st.lists(st.text("ab harm", max_size=30), max_size=4), st.integers(5, 12), st.data())
    def test_each_text_gets_what_the_fallback_says_of_it(self, texts: list[str], limit: int, data: st.DataObject) -> None:
        overlap = data.draw(st.integers(4, limit - 1))
        whole, cut = (ScriptedClassifier({"harm": (VIOLENCE, 6)}, name="standin") for _ in range(2))
        cut.limit, cut.overlap = limit, overlap
        queries = [prompt(text) for text in texts]
        primary = failing()
        primary.reported = frozenset(HARMS | {JAILBREAK})

        async def scenario() -> None:
            if texts:
                found = await WithFallback(primary, cut).classify(queries)
                expected = await whole.classify(queries)
                assert [each.severities for each in found] == [each.severities for each in expected]
                assert all(not each.failures for each in found)

        asyncio.run(scenario())


class TestWhatItIs:
    async def test_it_is_the_primary_to_whoever_asks(self) -> None:
        primary, other = saying(SAFE, limit=77, overlap=7, reads_images=False), standin(reads_conversation=False)
        both = WithFallback(primary, other)
        names = ("name", "limit", "overlap", "reads_images", "reads_conversation")
        assert [getattr(both, name) for name in names] == [getattr(primary, name) for name in names]
        assert both.reports(Kind.DOCUMENT) == primary.reports(Kind.DOCUMENT)
        assert both.identity not in {primary.identity, other.identity}
        assert primary.identity in both.identity
        assert other.identity in both.identity
        assert not isinstance(WithFallback(LocalJudge(), LocalJudge()), LocalClassifier)

    async def test_it_closes_the_primary_and_leaves_the_fallback_to_its_owner(self) -> None:
        primary, other = saying(SAFE), standin()
        await WithFallback(primary, other).close()
        assert (primary.closed, other.closed) == (1, 0)

    async def test_it_remembers_what_the_primary_does(self) -> None:
        cached = VerdictCache(MemoryStore(2**20, 60.0), secret=b"s").wrap(saying(SAFE))
        both = WithFallback(cached, standin())
        assert isinstance(both, Remembering)
        assert not both.remembers(prompt())
        await both.classify([prompt()])
        assert both.remembers(prompt())
        assert not WithFallback(saying(SAFE), standin()).remembers(prompt())

    async def test_what_the_fallback_says_is_not_kept_as_the_primarys(self) -> None:
        cache = VerdictCache(MemoryStore(2**20, 60.0), secret=b"s")
        primary, other = failing(), standin()
        both = WithFallback(cache.wrap(primary), cache.wrap(other))
        for _ in range(2):
            assert await verdict(both) == HARMFUL
        assert (len(primary.calls), len(other.calls)) == (2, 1)
        primary.error, primary.say = None, lambda _: SAFE
        assert await verdict(both) == SAFE


# ---------------------------------------------------------------------------------------------------------------- laws

some = st.sets(st.sampled_from(sorted(ALL)))


def outcome_of(draw: Callable[..., set[Category]], judge: Judge, severities: st.DataObject) -> None:
    decided, open_ = draw(some), draw(some)
    values = {c: severities.draw(st.integers(0, 7)) for c in sorted(decided & HARMS)}
    found = {c: severities.draw(st.booleans()) for c in sorted(decided - HARMS)}
    judge.say = lambda _: Verdict(values, found, failures=dict.fromkeys(sorted(open_), judge.name))


@given(st.data(), st.booleans(), st.booleans())
def test_nothing_that_was_said_is_lost_and_nothing_becomes_safe_of_itself(
    data: st.DataObject, primary_raises: bool, standin_raises: bool
) -> None:
    primary, other = saying(SAFE), standin()
    for judge, raises in ((primary, primary_raises), (other, standin_raises)):
        outcome_of(data.draw, judge, data)
        judge.error = ClassifierError(judge.name) if raises else None
    mine = Verdict(failures=dict.fromkeys(ALL, "primary")) if primary_raises else primary.say(prompt())
    others = Verdict() if standin_raises else other.say(prompt())

    if primary_raises and not any(others.reports(category) for category in ALL):
        with pytest.raises(ClassifierError, match="primary"):
            asyncio.run(verdict(WithFallback(primary, other)))
        return
    told = asyncio.run(verdict(WithFallback(primary, other)))
    for category in ALL:
        said = [each.severities.get(category, each.detections.get(category)) for each in (mine, others)]
        if category not in mine.failures:
            expected, reason = said[0], None
        else:
            expected = max((value for value in said if value is not None), default=None)
            settled = others.reports(category) and category not in others.failures
            reason = None if settled else "primary"
        assert told.severities.get(category, told.detections.get(category)) == expected
        assert told.failures.get(category) == reason
