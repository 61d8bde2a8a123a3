"""What was measured of thresholds and of windows, told: lines for people, JSON for programs.

No report holds a word of a case's texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from safety_proxy.harness.figures import WRITABLE, Row
from safety_proxy.harness.intervals import Estimate
from safety_proxy.harness.stream_curve import Point, StreamCurve
from safety_proxy.harness.sweep import CategorySweep, Sweep
from safety_proxy.model import HARMS, JSON, JSONObject, Severity

FEW: Final = 30
"""Fewer cases than this are said to be few: an interval of 95 % is then wider than a third at its widest."""
_NOTHING: Final = "undefined"
_WORDS: Final = {int(level): level.label for level in Severity if level}
COLUMNS: Final = ("from", "precision", "recall", "F1", "over-blocking")
STREAM_COLUMNS: Final = (
    "first_window",
    "window",
    "holdback",
    "context",
    "delay",
    "p95",
    "first text",
    "exposed",
    "leaking",
    "stopped",
)
STREAM_REMARK: Final = (
    "delay: positions that had to come after a character before it was released, mean and 95th percentile; first text: that "
    "of the first one. exposed: characters of harmful spans that were released, mean over the completions whose spans are "
    "known; leaking: completions in which there were any. stopped: completions that must be filtered, and were."
)


# -------------------------------------------------------------------------------------------------------------- people


def lines(sweep: Sweep) -> Iterator[str]:
    """For people: each category with a table of its thresholds."""
    yield f"{sweep.policy}: {counted(sweep.judged, 'case')}, judged by {', '.join(sweep.classifiers) or 'nobody'}"
    for reason, cases in sorted(sweep.left_out.items()):
        yield f"left out {counted(cases, 'case')}: {reason}"
    for each in sweep.categories:
        yield ""
        yield f"{each.side} {each.category}: {sums(each)}; {area(each)}"
        yield from (f"  {line}" for line in _aligned(_table(each)))
        yield from (f"  {note}" for note in notes(each, sweep.target))


def stream_lines(curve: StreamCurve) -> Iterator[str]:
    """For people: the settings that are worth choosing, and the policy's own."""
    yield f"streams: {stream_sums(curve)}"
    yield from (f"  {note}" for note in stream_notes(curve))
    if not curve.choices:
        return
    shown = [point for point in curve.points if point.own]
    shown += [point for point in curve.frontier if not point.own]
    yield from (f"  {line}" for line in _aligned([STREAM_COLUMNS, *(stream_texts(curve, point) for point in shown)]))
    if curve.frontier:
        own = "; the policy's is one of them" if any(point.own for point in curve.frontier) else ""
        yield f"  these are worth choosing: no other of {len(curve.points)} has less delay and exposes no more{own}"


def notes(each: CategorySweep, target: float) -> Iterator[str]:
    """What is suggested, and how far the figures can be trusted."""
    within = f"{100 * target:g} %"
    best = each.suggested
    if not each.benign:
        yield "no benign case (`expect: allow`): over-blocking is not known, and no threshold is suggested"
    elif best is None:
        last = [row for row in each.rows if row.threshold in WRITABLE or each.category not in HARMS][-1]
        least = f"from {word(each, last)} on it is {_share(last.overblocking)}"
        yield f"no threshold keeps over-blocking within {within}: {least}"
    else:
        told = f"suggested for over-blocking within {within}: {_rule(each, best)}"
        told += f", recall {_share(best.scores.recall)}" if each.wanted else ""
        told += " (as the policy has it)" if best.threshold == each.block_at else ""
        if best.overblocking.high > target:
            told += (
                f"; with {counted(each.benign, 'benign case')} it may still be up to {100 * best.overblocking.high:.1f} %"
            )
        yield told
    if not each.wanted:
        yield "no case must be filtered: nothing is known of recall"
    elif each.wanted < FEW:
        yield f"few cases: {each.wanted} must be filtered; recall and AUPRC are rough"
    if each.undecided:
        yield f"left out {counted(each.undecided, 'case')} without a verdict"


def stream_notes(curve: StreamCurve) -> Iterator[str]:
    """What the figures do not tell."""
    if not curve.choices:
        yield "no completion to stream"
    elif not curve.spans_known:
        yield "of no completion that must be filtered it is known where the harm is: delay alone was measured"
    elif curve.spans_known < FEW:
        yield f"few cases: exposure was measured on {counted(curve.spans_known, 'completion')}"
    if curve.mode != "buffered":
        yield f"the policy streams in mode {curve.mode}; its numbers were tried as if it were buffered"
    if curve.unsearched:
        yield f"blocklists of the store were not searched: {', '.join(curve.unsearched)}"
    if curve.undecided:
        yield f"left out {counted(curve.undecided, 'completion')} without a verdict"
    if curve.beyond:
        yield f"left out {counted(curve.beyond, 'completion')} beyond the number that is streamed"


def sums(each: CategorySweep) -> str:
    """How many cases there are, of each kind."""
    return f"{each.wanted} must be filtered, {each.others} must not, {each.benign} of them benign"


def stream_sums(curve: StreamCurve) -> str:
    """How many completions there are, of each kind."""
    known = f"of {curve.spans_known} of them it is known where the harm is"
    return f"{counted(curve.choices, 'completion')}, {curve.wanted} must be filtered, {known}"


def area(each: CategorySweep) -> str:
    """The areas under the curves."""
    if each.auprc is None or each.auprc_of_severities is None:
        return f"AUPRC {_NOTHING}, since none must be filtered"
    scores = f"{each.auprc:.3f} by scores, " if each.by == "scores" else ""
    return f"AUPRC {scores}{each.auprc_of_severities:.3f} by severities"


def _table(each: CategorySweep) -> list[Sequence[str]]:
    """Every threshold; where no case must be filtered, what there is to say of those that a policy has a word for."""
    if each.wanted:
        return [COLUMNS, *(_texts(each, row) for row in each.rows)]
    told = [_texts(each, row) for row in each.rows if each.category not in HARMS or row.threshold in WRITABLE]
    return [(COLUMNS[0], COLUMNS[-1]), *((row[0], row[-1]) for row in told)]


def _texts(each: CategorySweep, row: Row) -> tuple[str, ...]:
    tally = row.confusion
    found = tally.true_positives + tally.false_positives
    return (
        f"{word(each, row)}{'  <- policy' if row.threshold == each.block_at else ''}",
        f"{_interval(row.scores.precision)} n={found}",
        f"{_interval(row.scores.recall)} n={each.wanted}",
        _NOTHING if row.scores.f1.value is None else f"{row.scores.f1.value:.3f}",
        f"{_interval(row.overblocking)} n={row.benign}",
    )


def stream_texts(curve: StreamCurve, point: Point) -> tuple[str, ...]:
    """A row under `STREAM_COLUMNS`."""
    cut = point.setting
    numbers = (str(each) for each in (cut.first_window, cut.window, cut.holdback, cut.context))
    measured = (point.delay, point.delay_p95, point.first_delay, point.exposure)
    leaking = f"{point.leaking} of {len(point.exposed)}"
    own = "  <- policy" if point.own else ""
    return (
        *numbers,
        *(_NOTHING if each is None else f"{each:.1f}" if isinstance(each, float) else str(each) for each in measured),
        leaking,
        f"{point.stopped} of {curve.wanted}{own}",
    )


def word(each: CategorySweep, row: Row) -> str:
    """The threshold of *row*, with the word that a policy has for it."""
    if each.category not in HARMS:
        return "found"
    return f"{_WORDS[row.threshold]} {row.threshold}" if row.threshold in _WORDS else str(row.threshold)


def _rule(each: CategorySweep, row: Row) -> str:
    return f"block_at: {_WORDS[row.threshold]}" if each.category in HARMS else "action: block"


def _share(of: Estimate) -> str:
    return _NOTHING if of.value is None else f"{100 * of.value:.1f} %"


def _interval(of: Estimate) -> str:
    return _NOTHING if of.value is None else f"{_share(of)} ({100 * of.low:.1f}-{100 * of.high:.1f})"


def counted(number: int, what: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


# ---------------------------------------------------------------------------------------------------------------- JSON


def document(sweep: Sweep, curve: StreamCurve | None) -> JSONObject:
    """For programs: everything that is known. What is undefined is null."""
    return {
        "object": "policy.sweep",
        "policy": sweep.policy,
        "classifiers": [*sweep.classifiers],
        "cases": sweep.judged,
        "left_out": dict(sweep.left_out),
        "max_overblocking": sweep.target,
        "categories": [_category(each, sweep.target) for each in sweep.categories],
        "streams": None if curve is None else _streams(curve),
    }


def _category(each: CategorySweep, target: float) -> JSONObject:
    drawn: JSON = None
    if each.curve is not None:
        precision, recall = each.curve.precision.tolist(), each.curve.recall.tolist()
        drawn = {"by": each.by, "precision": precision, "recall": recall, "thresholds": each.curve.thresholds.tolist()}
    return {
        "side": each.side,
        "category": each.category.value,
        "policy_threshold": each.block_at,
        "must_be_filtered": each.wanted,
        "others": each.others,
        "benign": each.benign,
        "undecided": each.undecided,
        "auprc": each.auprc,
        "auprc_of_severities": each.auprc_of_severities,
        "suggested_threshold": None if each.suggested is None else each.suggested.threshold,
        "notes": [*notes(each, target)],
        "thresholds": [_row(row) for row in each.rows],
        "curve": drawn,
    }


def _row(row: Row) -> JSONObject:
    tally = row.confusion
    return {
        "threshold": row.threshold,
        "true_positives": tally.true_positives,
        "false_positives": tally.false_positives,
        "false_negatives": tally.false_negatives,
        "true_negatives": tally.true_negatives,
        "precision": _estimate(row.scores.precision),
        "recall": _estimate(row.scores.recall),
        "f1": _estimate(row.scores.f1),
        "overblocking": _estimate(row.overblocking),
    }


def _estimate(of: Estimate) -> JSONObject:
    return {"value": of.value, "low": of.low, "high": of.high}


def _streams(curve: StreamCurve) -> JSONObject:
    frontier = {id(point) for point in curve.frontier}
    settings: list[JSON] = [
        {
            "first_window": point.setting.first_window,
            "window": point.setting.window,
            "holdback": point.setting.holdback,
            "context": point.setting.context,
            "policy": point.own,
            "worth_choosing": id(point) in frontier,
            "delay": point.delay,
            "delay_p95": point.delay_p95,
            "first_delay": point.first_delay,
            "exposed": point.exposure,
            "leaking": point.leaking,
            "stopped": point.stopped,
        }
        for point in curve.points
    ]
    return {
        "completions": curve.choices,
        "must_be_filtered": curve.wanted,
        "spans_known": curve.spans_known,
        "undecided": curve.undecided,
        "beyond": curve.beyond,
        "unsearched": [*curve.unsearched],
        "notes": [*stream_notes(curve)],
        "settings": settings,
    }
