"""Claims about how it is told what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import orjson
import pytest

from safety_proxy.harness.figures import FOUND, THRESHOLDS, WRITABLE, average_precision, curve, rows, suggested
from safety_proxy.harness.stream_curve import Point, Setting, StreamCurve
from safety_proxy.harness.sweep import CategorySweep, Sweep
from safety_proxy.harness.sweep_report import document, lines, notes, stream_lines, stream_notes
from safety_proxy.model import HARMS, Category

OWN, OTHER = Setting(80, 120, 50, 180), Setting(40, 40, 0, 180)


def category(
    wanted: str = "2456",
    benign: str = "0002",
    of: Category = Category.HATE,
    *,
    block_at: int | None = 4,
    target: float = 0.01,
) -> CategorySweep:
    """Severities of cases that must be filtered, and of benign ones."""
    values = np.array([float(each) for each in wanted + benign], dtype=np.float64)
    truth = np.array([True] * len(wanted) + [False] * len(benign), dtype=np.bool_)
    measured = rows(values, truth, ~truth, THRESHOLDS if of in HARMS else (FOUND,))
    writable = [row for row in measured if row.threshold in WRITABLE or of not in HARMS]
    drawn = curve(values, truth)
    area = average_precision(drawn)
    return CategorySweep(
        side="input",
        category=of,
        block_at=block_at,
        wanted=len(wanted),
        others=len(benign),
        benign=len(benign),
        undecided=0,
        rows=measured,
        curve=drawn,
        by="severities",
        auprc=area,
        auprc_of_severities=area,
        suggested=suggested(writable, target),
    )


def sweep(*categories: CategorySweep, target: float = 0.01) -> Sweep:
    return Sweep("p@0123456789ab", ("embedded@0",), target, 8, {"about another policy": 1}, categories)


def streams(**changed: object) -> StreamCurve:
    own = Point(OWN, own=True, delays=Counter({100: 10}), first=[80], exposed=[0, 0], stopped=2)
    other = Point(OTHER, delays=Counter({20: 10, 30: 10}), first=[20], exposed=[5, 0], stopped=2)
    worse = Point(Setting(80, 480, 0, 180), delays=Counter({200: 10}), first=[80], exposed=[9, 9])
    curve = StreamCurve("buffered", (own, other, worse), choices=3, wanted=2, spans_known=2, undecided=0, beyond=0)
    return replace(curve, **changed)  # type: ignore[arg-type] # fields by name


def told(each: CategorySweep, target: float = 0.01) -> str:
    return "\n".join(notes(each, target))


# ----------------------------------------------------------------------------------------------------------- thresholds


def test_each_threshold_is_a_line_with_figures_intervals_and_the_number_of_cases() -> None:
    text = "\n".join(lines(sweep(category())))
    assert text.startswith("p@0123456789ab: 8 cases, judged by embedded@0\nleft out 1 case: about another policy\n")
    assert "input hate: 4 must be filtered, 4 must not, 4 of them benign; AUPRC 0.950 by severities" in text
    (policy,) = (line.split("  ") for line in text.splitlines() if "<- policy" in line)
    cells = [cell for cell in policy if cell]
    assert cells == [
        "medium 4",
        "<- policy",
        "100.0 % (43.9-100.0) n=3",
        "75.0 % (30.1-95.4) n=4",
        "0.857",
        "0.0 % (0.0-49.0) n=4",
    ]
    assert [line.split()[0] for line in text.splitlines()[5:12]] == ["1", "low", "3", "medium", "5", "high", "7"]


def test_columns_are_aligned() -> None:
    table = [*lines(sweep(category()))][4:12]
    assert len({line.index("%", 40) for line in table[1:3]}) == 1
    assert table[0].index("recall") == table[1].index("100.0 %", 40)


def test_what_is_undefined_is_said_to_be() -> None:
    text = "\n".join(lines(sweep(category("2", "0"))))
    assert "undefined n=0" in text


def test_where_nothing_must_be_filtered_only_overblocking_is_told() -> None:
    text = "\n".join(lines(sweep(category("", "0002"))))
    assert "AUPRC undefined, since none must be filtered" in text
    assert "no case must be filtered: nothing is known of recall" in text
    assert "precision" not in text
    assert "  low 2                25.0 % (4.6-69.9) n=4" in text


def test_areas_by_scores_stand_beside_those_by_severities() -> None:
    each = replace(category(), by="scores", auprc=0.5)
    assert "AUPRC 0.500 by scores, 0.950 by severities" in "\n".join(lines(sweep(each)))


def test_a_suggestion_tells_its_recall_and_how_much_may_be_blocked_all_the_same() -> None:
    text = told(category())
    assert "suggested for over-blocking within 1 %: block_at: medium, recall 75.0 % (as the policy has it)" in text
    assert "with 4 benign cases it may still be up to 49.0 %" in text


def test_a_suggestion_that_many_cases_bear_out_has_no_reservation() -> None:
    text = told(category("4" * 40, "0" * 1000), target=0.01)
    assert text == "suggested for over-blocking within 1 %: block_at: low, recall 100.0 %"


def test_it_is_said_when_no_threshold_keeps_within_the_target() -> None:
    text = told(category("7", "0077"))
    assert text.startswith("no threshold keeps over-blocking within 1 %: from high 6 on it is 50.0 %")
    attack = told(category("1", "1", Category.JAILBREAK))
    assert attack.startswith("no threshold keeps over-blocking within 1 %: from found on it is 100.0 %")


def test_without_benign_cases_nothing_is_suggested() -> None:
    assert told(category("4", "")).startswith("no benign case (`expect: allow`): over-blocking is not known")


def test_what_is_found_or_not_is_suggested_to_be_blocked() -> None:
    text = "\n".join(lines(sweep(category("1", "0", Category.JAILBREAK, block_at=1))))
    assert "action: block" in text
    assert "  found  <- policy" in text


def test_few_cases_are_said_to_be_few() -> None:
    assert "few cases: 4 must be filtered; recall and AUPRC are rough" in told(category())
    assert "few cases" not in told(category("4" * 30))


def test_cases_without_a_verdict_are_told() -> None:
    assert "left out 2 cases without a verdict" in told(replace(category(), undecided=2))


# --------------------------------------------------------------------------------------------------------------- streams


def test_the_policys_setting_and_what_is_worth_choosing_are_told() -> None:
    told = [*stream_lines(streams())]
    assert told[0] == "streams: 3 completions, 2 must be filtered, of 2 of them it is known where the harm is"
    table = [line.split() for line in told[2:5]]
    assert table[0][:4] == ["first_window", "window", "holdback", "context"]
    assert " ".join(table[1]) == "80 120 50 180 100.0 100 80.0 0.0 0 of 2 2 of 2 <- policy"
    assert " ".join(table[2]) == "40 40 0 180 25.0 30 20.0 2.5 1 of 2 2 of 2"
    assert told[5] == (
        "  these are worth choosing: no other of 3 has less delay and exposes no more; the policy's is one of them"
    )


def test_without_known_spans_only_the_delay_of_the_policys_setting_is_told() -> None:
    points = tuple(replace(point, exposed=[]) for point in streams().points)
    told = [*stream_lines(streams(points=points, spans_known=0))]
    assert told[1] == "  of no completion that must be filtered it is known where the harm is: delay alone was measured"
    assert len(told) == 4
    assert "undefined  0 of 0" in told[3]


def test_without_completions_there_is_no_table() -> None:
    nothing = streams(points=(Point(OWN, own=True),), choices=0, wanted=0, spans_known=0)
    assert [*stream_lines(nothing)][1:] == ["  no completion to stream"]


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"mode": "whole"}, "the policy streams in mode whole; its numbers were tried as if it were buffered"),
        ({"undecided": 1}, "left out 1 completion without a verdict"),
        ({"beyond": 2}, "left out 2 completions beyond the number that is streamed"),
        ({"unsearched": ("house",)}, "blocklists of the store were not searched: house"),
        ({"spans_known": 29}, "few cases: exposure was measured on 29 completions"),
    ],
)
def test_what_the_figures_do_not_tell_is_told(changed: dict[str, object], note: str) -> None:
    assert note in [*stream_notes(streams(**changed))]


# ------------------------------------------------------------------------------------------------------------------ JSON


def test_programs_get_everything() -> None:
    found = orjson.loads(orjson.dumps(document(sweep(category()), streams())))
    assert found["policy"] == "p@0123456789ab"
    (hate,) = found["categories"]
    assert (hate["side"], hate["category"], hate["suggested_threshold"]) == ("input", "hate", 4)
    assert [each["threshold"] for each in hate["thresholds"]] == [1, 2, 3, 4, 5, 6, 7]
    assert hate["thresholds"][3]["true_positives"] == 3
    assert hate["thresholds"][3]["recall"]["value"] == 0.75
    assert len(hate["curve"]["precision"]) == len(hate["curve"]["thresholds"]) + 1
    assert [each["worth_choosing"] for each in found["streams"]["settings"]] == [True, True, False]
    assert found["streams"]["settings"][1]["exposed"] == 2.5


def test_what_is_undefined_is_null_in_json() -> None:
    found = orjson.loads(orjson.dumps(document(sweep(category("", "0")), None)))
    assert found["streams"] is None
    assert found["categories"][0]["auprc"] is None
    assert found["categories"][0]["curve"] is None
    assert found["categories"][0]["thresholds"][0]["recall"]["value"] is None
