"""Claims about what windows cost and let out, on texts whose pieces are five characters each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from safety_proxy.classifiers.base import Classifier
from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness import stream_curve as module
from safety_proxy.harness.cases import Case, read_lines
from safety_proxy.harness.stream_curve import Point, Setting, StreamCurve, grid, stream_curve
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, Category, Query, Verdict
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load
from safety_proxy.testing import ScriptedClassifier

HARM = "HARM1HARM2HARM3"
TEXT = "aaa" + HARM + "bbbbb" * 4
FILTER: JSON = {"output": "filter"}
ALLOW: JSON = {"output": "allow"}
FINDING: Mapping[str, tuple[Category, int]] = {HARM: (Category.HATE, 6)}


class Local(ScriptedClassifier):
    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        self.asked += queries
        return [self._verdict(query) for query in queries]


def policy(holdback: int = 0, more: str = "", mode: str = "buffered") -> Policy:
    stream = f"{{mode: {mode}, first_window: 10, window: 10, holdback: {holdback}, context: 20}}"
    return load(parse(f"version: 1\nname: p\nclassifiers: [scripted]\noutput:\n  stream: {stream}\n{more}", "p.yaml"))


def case(completion: JSON, expect: JSON = ALLOW, **more: JSON) -> Case:
    (only,) = read_lines([write({"completion": completion, "expect": expect, **more}).decode()], "c.jsonl")
    return only


@pytest.fixture(autouse=True)
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOWS", (10, 40))
    monkeypatch.setattr(module, "FIRST_WINDOWS", (10,))
    monkeypatch.setattr(module, "HOLDBACKS", (0, 15))


async def measured(
    *cases: Case, holdback: int = 0, classifier: Classifier | None = None, mode: str = "buffered"
) -> StreamCurve:
    classifiers = {"scripted": classifier or Local(FINDING)}
    return await stream_curve(policy(holdback, mode=mode), classifiers, cases)


def under(curve: StreamCurve, window: int, holdback: int) -> Point:
    (found,) = (p for p in curve.points if (p.setting.window, p.setting.holdback) == (window, holdback))
    return found


# ----------------------------------------------------------------------------------------------------------------- grid


def test_the_policys_own_setting_comes_first_and_is_not_tried_twice() -> None:
    settings = grid(policy().output)
    assert settings[0] == Setting(10, 10, 0, 20)
    assert settings[1:] == (Setting(10, 10, 15, 20), Setting(10, 40, 0, 20), Setting(10, 40, 15, 20))


def test_the_context_is_the_policys_or_as_much_more_as_the_holdback_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOLDBACKS", (0, 19, 20, 30))
    assert {each.holdback: each.context for each in grid(policy().output)} == {0: 20, 19: 20, 20: 21, 30: 31}


def test_no_holdback_is_tried_that_a_term_of_a_blocklist_does_not_fit_into() -> None:
    lists = "  blocklists: [{name: x, terms: [elephants]}]\n"
    assert {each.holdback for each in grid(policy(12, lists).output)} == {9, 12, 15}


def test_a_first_window_is_no_longer_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WINDOWS", (10, 40, 80))
    assert {(each.first_window, each.window) for each in grid(policy().output)} == {(10, 10), (10, 40), (40, 40)}


# ---------------------------------------------------------------------------------------------------------------- delay


async def test_text_waits_for_its_window_and_its_holdback() -> None:
    """A window of 10 is complete with the piece that goes beyond it: 15 positions have come when pieces 1 and 2 leave."""
    curve = await measured(case("ccccc" * 6))
    own = curve.points[0]
    assert own.delays == {10: 10, 5: 15, 0: 5}
    assert own.delay == pytest.approx((10 * 10 + 5 * 15) / 30)
    assert own.first_delay == 10
    held = under(curve, 10, 15)
    assert held.delays == {20: 10, 15: 5, 10: 5, 5: 5, 0: 5}


@pytest.mark.parametrize("local", [True, False])
async def test_the_delay_is_that_of_the_windows_alone_wherever_the_classifier_is(local: bool) -> None:
    classifier = Local(FINDING) if local else ScriptedClassifier(FINDING)
    curve = await measured(case("ccccc" * 6), classifier=classifier)
    assert curve.points[0].delays == {10: 10, 5: 15, 0: 5}


async def test_each_text_is_asked_about_once_for_all_settings() -> None:
    """The first two windows of ten; and all of the text, which is also the last window with its context."""
    scripted = ScriptedClassifier(FINDING)
    await measured(case("ccccc" * 6), classifier=scripted)
    assert len(scripted.asked) == len(set(scripted.asked)) == 3


async def test_verdicts_are_forgotten_with_their_completion() -> None:
    """So that memory does not grow with the number of cases."""
    scripted = ScriptedClassifier(FINDING)
    await measured(case("ccccc" * 6), case("ccccc" * 6), classifier=scripted)
    assert len(scripted.asked) == 6


def test_the_95th_percentile_is_the_delay_that_95_percent_of_positions_do_not_exceed() -> None:
    point = Point(Setting(10, 10, 0, 20))
    point.delays.update({0: 90, 7: 5, 40: 5})
    assert point.delay_p95 == 7
    point.delays.update({40: 1})
    assert point.delay_p95 == 40


def test_of_nothing_that_was_released_no_delay_is_told() -> None:
    point = Point(Setting(10, 10, 0, 20))
    assert (point.delay, point.delay_p95, point.first_delay, point.exposure) == (None, None, None, None)


# ------------------------------------------------------------------------------------------------------------- exposure


async def test_what_a_window_lets_out_before_a_span_is_seen_whole_is_exposed() -> None:
    """The first window ends within the span, behind seven characters of it; the second one sees all of it."""
    curve = await measured(case(TEXT, FILTER))
    own = curve.points[0]
    assert (own.exposed, own.exposure, own.leaking, own.stopped) == ([7], 7.0, 1, 1)


async def test_nothing_of_a_span_that_fits_into_the_holdback_is_exposed() -> None:
    curve = await measured(case(TEXT, FILTER))
    for window in (10, 40):
        assert under(curve, window, 15).exposed == [0]
        assert under(curve, window, 15).stopped == 1


async def test_a_span_that_the_windows_miss_is_exposed_to_its_end() -> None:
    """It is longer than a window with its context, so only who judges all in one piece sees it."""
    harm = "HARM1" * 8
    curve = await measured(case("aaaaa" + harm + "bbbbb" * 9, FILTER), classifier=Local({harm: (Category.HATE, 6)}))
    assert curve.spans_known == 1
    assert curve.points[0].exposed == [40]
    assert curve.points[0].stopped == 0


async def test_exposure_is_measured_where_a_completion_must_be_filtered() -> None:
    curve = await measured(case(TEXT, ALLOW), case(TEXT, FILTER), case("aaaaa", FILTER))
    assert (curve.choices, curve.wanted, curve.spans_known) == (3, 2, 1)
    assert curve.points[0].exposed == [7]


async def test_a_category_that_must_be_filtered_makes_a_completion_one_that_must() -> None:
    expect: JSON = {"output": {"categories": {"hate": {"filtered": True}}}}
    assert (await measured(case(TEXT, expect))).wanted == 1


async def test_what_the_policy_does_not_filter_is_no_harm() -> None:
    curve = await measured(case(TEXT, FILTER), classifier=Local({HARM: (Category.HATE, 2)}))
    assert curve.spans_known == 0


async def test_spans_of_what_is_not_filtered_do_not_count() -> None:
    """What stands before the harm is found, too, and let out, but it is not severe enough to be filtered."""
    finding = {HARM: (Category.HATE, 6), "aa": (Category.VIOLENCE, 2)}
    curve = await measured(case(TEXT, FILTER), classifier=Local(finding))
    assert curve.points[0].exposed == [7]


async def test_terms_of_a_blocklist_are_harm() -> None:
    own = policy(15, "  blocklists: [{name: x, terms: [elephant]}]\n")
    curve = await stream_curve(own, {"scripted": Local()}, [case("there is an elephant in the room", FILTER)])
    assert curve.spans_known == 1
    assert [point.exposure for point in curve.points] == [0.0] * len(curve.points)


async def test_a_case_that_brings_verdicts_along_has_them() -> None:
    silent = Local()
    curve = await measured(case(TEXT, FILTER, verdicts={HARM: {"hate": 6}}), classifier=silent)
    assert curve.points[0].exposed == [7]
    assert silent.asked == []


async def test_the_frontier_has_what_no_other_setting_betters() -> None:
    curve = await measured(case(TEXT, FILTER), case("ccccc" * 12))
    delays = [point.delay for point in curve.frontier]
    exposures = [point.exposure for point in curve.frontier]
    assert delays == sorted(delays, key=lambda each: each or 0)
    assert exposures == sorted(exposures, key=lambda each: each or 0, reverse=True)
    assert exposures[-1] == 0.0


# ----------------------------------------------------------------------------------------------------------- what counts


async def test_cases_of_other_policies_and_without_a_completion_do_not_count() -> None:
    prompt = next(read_lines(['{"text": "hello", "expect": {"input": "allow"}}'], "c.jsonl"))
    curve = await measured(prompt, case(TEXT, FILTER, policy="other"))
    assert curve.choices == 0


async def test_each_choice_of_a_completion_counts() -> None:
    assert (await measured(case(["one", "two"]))).choices == 2


async def test_completions_of_a_text_are_streamed_as_such() -> None:
    assert (await measured(case("ccccc" * 6, prompt="once upon a time"))).points[0].delays == {10: 10, 5: 15, 0: 5}


async def test_a_completion_without_a_verdict_is_left_out() -> None:
    curve = await measured(case("lost"), classifier=Local(errors={"lost": "timeout"}))
    assert (curve.choices, curve.undecided) == (0, 1)


async def test_no_more_than_some_completions_of_a_kind_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    curve = await measured(case("one"), case("two"), case(TEXT, FILTER))
    assert (curve.choices, curve.wanted, curve.beyond) == (2, 1, 1)


async def test_lists_of_a_store_are_not_searched_and_that_is_told(tmp_path: Path) -> None:
    stream = "{first_window: 200, window: 200, holdback: 128, context: 200}"
    lists = "[{name: house, from: store}]"
    own = load(parse(f"version: 1\nname: p\noutput: {{stream: {stream}, blocklists: {lists}}}\n", "p.yaml"))
    curve = await stream_curve(own, {"embedded": Local()}, [case("one")])
    assert curve.unsearched == ("house",)
    assert curve.choices == 1


async def test_how_the_policy_streams_is_told_and_windows_are_tried_all_the_same() -> None:
    curve = await measured(case("ccccc" * 6), mode="whole")
    assert curve.mode == "whole"
    assert curve.points[0].delays == {10: 10, 5: 15, 0: 5}


async def test_a_case_that_makes_no_sense_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^c\.jsonl:1: completion"):
        await measured(case(5))
