"""What was decided on a case, and what of it was not as expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from safety_proxy.harness.cases import Case, ExpectedSide
from safety_proxy.model import HARMS, Category, Decision

_WORDS = {"allow": "allow", "block": "filter", "error": "error"}


@dataclass(frozen=True, slots=True)
class FoundSpan:
    """Where a classifier found something."""

    field: str
    """Path of the field of the request (``messages[0].content``), or ``completion[i].channel``."""
    start: int
    """First character (code point) of the field."""
    end: int
    label: str
    """The category or the blocklist."""
    classifier: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FoundCategory:
    """What was found in one category."""

    filtered: bool
    severity: int | None = None
    """0-7, of a harm."""
    detected: bool | None = None
    """Of any other category."""


@dataclass(frozen=True, slots=True)
class FoundSide:
    """What was decided on one side."""

    decision: str
    """One of `safety_proxy.harness.cases.DECISIONS`."""
    categories: Mapping[Category, FoundCategory] = field(default_factory=dict)
    """Each that was judged."""
    blocklists: Mapping[str, bool] = field(default_factory=dict)
    """Those that matched, and whether that filtered the text."""
    error: str | None = None
    """Why something stayed undecided."""
    spans: tuple[FoundSpan, ...] = ()

    @classmethod
    def of(cls, decision: Decision, spans: tuple[FoundSpan, ...] = ()) -> FoundSide:
        """From what the engine decided."""
        categories = {
            category: FoundCategory(each.filtered, each.severity, each.detected)
            for category, each in decision.annotations.items()
        }
        return cls(_WORDS[decision.action.word], categories, dict(decision.blocklists), decision.error, spans)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case under a policy."""

    case: Case
    policy: str
    """Its identity."""
    input: FoundSide | None
    """None: the case has no input."""
    output: FoundSide | None
    """None: the case has no completion."""
    faults: tuple[str, ...] = ()
    """What was not as expected, a sentence each; empty if the case passed. No words of a text are in it."""
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        """Everything was as expected."""
        return not self.faults


def faults_of(side: str, expected: ExpectedSide | None, found: FoundSide | None) -> Iterator[str]:
    """What was found on a *side* (input, output) and not *expected*."""
    if expected is None:
        return
    if found is None:
        yield f"{side}: expected something, and there is nothing to judge"
        return
    if expected.decision is not None and found.decision != expected.decision:
        yield f"{side}: expected {expected.decision}, got {found.decision}{_why(found)}"
    for category, wanted in expected.categories.items():
        got = found.categories.get(category)
        for name, want in (("filtered", wanted.filtered), ("detected", wanted.detected)):
            have = getattr(got, name, None)
            if want is not None and have != want:
                yield f"{side}: expected {category} {name}={_json(want)}, got {_json(have)}"
        severity = got.severity if got is not None else None
        if wanted.min_severity is not None and (severity is None or severity < wanted.min_severity):
            yield f"{side}: expected {category} severity of at least {wanted.min_severity}, got {_json(severity)}"
        if wanted.max_severity is not None and (severity is None or severity > wanted.max_severity):
            yield f"{side}: expected {category} severity of at most {wanted.max_severity}, got {_json(severity)}"
    for name in expected.blocklists:
        if name not in found.blocklists:
            yield f"{side}: expected the blocklist {name} to match"


def _why(found: FoundSide) -> str:
    """What led to a decision, or came nearest to another one."""
    told = [
        f"{category} {each.severity}" if category in HARMS else str(category)
        for category, each in found.categories.items()
        if each.filtered or each.detected or (each.severity or 0) > 1
    ]
    told += [f"blocklist {name}" for name, filtered in found.blocklists.items() if filtered]
    told += [found.error] if found.error is not None else []
    return f" ({', '.join(told)})" if told else ""


def _json(value: bool | int | None) -> str:
    return "nothing" if value is None else str(value).lower()
