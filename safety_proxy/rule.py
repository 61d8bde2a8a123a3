"""The rule for one category: whose verdicts count, how several of them make one, and what that one leads to.

`Rule.judge` is total: a classifier that failed is an input like any other, and what nobody judged is never taken for safe.
`Rule.next_in` drives cascades: it names the classifier that has to be asked before `judge` can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Annotation, Category, Kind, Severity, Verdict

Outcome: TypeAlias = Verdict | ClassifierError
"""What one classifier made of one text."""

Combine: TypeAlias = Literal["any", "all", "first_decisive"]

_ONLY: Final[Mapping[Category, Kind]] = {
    Category.JAILBREAK: Kind.USER_PROMPT,
    Category.INDIRECT_ATTACK: Kind.DOCUMENT,
    Category.PROTECTED_MATERIAL_TEXT: Kind.COMPLETION,
    Category.PROTECTED_MATERIAL_CODE: Kind.COMPLETION,
}


def applies(category: Category, kind: Kind) -> bool:
    """Whether texts of *kind* are judged for *category*. Harms are looked for in all; the others in one kind each."""
    return _ONLY.get(category, kind) is kind


class _Said(NamedTuple):
    """What one classifier says on one category: a severity (of a detection 0 or 1), a reason why it is not all, or both."""

    value: int | None
    reason: str | None

    @property
    def settled(self) -> bool:
        """The value is not only the least that it can be."""
        return self.value is not None and self.reason is None


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a text because of one category."""

    category: Category
    block: bool = True
    """False: annotate only. Then a missing verdict does not stop the text either, there being nothing to enforce."""
    threshold: int = Severity.MEDIUM
    """Lowest severity (0-7) that is filtered. Of no meaning for a category that is found or not found."""
    fail_open: bool = False
    """Let the text pass when there is no verdict on this category."""
    classifiers: tuple[str, ...] | None = None
    """Whose verdicts count. None: everybody's. For ``first_decisive`` never None: in this order they are asked."""
    combine: Combine = "any"
    """any: the most severe verdict counts. all: the least severe. first_decisive: that of the first classifier who is sure;
    if nobody is, that of the last one."""
    below: int = Severity.LOW
    """A severity below this is decisive; so is any detection."""
    above: int = 5
    """A severity above this is decisive, too."""

    def counts(self, classifier: str) -> bool:
        """Whether the verdicts of the classifier of this name count."""
        return self.classifiers is None or classifier in self.classifiers

    def judge(self, outcomes: Mapping[str, Outcome]) -> tuple[Annotation | None, str | None]:
        """What is known of this category, and the reason why not all is known. At least one of the two."""
        names = outcomes if self.classifiers is None else [name for name in self.classifiers if name in outcomes]
        said = [each for each in (self._said(outcomes[name]) for name in names) if each != (None, None)]
        if not said:
            return None, "missing_category"
        value, reason = self._combined(said)
        if value is None:
            return None, reason
        filtered = self.block and value >= (self.threshold if self.category in HARMS else 1)
        # Under `all`, one who is not heard might have said that the text is safe.
        filtered = filtered and not (self.combine == "all" and any(each.value is None for each in said))
        if self.category in HARMS:
            return Annotation(filtered, severity=value), reason
        return Annotation(filtered, detected=value > 0), reason

    def next_in(self, chain: Iterable[str], outcomes: Mapping[str, Outcome]) -> str | None:
        """Who of *chain* has to be asked next, given the *outcomes* so far; None if that would change nothing."""
        for name in chain:
            if name not in outcomes:
                return name
            if self._is_decisive(self._said(outcomes[name])):
                return None
        return None

    # ------------------------------------------------------------------------------------------------ combining

    def _combined(self, said: Sequence[_Said]) -> _Said:
        match self.combine:
            case "any":
                return _most_severe(said)
            case "all":
                return self._least_severe(said)
            case "first_decisive":
                return self._first_decisive(said)

    def _said(self, outcome: Outcome) -> _Said:
        if isinstance(outcome, ClassifierError):
            return _Said(None, outcome.reason if outcome.leaves_open(self.category) else None)
        if self.category in HARMS:
            value = outcome.severities.get(self.category)
        else:
            found = outcome.detections.get(self.category)
            value = None if found is None else int(found)
        return _Said(value, outcome.failures.get(self.category))

    def _is_decisive(self, said: _Said) -> bool:
        if said.value is None:
            return False
        if self.category not in HARMS:
            return said.settled or said.value > 0
        return said.value > self.above or (said.settled and said.value < self.below)

    def _least_severe(self, said: Sequence[_Said]) -> _Said:
        """One who is sure that the text is below the threshold settles it, whatever others say or could not say."""
        threshold = self.threshold if self.category in HARMS else 1
        settled = [each.value for each in said if each.settled and each.value is not None]
        if settled and min(settled) < threshold:
            return _Said(min(settled), None)
        values = [each.value for each in said if each.value is not None]
        return _Said(min(values, default=None), min((each.reason for each in said if each.reason), default=None))

    def _first_decisive(self, said: Sequence[_Said]) -> _Said:
        for each in said:
            if self._is_decisive(each):
                return each
        return said[-1] if said[-1].settled else _most_severe(said)


def _most_severe(said: Sequence[_Said]) -> _Said:
    values = [each.value for each in said if each.value is not None]
    return _Said(max(values, default=None), min((each.reason for each in said if each.reason), default=None))
