"""Texts in, decisions out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from safety_proxy.classifiers.base import Unobserved
from safety_proxy.errors import ClassifierError
from safety_proxy.inquiry import Side
from safety_proxy.model import Action, Category, Decision, Kind, Query, Turn, Verdict
from safety_proxy.moderation import Background, Moderator
from safety_proxy.policy import Rules
from safety_proxy.rule import Rule
from safety_proxy.testing import ScriptedClassifier
from tests.pictures import looked_at
from tests.scripted import Limited, Local

HATE = {Category.HATE: Rule(Category.HATE)}


def rules(*names: str, fail_open: bool = False) -> Rules:
    return Rules(categories={Category.HATE: Rule(Category.HATE, fail_open=fail_open)}, classifiers=names)


def query(text: str, kind: Kind = Kind.COMPLETION) -> Query:
    return Query(text, kind)


async def decided(moderator: Moderator, *texts: str) -> Decision:
    decision = moderator.judge([query(text) for text in texts])
    return decision if isinstance(decision, Decision) else await decision


async def test_local_classifiers_decide_at_once() -> None:
    classifier = Local({"bad": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("local"), {"local": classifier})])

    assert isinstance(moderator.judge([query("good")]), Decision)
    assert (await decided(moderator, "good", "bad")).action is Action.FILTER


async def test_long_texts_are_not_judged_in_place() -> None:
    classifier = Local({"bad": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("local"), {"local": classifier})])

    assert not isinstance(later := moderator.judge([query("x" * 20_001)]), Decision)
    assert (await later).action is Action.ALLOW


async def test_classifiers_that_wait_are_asked_side_by_side() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    classifiers = {str(i): ScriptedClassifier(gate=gate, name=str(i)) for i, gate in enumerate(gates)}
    moderator = Moderator([Side(rules("0", "1"), classifiers)])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(decided(moderator, "text"))
        gates[1].set()
        while not classifiers["1"].asked:  # noqa: ASYNC110 - one turn of the loop
            await asyncio.sleep(0)
        assert not classifiers["0"].asked
        gates[0].set()

    assert task.result().action is Action.ALLOW


async def test_the_most_severe_verdict_wins() -> None:
    classifiers = {"a": ScriptedClassifier(), "b": ScriptedClassifier({"bad": (Category.HATE, 5)})}
    decision = await decided(Moderator([Side(rules("a", "b"), classifiers)]), "bad")

    assert decision.action is Action.FILTER
    assert decision.annotations[Category.HATE].severity == 5


@pytest.mark.parametrize(("fail_open", "action"), [(False, Action.FAIL), (True, Action.ALLOW)])
async def test_a_failing_classifier_is_a_decision_and_no_exception(fail_open: bool, action: Action) -> None:
    classifiers = {"a": ScriptedClassifier(errors={"x": "timeout"})}
    decision = await decided(Moderator([Side(rules("a", fail_open=fail_open), classifiers)]), "x")

    assert decision.action is action
    assert decision.error == "timeout"


@pytest.mark.parametrize("local", [True, False])
async def test_a_classifier_with_a_bug_lets_nothing_pass(local: bool) -> None:
    class Broken(Local if local else ScriptedClassifier):  # type: ignore[misc]  # either
        def _verdict(self, query: Query) -> Verdict:
            raise ZeroDivisionError

    decision = await decided(Moderator([Side(rules("a"), {"a": Broken()})]), "x")

    assert decision.action is Action.FAIL
    assert decision.error == "internal"


async def test_harm_beats_the_failure_of_another_classifier() -> None:
    classifiers = {
        "a": ScriptedClassifier(errors={"bad": "timeout"}),
        "b": ScriptedClassifier({"bad": (Category.HATE, 4)}),
    }

    assert (await decided(Moderator([Side(rules("a", "b"), classifiers)]), "bad")).action is Action.FILTER


async def test_an_error_counts_only_for_what_its_classifier_reports() -> None:
    class Shields(ScriptedClassifier):
        def reports(self, _kind: Kind, /) -> frozenset[Category]:
            return frozenset({Category.JAILBREAK})

    classifiers = {"a": ScriptedClassifier(), "b": Shields(errors={"x": "timeout"})}

    assert (await decided(Moderator([Side(rules("a", "b"), classifiers)]), "x")).action is Action.ALLOW


async def test_long_texts_are_asked_for_in_parts_that_overlap() -> None:
    classifier = Limited({"harm": (Category.HATE, 4)})
    moderator = Moderator([Side(rules("a"), {"a": classifier})])

    assert (await decided(moderator, "ok", "xxxxxxxx harm yy")).action is Action.FILTER
    assert [asked.text for asked in classifier.asked] == ["ok", "xxxxxxxx h", "xx harm yy"]
    assert (await decided(moderator, "xxxxxxxxxxxxxxxx")).action is Action.ALLOW


async def test_a_part_without_a_verdict_leaves_the_text_undecided() -> None:
    classifier = Limited(errors={"yy": "timeout"})

    assert (await decided(Moderator([Side(rules("a"), {"a": classifier})]), "xxxxxxxxxxx yy")).action is Action.FAIL


async def test_two_sides_decide_on_the_same_verdicts_and_the_stricter_holds() -> None:
    classifier = ScriptedClassifier({"meh": (Category.HATE, 2)})
    lax = Rules(categories={Category.HATE: Rule(Category.HATE, threshold=6)}, classifiers=("a",))
    strict = Rules(categories={Category.HATE: Rule(Category.HATE, threshold=2)}, classifiers=("a",))
    moderator = Moderator([Side(lax, {"a": classifier}), Side(strict, {"a": classifier})])

    assert (await decided(moderator, "meh")).action is Action.FILTER
    assert len(classifier.asked) == 1


async def test_an_error_with_categories_keeps_them() -> None:
    class Half(ScriptedClassifier):
        async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
            raise ClassifierError("timeout", categories={Category.SEXUAL})

    both = {"a": Half(), "b": ScriptedClassifier()}

    assert (await decided(Moderator([Side(rules("a", "b"), both)]), "x")).action is Action.ALLOW


@pytest.mark.parametrize("local", [True, False])
async def test_who_reads_no_images_is_not_asked_at_all_if_there_is_nothing_else(local: bool) -> None:
    blind = Local() if local else ScriptedClassifier()
    moderator = Moderator([Side(rules("blind"), {"blind": blind})])
    decision = moderator.judge([looked_at("good")])
    decision = decision if isinstance(decision, Decision) else await decision

    assert (decision.action, decision.error) == (Action.FAIL, "missing_category")
    assert blind.asked == []


TURNS = (Turn("user", "hello"),)


@pytest.mark.parametrize("local", [True, False])
async def test_classifiers_are_told_what_is_known_beside_the_text(local: bool) -> None:
    class Asked(Local if local else ScriptedClassifier):  # type: ignore[misc]  # either
        reads_conversation = True

        def __init__(self) -> None:
            super().__init__()
            self.reads_conversation = True

    classifier = Asked()
    moderator = Moderator([Side(rules("a"), {"a": classifier})])
    judged = moderator.judge([query("text")], Background(TURNS, "team"))
    assert (judged if isinstance(judged, Decision) else await judged).action is Action.ALLOW
    assert [(each.conversation, each.tenant) for each in classifier.asked] == [(TURNS, "team")]


async def test_what_a_cascade_spares_is_counted() -> None:
    class Counting(Unobserved):
        def __init__(self) -> None:
            self.counted: list[tuple[str, int]] = []

        def spared(self, classifier: str, texts: int) -> None:
            self.counted.append((classifier, texts))

    observer = Counting()
    cascade = Rule(Category.HATE, combine="first_decisive", classifiers=("cheap", "dear"))
    classifiers = {"cheap": Local({"bad": (Category.HATE, 4)}), "dear": ScriptedClassifier()}
    side = Side(Rules(categories={Category.HATE: cascade}, classifiers=("cheap", "dear")), classifiers)
    moderator = Moderator([side], observer=observer)
    assert (await decided(moderator, "good", "good too", "bad")).action is Action.ALLOW
    assert observer.counted == [("dear", 2)]
    assert [each.text for each in classifiers["dear"].asked] == ["bad"]


async def test_a_disguised_text_is_filtered_for_what_it_says() -> None:
    side = Side(rules("a"), {"a": ScriptedClassifier({"bad words": (Category.HATE, 4)})})
    assert (await decided(Moderator([side]), "ba\u200bd wo\u200brds")).action is Action.FILTER


async def test_an_examination_tells_text_by_text_what_was_said_and_whom_a_cascade_spared() -> None:
    cascade = Rule(Category.HATE, combine="first_decisive", classifiers=("cheap", "dear"))
    classifiers = {"cheap": Local({"bad": (Category.HATE, 4)}), "dear": ScriptedClassifier()}
    side = Side(Rules(categories={Category.HATE: cascade}, classifiers=("cheap", "dear")), classifiers)

    good, bad = await Moderator([side]).examine([query("good"), query("bad")], Background(TURNS, "team"))

    assert ({*good.outcomes}, {*good.unasked}) == ({"cheap"}, {"dear"})
    assert ({*bad.outcomes}, {*bad.unasked}) == ({"cheap", "dear"}, set())
    assert bad.decision == await decided(Moderator([side]), "bad")
    assert {each.tenant for each in classifiers["dear"].asked} == {"team", ""}
