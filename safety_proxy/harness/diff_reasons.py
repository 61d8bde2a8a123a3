"""Why two policies decide differently on the same text: what was found, and what each makes of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from safety_proxy.harness.diff_rules import Change
from safety_proxy.harness.outcome import FoundSide
from safety_proxy.model import HARMS, Category, Severity
from safety_proxy.policy import Policy, Rules
from safety_proxy.rule import Rule

NO_VERDICT: Final = "no verdict"
OTHER: Final = "other"
"""Groups of what no category and no blocklist explains."""

_UNJUDGED: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "unsupported_content": ("unreadable content", frozenset({"unreadable", "roles", "classifiers"})),
    "prompt_too_long": ("prompt too long", frozenset({"roles", "classifiers"})),
}
"""Of requests that cannot be judged at all, by what was decided: their group, and the keys that may have led to it."""
_ON_FAILURE: Final = frozenset({"on_error", "classifiers", "combine", "decisive"})
"""Keys that may have led to a text without a verdict."""
_ON_VERDICTS: Final = frozenset({"history", "roles", "conversation", "classifiers", "combine", "decisive", "stream"})
"""Keys that may have led to other verdicts, or to verdicts that count for less."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What led to a difference."""

    group: str
    """The category, ``blocklist NAME``, or a word for what is neither."""
    words: str


@dataclass(frozen=True, slots=True)
class Stance:
    """What one policy makes of one side, in the words of its file."""

    categories: Mapping[Category, str] = field(default_factory=dict)
    """low, medium, high, never; block, annotate; off. What is missing is not known."""
    blocklists: Mapping[str, str] = field(default_factory=dict)
    """block or annotate."""
    needed: frozenset[Category] = frozenset()
    """The categories without a verdict on which no text passes."""

    @classmethod
    def of(cls, rules: Rules) -> Stance:
        """From the rules of a side."""
        return cls(
            {category: _word(rules.categories.get(category)) for category in Category},
            {name: "block" if each.block else "annotate" for name, each in rules.blocklists.items()},
            frozenset(category for category, rule in rules.categories.items() if rule.block and not rule.fail_open),
        )


def _word(rule: Rule | None) -> str:
    if rule is None:
        return "off"
    if rule.category in HARMS:
        return Severity.of(rule.threshold).label if rule.block else "never"
    return "block" if rule.block else "annotate"


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What two policies say of one side."""

    one: Stance
    other: Stance
    changes: Sequence[Change] = ()
    """The keys that they differ in and that matter on this side."""

    @classmethod
    def of(cls, side: str, a: Policy, b: Policy, changes: Sequence[Change]) -> Rulebook:
        """What *a* and *b* say of the *side* ``input`` or ``output``; *changes* are all that they differ in."""
        elsewhere = "output." if side == "input" else "input."
        relevant = [each for each in changes if not each.key.startswith(elsewhere)]
        return cls(Stance.of(getattr(a, side)), Stance.of(getattr(b, side)), relevant)

    def told(self, words: str, keys: frozenset[str], category: Category | None = None) -> str:
        """*words* with what became of those of *keys* that differ, of all categories or of one."""
        others = {each.value for each in Category if each is not category} if category is not None else set()
        parts = ((each, set(each.key.split("."))) for each in self.changes)
        return "; ".join(filter(None, [words, *(str(each) for each, path in parts if path & keys and not path & others)]))


def reasons(one: FoundSide, other: FoundSide, rules: Rulebook) -> tuple[Reason, ...]:
    """What led to the different decisions *one* and *other*; at least one reason. No words of a text are in it."""
    for found in (one, other):
        if found.decision in _UNJUDGED:
            group, keys = _UNJUDGED[found.decision]
            return (Reason(group, rules.told(group, keys)),)
    led = [*_of_categories(one, other, rules), *_of_blocklists(one, other, rules)]
    if "error" in {one.decision, other.decision}:
        led.append(_of_failure(one if one.decision == "error" else other, rules))
    return tuple(led) or (Reason(OTHER, rules.told("", _ON_VERDICTS | _ON_FAILURE) or "for no reason that is known"),)


def _of_categories(one: FoundSide, other: FoundSide, rules: Rulebook) -> Iterator[Reason]:
    """The categories that one of them filters and the other does not."""
    for category in Category:
        mine, theirs = one.categories.get(category), other.categories.get(category)
        if (mine is not None and mine.filtered) == (theirs is not None and theirs.filtered):
            continue
        severities = [each.severity for each in (mine, theirs) if each is not None and each.severity is not None]
        words = " ".join(filter(None, [category.value, " -> ".join(map(str, dict.fromkeys(severities)))]))
        before, after = (each.categories.get(category, "not judged") for each in (rules.one, rules.other))
        if before != after:
            yield Reason(category.value, f"{words}: {before} -> {after}")
        else:
            yield Reason(category.value, rules.told(f"{words} at {before}", _ON_VERDICTS, category))


def _of_blocklists(one: FoundSide, other: FoundSide, rules: Rulebook) -> Iterator[Reason]:
    """The blocklists by which one of them filters and the other does not. One that no policy has is a classifier's."""
    for name in sorted({*one.blocklists, *other.blocklists}):
        if one.blocklists.get(name, False) == other.blocklists.get(name, False):
            continue
        words = f"blocklist {name}"
        before, after = (each.blocklists.get(name, "none") for each in (rules.one, rules.other))
        if before != after:
            yield Reason(words, f"{words}: {before} -> {after}")
        else:
            entries = [str(each) for each in rules.changes if f".blocklists.{name}." in each.key]
            yield Reason(words, "; ".join([words, *entries]) if entries else rules.told(words, _ON_VERDICTS))


def _of_failure(failed: FoundSide, rules: Rulebook) -> Reason:
    """What a missing verdict led to: for some categories one of them lets text pass without."""
    words = f"{NO_VERDICT} ({failed.error})" if failed.error is not None else NO_VERDICT
    open_ = [each for each in Category if each not in failed.categories]
    for needed, other, change in (
        (rules.one.needed, rules.other.needed, "needed -> not needed"),
        (rules.other.needed, rules.one.needed, "not needed -> needed"),
    ):
        if names := ", ".join(each for each in open_ if each in needed - other):
            words = f"{words}: {names} {change}"
    return Reason(NO_VERDICT, words if " needed" in words else rules.told(words, _ON_FAILURE))
