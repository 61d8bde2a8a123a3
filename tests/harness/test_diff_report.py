"""Claims about how differences are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from safety_proxy.harness.diff import Diff, Difference
from safety_proxy.harness.diff_report import document, lines, sections, skipped_lines, summary
from safety_proxy.harness.diff_rules import Change
from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import Page

RULES = (Change("input.hate.block_at", "medium -> high", "looser"), Change("annotations", "true -> false"))


def difference(number: int = 1, before: str = "filter", after: str = "allow") -> Difference:
    return Difference(f"c.yaml:{number}", f"case {number}", "input", before, after, ("hate",), "hate 4: medium -> high")


def diff(*differences: Sequence[Difference], kept: int = 5) -> Diff:
    made = Diff("a@1", "b@2", RULES, kept)
    for each in differences:
        made.add(each)
    return made


def test_lines_tell_policies_rules_sums_and_examples_in_this_order() -> None:
    made = diff([difference(1)], [], [difference(3)], [difference(4, "allow", "error")], kept=1)
    assert list(lines(made)) == [
        "a@1 -> b@2",
        "  input.hate.block_at: medium -> high  (looser)",
        "  annotations: true -> false",
        "4 cases, 3 decided differently: 2 looser, 1 stricter",
        "looser  input  hate  2",
        '  c.yaml:1  "case 1"  input: filter -> allow (hate 4: medium -> high)',
        "  and 1 more",
        "stricter  input  hate  1",
        '  c.yaml:4  "case 4"  input: allow -> error (hate 4: medium -> high)',
    ]


def test_the_sum_says_so_if_nothing_differs() -> None:
    assert summary(diff([])) == "1 case, all decided alike"
    assert summary(diff([], [])) == "2 cases, all decided alike"


def test_without_examples_there_is_nothing_more() -> None:
    assert list(lines(diff([difference()], kept=0)))[-1] == "looser  input  hate  1"


def test_what_was_skipped_is_told_with_the_most_frequent_reason_first() -> None:
    assert list(skipped_lines(Counter({"b": 1, "a": 1, "c": 2}))) == [
        "skipped 2 lines: c",
        "skipped 1 line: a",
        "skipped 1 line: b",
    ]


def test_many_reasons_are_summed_up() -> None:
    told = list(skipped_lines(Counter({f"reason {number:02}": 1 for number in range(25)})))
    assert (len(told), told[-1]) == (21, "skipped 5 more, for other reasons")


def test_the_document_tells_all_that_the_lines_do() -> None:
    made = diff([difference(1)], [difference(2)], [], kept=1)
    assert document([made], Counter({"torn": 2})) == {
        "object": "policy.diff",
        "looser": True,
        "diffs": [
            {
                "a": "a@1",
                "b": "b@2",
                "rules": [
                    {"key": "input.hate.block_at", "change": "medium -> high", "direction": "looser"},
                    {"key": "annotations", "change": "true -> false", "direction": "changed"},
                ],
                "cases": 3,
                "different": 2,
                "looser": 2,
                "stricter": 0,
                "changed": 0,
                "groups": [
                    {
                        "direction": "looser",
                        "side": "input",
                        "category": "hate",
                        "count": 2,
                        "examples": [
                            {
                                "place": "c.yaml:1",
                                "name": "case 1",
                                "a": "filter",
                                "b": "allow",
                                "why": "hate 4: medium -> high",
                            }
                        ],
                    }
                ],
            }
        ],
        "skipped": {"torn": 2},
    }


def test_a_page_shows_rules_groups_and_what_was_skipped() -> None:
    made = diff([difference(1)], [difference(2)], kept=1)
    shown = render(Page("Diff", "2026-01-01T00:00:00Z", "safety-proxy", sections([made], Counter({"torn": 2}))))
    for words in (
        "input.hate.block_at",
        "looser: input, hate (2)",
        "The first 1 of 2.",
        "2 looser",
        "skipped 2 lines: torn",
    ):
        assert words in shown


def test_a_page_says_so_if_nothing_differs() -> None:
    (section,) = sections([Diff("a@1", "b@2", cases=1)], Counter())
    assert section.status == "alike"
    assert section.tone == "good"
