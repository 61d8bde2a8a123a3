"""What two policies decide differently, told: lines for people, JSON for programs, sections of a page.

No report holds a word of a case's texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from safety_proxy.harness.diff import DIRECTIONS, Diff, Difference
from safety_proxy.harness.html_page import Figure, Figures, Note, Section, Table, Tone
from safety_proxy.model import JSON, JSONObject

_MOST_SKIPPED = 20
"""Reasons why lines were not used that are told one by one."""
_TONES: Mapping[str, Tone] = {"looser": "bad", "stricter": "warning", "changed": "plain"}


def lines(diff: Diff) -> Iterator[str]:
    """For people: the policies, their rules, the sums, and each group with its examples."""
    yield f"{diff.a} -> {diff.b}"
    for change in diff.rules:
        aside = "" if change.direction == "changed" else f"  ({change.direction})"
        yield f"  {change}{aside}"
    yield summary(diff)
    for (direction, side, name), group in diff.in_order():
        yield f"{direction}  {side}  {name}  {group.count}"
        yield from (f"  {example}" for example in group.examples)
        if group.count > len(group.examples) > 0:
            yield f"  and {group.count - len(group.examples)} more"


def summary(diff: Diff) -> str:
    """How many cases there were, and how many of them are decided differently, in one line."""
    cases = f"{diff.cases} {'case' if diff.cases == 1 else 'cases'}"
    if not diff.different:
        return f"{cases}, all decided alike"
    return f"{cases}, {diff.different} decided differently: " + ", ".join(
        f"{diff.directions[direction]} {direction}" for direction in DIRECTIONS if diff.directions[direction]
    )


def skipped_lines(skipped: Counter[str]) -> Iterator[str]:
    """For people: how many lines were not used, and why; the most frequent reasons first."""
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in ordered[:_MOST_SKIPPED]:
        yield f"skipped {count} {'line' if count == 1 else 'lines'}: {reason}"
    if rest := sum(count for _, count in ordered[_MOST_SKIPPED:]):
        yield f"skipped {rest} more, for other reasons"


# ---------------------------------------------------------------------------------------------------------------- JSON


def document(diffs: Sequence[Diff], skipped: Counter[str]) -> JSONObject:
    """For programs: everything that is known."""
    return {
        "object": "policy.diff",
        "looser": any(diff.looser for diff in diffs),
        "diffs": [_diff(diff) for diff in diffs],
        "skipped": {reason: skipped[reason] for reason in sorted(skipped)},
    }


def _diff(diff: Diff) -> JSON:
    groups: list[JSON] = [
        {
            "direction": direction,
            "side": side,
            "category": name,
            "count": group.count,
            "examples": [_example(each) for each in group.examples],
        }
        for (direction, side, name), group in diff.in_order()
    ]
    return {
        "a": diff.a,
        "b": diff.b,
        "rules": [{"key": each.key, "change": each.words, "direction": each.direction} for each in diff.rules],
        "cases": diff.cases,
        "different": diff.different,
        **{direction: diff.directions[direction] for direction in DIRECTIONS},
        "groups": groups,
    }


def _example(found: Difference) -> JSON:
    return {"place": found.place, "name": found.name, "a": found.before, "b": found.after, "why": found.why}


# ---------------------------------------------------------------------------------------------------------------- HTML


def sections(diffs: Sequence[Diff], skipped: Counter[str]) -> list[Section]:
    """The parts of a page."""
    found = [_section(diff) for diff in diffs]
    if skipped:
        notes = [Note(line) for line in skipped_lines(skipped)]
        found.append(Section("Not used", notes, f"{skipped.total()} lines"))
    return found


def _section(diff: Diff) -> Section:
    figures = [Figure("cases", str(diff.cases))]
    for direction in DIRECTIONS:
        count = diff.directions[direction]
        figures.append(Figure(direction, str(count), _TONES[direction] if count else "plain"))
    blocks: list[Figures | Note | Table] = [Figures(figures)]
    if diff.rules:
        rules = [(each.key, each.words, "" if each.direction == "changed" else each.direction) for each in diff.rules]
        blocks.append(Table("What the rules say differently", ("key", "change", "by itself"), rules))
    for (direction, side, name), group in diff.in_order():
        rows = [(each.place, each.name, f"{each.before} -> {each.after}", each.why) for each in group.examples]
        remark = f"The first {len(rows)} of {group.count}." if group.count > len(rows) else ""
        caption = f"{direction}: {side}, {name} ({group.count})"
        blocks.append(Table(caption, ("place", "name", "decision", "why"), rows, remark=remark))
    if not diff.different:
        blocks.append(Note("All cases are decided alike.", "good"))
    status = ", ".join(f"{diff.directions[each]} {each}" for each in DIRECTIONS if diff.directions[each])
    return Section(f"{diff.a} -> {diff.b}", blocks, status or "alike", "bad" if diff.looser else "good")
