"""Cases are decided by the engine that serves traffic, and what is not as expected is told."""

from __future__ import annotations

import pytest

from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, case_of
from safety_proxy.harness.runner import Runner, scripted
from safety_proxy.model import Category, JSONObject
from safety_proxy.policy_file import load
from safety_proxy.testing import ScriptedClassifier

POLICY = "version: 1\nname: p\nclassifiers: [embedded]\ninput: {jailbreak: off}\noutput: {}\n"
HARM = {"kill them all tonight": (Category.VIOLENCE, 6)}


def runner(text: str = POLICY, **options: int) -> Runner:
    return Runner(load(parse(text, "p.yaml")), {"embedded": ScriptedClassifier(HARM)}, **options)


def case(expect: JSONObject, **body: object) -> Case:
    return case_of({"name": "n", "expect": expect, **body}, "cases.jsonl", 7)  # type: ignore[dict-item]  # of a test


async def test_what_is_as_expected_passes_and_tells_where_something_was_found() -> None:
    outcome = await runner().run(
        case(
            {"input": "allow", "output": {"decision": "filter", "categories": {"violence": {"min_severity": 5}}}},
            text="tell me a story",
            completion="x" * 300 + " kill them all tonight " + "y" * 300,
        )
    )

    assert (outcome.faults, outcome.passed) == ((), True)
    assert outcome.output is not None
    assert {(each.field, each.start, each.end) for each in outcome.output.spans} == {("completion[0].content", 301, 322)}


async def test_what_is_not_as_expected_is_told_in_a_sentence_with_what_led_to_it() -> None:
    outcome = await runner().run(case({"input": "allow"}, text="we kill them all tonight"))

    assert outcome.faults == ("input: expected allow, got filter (violence 6)",)
    assert (outcome.case.place, outcome.policy) == ("cases.jsonl:7", runner().policy.identity)


async def test_a_case_may_bring_its_verdicts_along_and_then_needs_no_classifier() -> None:
    alone = Runner(load(parse(POLICY, "p.yaml")), {})
    brought = case({"input": "filter"}, text="the phrase", verdicts={"the phrase": {"hate": 4}})

    assert (await alone.run(brought)).faults == ()
    with pytest.raises(ConfigError, match=r"cases\.jsonl:7: brings no verdicts along, and there is no classifier embedded"):
        await alone.run(case({"input": "allow"}, text="hi"))


async def test_a_request_that_cannot_be_judged_is_a_decision_too_and_one_that_makes_no_sense_a_mistake() -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}

    assert (await runner().run(case({"input": "unsupported_content"}, messages=[picture]))).faults == ()
    with pytest.raises(ConfigError, match=r"cases.jsonl:7: messages\[0\].role: "):
        await runner().run(case({"input": "allow"}, messages=[{"content": "hi"}]))


async def test_texts_of_completions_are_cut_too() -> None:
    outcome = await runner().run(case({"output": "filter"}, prompt="Once", completion="they kill them all tonight"))

    assert outcome.faults == ()


async def test_a_phrase_may_stand_for_several_things() -> None:
    both = case(
        {"input": {"decision": "filter", "categories": {"hate": {"min_severity": 4}, "violence": {"min_severity": 6}}}},
        text="the phrase",
        verdicts={"the phrase": {"hate": 4, "violence": 6, "sexual": 0}},
    )

    assert (await runner().run(both)).faults == ()


@pytest.mark.parametrize("finding", [{"anger": 4}, {"hates": True}])
def test_a_verdict_on_no_category_is_a_mistake(finding: JSONObject) -> None:
    with pytest.raises(ConfigError, match="no category is called"):
        scripted(case({"input": "allow"}, text="hi", verdicts={"hi": finding}))


async def test_closing_closes_the_classifiers() -> None:
    classifier = ScriptedClassifier()
    under_test = Runner(load(parse(POLICY, "p.yaml")), {"embedded": classifier})
    await under_test.close()

    assert classifier.closed
