"""What is filtered: the rules of a policy, and the one function that turns verdicts into a decision.

A `Policy` has `Rules` for each side, prompts and completions. `decide` applies them to what the classifiers said of one
text: harm beats failure, and failure beats safe. A classifier that failed is an input like any other, so `decide` never
raises, and what nobody judged is never taken for safe. `strictest` joins decisions, of several texts or several policies.

Policies are made by `safety_proxy.policy_file.load`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias

from safety_proxy.documents import Document
from safety_proxy.errors import ClassifierError
from safety_proxy.model import (
    ALLOWED,
    Action,
    Annotation,
    Category,
    Decision,
    JSONObject,
    Kind,
    PromptText,
    Verdict,
)
from safety_proxy.rule import Outcome, Rule, applies

Reports: TypeAlias = Callable[[Kind], frozenset[Category]]
"""What a classifier reports of a text of a kind: `Classifier.reports`."""

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
"""The roles that a policy may leave out. A text of any other role is always judged: a role is no pass."""

LONGEST_STORED: Final = 128
"""Positions of the longest term that a blocklist of the store takes: Azure's limit for the text of an item."""

# --------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Blocklist:
    """Terms and patterns of the policy's own; the classifier of type ``blocklist`` searches for them."""

    name: str
    terms: tuple[str, ...] = ()
    """Found as whole words in the normalised text."""
    patterns: tuple[str, ...] = ()
    """RE2 syntax."""
    block: bool = True
    """False: annotate only."""
    exceptions: tuple[str, ...] = ()
    """Phrases in which a match does not count."""
    stored: bool = False
    """Its terms are kept in the store, under its name; it has none here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one side. A category without a rule is off."""

    categories: Mapping[Category, Rule]
    blocklists: Mapping[str, Blocklist] = field(default_factory=dict)
    fail_open: bool = False
    """Let the text pass when a blocklist was not searched. (Categories have their own word in `Rule`.)"""
    classifiers: tuple[str, ...] = ()
    """Whom to ask about texts of this side: every classifier that counts for one of the rules."""
    conversation: Literal["none", "last_user", "all"] = "none"
    """What classifiers that judge a conversation are told of it."""
    block_other_lists: bool = True
    """Filter what matches a list that a classifier brings along: who names such a classifier wants its lists heeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRules(Rules):
    """The rules for prompts."""

    roles: frozenset[str] = frozenset(ROLES)
    """Whose texts are judged."""
    history: Literal["block", "annotate"] = "block"
    """What a violation before the last user turn leads to."""
    unreadable: Literal["block", "allow"] = "block"
    """What becomes of content that no classifier can read."""
    block_as: Literal["error", "completion"] = "error"
    """What a filtered prompt is answered with: an error, or a completion without text."""
    parallel: bool = False
    """Call the backend while the prompt is being judged."""

    def of(self, text: PromptText) -> Rules | None:
        """The rules to decide *text* by. None: texts of its role are not judged."""
        if text.role in ROLES and text.role not in self.roles:
            return None
        return annotating(self) if text.history and self.history == "annotate" else self


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How a completion is cut into windows (positions on the axis of its choice) and how it is sent."""

    mode: Literal["buffered", "whole", "asynchronous"] = "buffered"
    first_window: int = 80
    window: int = 120
    context: int = 180
    holdback: int = 50
    in_flight: int = 8
    heartbeat: float | None = 15.0
    """Seconds of silence after which an empty delta is sent. None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules(Rules):
    """The rules for completions."""

    stream: StreamRules = field(default_factory=StreamRules)
    needed_holdback: int = 0
    """Length of the longest blocklist term in positions. Under a policy's own numbers it never exceeds the holdback, where
    text is held; who combines these rules with another policy's numbers must see to it."""


def annotating(rules: Rules) -> Rules:
    """The same rules, of which none filters or fails a text."""
    return replace(
        rules,
        categories={category: replace(rule, block=False) for category, rule in rules.categories.items()},
        blocklists={name: replace(blocklist, block=False) for name, blocklist in rules.blocklists.items()},
        block_other_lists=False,
    )


# ------------------------------------------------------------------------------------------------------------ decisions


def decide(rules: Rules, outcomes: Mapping[str, Outcome], kind: Kind) -> Decision:
    """What becomes of one text of *kind*, given what each classifier (by name) said of it. Pure and total.

    An error without categories leaves every category open: whoever asks a classifier narrows its errors to what it
    reports. A category that has a rule and of which nobody said anything failed with ``missing_category``.
    """
    annotations: dict[Category, Annotation] = {}
    enforced: list[str] = []
    tolerated: list[str] = []
    for category, rule in rules.categories.items():
        if not applies(category, kind):
            continue
        annotation, reason = rule.judge(outcomes)
        if annotation is not None:
            annotations[category] = annotation
        if reason is not None:
            (enforced if rule.block and not rule.fail_open else tolerated).append(reason)
    matched: dict[str, bool] = {}
    for name, blocklist in rules.blocklists.items():
        found = [outcome.blocklists[name] for outcome in _verdicts(outcomes) if name in outcome.blocklists]
        if any(found):
            matched[name] = blocklist.block
        if not found and kind is not Kind.IMAGE:  # there are no words in it to be searched for
            (enforced if blocklist.block and not rules.fail_open else tolerated).append(_unsearched(outcomes))
    for outcome in _verdicts(outcomes):
        others = (name for name, found in outcome.blocklists.items() if found and name not in rules.blocklists)
        matched |= dict.fromkeys(others, rules.block_other_lists)
    if any(annotation.filtered for annotation in annotations.values()) or any(matched.values()):
        action = Action.FILTER
    else:
        action = Action.FAIL if enforced else Action.ALLOW
    return Decision(action, annotations, matched, min(enforced or tolerated, default=None))


def _verdicts(outcomes: Mapping[str, Outcome]) -> Iterable[Verdict]:
    return (outcome for outcome in outcomes.values() if isinstance(outcome, Verdict))


def _unsearched(outcomes: Mapping[str, Outcome]) -> str:
    """Why a blocklist was not searched: the reason of a failure that is not about certain categories, if there is one."""
    errors = (outcome for outcome in outcomes.values() if isinstance(outcome, ClassifierError))
    return min((error.reason for error in errors if not error.categories), default="missing_category")


_STRICTNESS: Final[Mapping[Action, int]] = {Action.ALLOW: 0, Action.FAIL: 1, Action.FILTER: 2}


def strictest(decisions: Iterable[Decision]) -> Decision:
    """All of *decisions* taken together: FILTER beats FAIL beats ALLOW, and no annotation is lost.

    A join: neither order nor repetition matters, and `ALLOWED` adds nothing. Of several reasons the alphabetically first
    is kept.
    """
    joined = ALLOWED
    for decision in decisions:
        joined = decision if joined is ALLOWED else _join(joined, decision)
    return joined


def _join(one: Decision, other: Decision) -> Decision:
    if other is ALLOWED:
        return one
    annotations = dict(one.annotations)
    for category, annotation in other.annotations.items():
        mine = annotations.get(category)
        annotations[category] = annotation if mine is None else _join_annotations(mine, annotation)
    blocklists = dict(one.blocklists)
    for name, filtered in other.blocklists.items():
        blocklists[name] = filtered or blocklists.get(name, False)
    action = max(one.action, other.action, key=_STRICTNESS.__getitem__)
    reasons = [reason for reason in (one.error, other.error) if reason is not None]
    return Decision(action, annotations, blocklists, min(reasons, default=None))


def _join_annotations(one: Annotation, other: Annotation) -> Annotation:
    severities = [severity for severity in (one.severity, other.severity) if severity is not None]
    findings = [detected for detected in (one.detected, other.detected) if detected is not None]
    return Annotation(one.filtered or other.filtered, max(severities, default=None), max(findings, default=None))


# --------------------------------------------------------------------------------------------------------------- policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as loaded: what is asked, what is filtered, and how it is told."""

    name: str
    description: str
    classifiers: tuple[str, ...]
    """Names of configured classifiers. The policy's own blocklists come without one."""
    input: InputRules
    output: OutputRules
    annotations: bool
    """Whether answers carry ``content_filter_results``."""
    identity: str
    """``name@`` and 12 hex digits: policies that differ in anything, defaults filled in, differ in this."""
    warnings: tuple[str, ...] = ()
    """What is allowed in the file but promises less than its writer may think. Each names file, line and field."""
    filled: JSONObject = field(repr=False, compare=False)
    document: Document = field(repr=False, compare=False)
    """What it was loaded from, for errors that are found later."""

    def to_document(self) -> JSONObject:
        """The policy in the shape of its file, with every default filled in. Loading it gives the same identity."""
        return copy.deepcopy(self.filled)

    def require(self, reports: Mapping[str, Reports]) -> None:
        """Raise `ConfigError` unless classifiers with these names, reporting this, can enforce every rule."""
        for index, name in enumerate(self.classifiers):
            if name not in reports:
                near = get_close_matches(name, reports, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"configured are: {', '.join(sorted(reports)) or 'none'}"
                message = f"no classifier named `{name}` is configured; {hint}"
                raise self.document.error(message, ("classifiers", index))
        for rule in self.input.categories.values():
            for kind in (Kind.USER_PROMPT, Kind.DOCUMENT, Kind.MESSAGE):
                self._require_rule("input", rule, kind, reports)
        for rule in self.output.categories.values():
            self._require_rule("output", rule, Kind.COMPLETION, reports)

    def _require_rule(self, side: str, rule: Rule, kind: Kind, reports: Mapping[str, Reports]) -> None:
        names = [name for name in self.classifiers if rule.classifiers is None or name in rule.classifiers]
        if not applies(rule.category, kind) or any(rule.category in reports[name](kind) for name in names):
            return
        texts = kind.value.replace("_", " ")
        raise self.document.error(
            f"cannot be enforced: of the classifiers that count for it ({', '.join(names)}) none reports it for "
            f"{texts} texts; name one that does, or write `{rule.category}: off`",
            (side, rule.category.value),
        )
