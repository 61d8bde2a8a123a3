"""Every threshold of every category, measured on cases of which is known what must be filtered.

Each text is judged once, by the engine and the rules that judge traffic, with all that blocks taken out: so a prompt has its
seams, a completion is cut into the policy's windows, and several classifiers are combined as the policy says. What a case
comes to in a category is the highest severity of its texts.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Literal, TypeVar

import numpy as np

from safety_proxy.classifiers.base import Classifier
from safety_proxy.dialects.evaluation import read_evaluation
from safety_proxy.dialects.moderations import NAMES
from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError, RequestError
from safety_proxy.harness.cases import DECISIONS, Case, ExpectedSide
from safety_proxy.harness.figures import FOUND, THRESHOLDS, WRITABLE, Curve, Row, average_precision, curve, rows, suggested
from safety_proxy.harness.sweep_truth import truths
from safety_proxy.model import HARMS, Category, Prompt, Verdict
from safety_proxy.moderation import Judged
from safety_proxy.policy import Policy, Rules
from safety_proxy.rule import Outcome, Rule, applies

_AT_ONCE: Final = 8
"""Cases that are judged at a time, while distant classifiers are waited for."""

SideName = Literal["input", "output"]
_Rules = TypeVar("_Rules", bound=Rules)
_Item = TypeVar("_Item")

_SCORES: Final[Mapping[str, tuple[Category, ...]]] = {
    **{category.value: (category,) for category in Category},
    **NAMES,
    "malicious": (Category.JAILBREAK, Category.INDIRECT_ATTACK),
    "injection": (Category.INDIRECT_ATTACK,),
}
"""What classifiers call their scores: as we call the categories, as OpenAI does, as Prompt Guard does."""


@dataclass(frozen=True, slots=True)
class CategorySweep:
    """One category on one side."""

    side: SideName
    category: Category
    block_at: int | None
    """The threshold that the policy has now; 1 of a detection. None: it only annotates."""
    wanted: int
    """Cases that must be filtered for it."""
    others: int
    """Cases that must not; the benign ones among them."""
    benign: int
    """Cases that must not be filtered for anything."""
    undecided: int
    """Cases that were left out, since there was no verdict."""
    rows: tuple[Row, ...]
    curve: Curve | None
    """By scores if there are any, else by severities. None: no case must be filtered."""
    by: Literal["scores", "severities"]
    auprc: float | None
    """Area under `curve`."""
    auprc_of_severities: float | None
    suggested: Row | None
    """What the target of over-blocking allows; see `safety_proxy.harness.figures.suggested`."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was measured."""

    policy: str
    """Its identity."""
    classifiers: tuple[str, ...]
    """Their identities."""
    target: float
    """The highest over-blocking that is suggested, 0-1."""
    judged: int
    """Cases that say of a category whether it must be filtered, and were judged."""
    left_out: Mapping[str, int]
    """How many cases were not, by reason."""
    categories: tuple[CategorySweep, ...]


@dataclass(slots=True)
class _Samples:
    """What is known of one category on one side: an entry for each case."""

    values: list[float] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    wanted: list[bool] = field(default_factory=list)
    benign: list[bool] = field(default_factory=list)
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What the texts of a case come to in one category."""

    value: int
    score: float | None
    open: bool = False
    """There was no verdict on some of them."""


# ------------------------------------------------------------------------------------------------------------- judging


async def sweep(
    policy: Policy, classifiers: Mapping[str, Classifier], cases: Iterable[Case], *, target: float = 0.01
) -> Sweep:
    """Measure *policy* with these *classifiers*, by name. *target* (0-1): the over-blocking that may be suggested.

    Raises `ConfigError` if the policy cannot be enforced, or a case makes no sense. Without a case that tells anything
    there are no categories.
    """
    sweeper = _Sweeper(policy, classifiers)
    for batch in _batches(cases, _AT_ONCE):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sweeper.judge(case)) for case in batch]
        for task in tasks:
            if (mistake := task.result()) is not None:
                raise mistake
    return sweeper.result(target)


class _Sweeper:
    def __init__(self, policy: Policy, classifiers: Mapping[str, Classifier]) -> None:
        self._policy = policy
        self._rules: Mapping[SideName, Rules] = {"input": policy.input, "output": policy.output}
        self._engine = Engine(
            [replace(policy, input=without_blocks(policy.input), output=without_blocks(policy.output))], classifiers
        )
        self._samples: defaultdict[tuple[SideName, Category], _Samples] = defaultdict(_Samples)
        self._left_out: Counter[str] = Counter()
        self._judged = 0

    async def judge(self, case: Case) -> ConfigError | None:
        """Take one more; what is wrong with it, if anything is."""
        expected: dict[SideName, ExpectedSide | None] = {"input": case.input, "output": case.output}
        sides = {side: told for side, said in expected.items() if said is not None and (told := self._told(side, said))}
        if reason := self._unfit(case, sides):
            self._left_out[reason] += 1
            return None
        try:
            for side, (known, benign) in sides.items():
                judged = await (self._judge_input(case) if side == "input" else self._judge_output(case))
                self._take(side, known, judged, benign=benign)
        except RequestError as error:
            if error.code not in DECISIONS:
                return ConfigError(error.message, file=case.place, field=error.field)
            self._left_out[f"cannot be judged ({error.code})"] += 1
        else:
            self._judged += 1
        return None

    def _told(self, side: SideName, expected: ExpectedSide) -> tuple[dict[Category, bool], bool] | None:
        """As `truths`, of the categories that the policy has a rule for; None if there are none."""
        rules = self._rules[side].categories
        known, benign = truths(expected, rules)
        known = {category: wanted for category, wanted in known.items() if category in rules}
        return (known, benign) if known else None

    def _unfit(self, case: Case, sides: Collection[SideName]) -> str | None:
        if case.policy is not None and case.policy != self._policy.name:
            return "about another policy"
        if not sides:
            return "not said what must be filtered of a category that the policy has a rule for"
        # What a case makes classifiers say tells nothing of the classifiers.
        return "verdicts of its own" if case.verdicts is not None else None

    async def _judge_input(self, case: Case) -> list[Judged]:
        prompt = read_evaluation(dict(case.body)).prompt or Prompt(())
        judged = (await self._engine.examine_prompt(prompt)).judged
        if self._policy.input.history == "block":
            return [*judged]
        # What stands there is not held against the prompt, and a seam that begins there may show nothing else.
        return [each for each in judged if each.text is None or not (each.text.history or each.text.from_history)]

    async def _judge_output(self, case: Case) -> list[Judged]:
        asked = read_evaluation(dict(case.body))
        background = self._engine.background(asked.prompt or Prompt(()))
        judged: list[Judged] = []
        for chunk in asked.choices:
            await self._engine.moderate_answer([chunk], choices=1, background=background, witness=judged.extend)
        return judged

    def _take(self, side: SideName, known: Mapping[Category, bool], judged: Sequence[Judged], *, benign: bool) -> None:
        for category, wanted in known.items():
            found = _found(self._rules[side].categories[category], judged)
            if found is None and not wanted:
                continue  # where nobody looks, nothing is blocked; that is no merit
            found = found or _Found(0, 0.0)  # but what should have been found there was missed
            samples = self._samples[side, category]
            if found.open:
                samples.undecided += 1
                continue
            samples.values.append(found.value)
            samples.scores.append(found.score)
            samples.wanted.append(wanted)
            samples.benign.append(benign)

    def result(self, target: float) -> Sweep:
        """All that was measured so far."""
        measured = []
        for side, rules in self._rules.items():
            for category, rule in rules.categories.items():
                if (samples := self._samples.get((side, category))) is not None:
                    measured.append(_measured(side, rule, samples, target))
        left_out = dict(self._left_out)
        return Sweep(self._policy.identity, self._engine.classifiers, target, self._judged, left_out, tuple(measured))


def without_blocks(rules: _Rules) -> _Rules:
    """The same rules, of which none blocks, so that every text is judged to its end. Lists of a store are not searched."""
    categories = {category: replace(rule, block=False) for category, rule in rules.categories.items()}
    lists = {name: replace(each, block=False) for name, each in rules.blocklists.items() if not each.stored}
    return replace(rules, categories=categories, blocklists=lists, block_other_lists=False)


def _found(rule: Rule, judged: Iterable[Judged]) -> _Found | None:
    """None: nobody looks for the category in texts such as these."""
    values: list[int] = []
    scores: list[float | None] = []
    missing = False
    for each in judged:
        if applies(rule.category, each.query.kind):
            annotation, reason = rule.judge(each.outcomes)
            missing = missing or reason is not None
            if annotation is not None:
                values.append(annotation.severity if annotation.severity is not None else int(annotation.detected or False))
                scores.append(_score(rule, each.outcomes))
    if not values:
        return _Found(0, None, open=True) if missing else None
    told = [score for score in scores if score is not None]
    return _Found(max(values), max(told) if len(told) == len(scores) else None, open=missing)


def _score(rule: Rule, outcomes: Mapping[str, Outcome]) -> float | None:
    """The probability that a classifier gives the category. Of several classifiers there is no common one."""
    telling = [said for name, said in outcomes.items() if rule.counts(name) and isinstance(said, Verdict)]
    telling = [said for said in telling if said.reports(rule.category)]
    if len(telling) != 1:
        return None
    return max((s for name, s in telling[0].scores.items() if rule.category in _SCORES.get(name, ())), default=None)


def _measured(side: SideName, rule: Rule, samples: _Samples, target: float) -> CategorySweep:
    values, wanted = np.array(samples.values, dtype=np.float64), np.array(samples.wanted, dtype=np.bool_)
    benign = np.array(samples.benign, dtype=np.bool_)
    measured = rows(values, wanted, benign, THRESHOLDS if rule.category in HARMS else (FOUND,))
    writable = [each for each in measured if each.threshold in WRITABLE or rule.category not in HARMS]
    scores = [score for score in samples.scores if score is not None]
    scored = bool(scores) and len(scores) == len(samples.scores)
    by_severities = curve(values, wanted)
    best = curve(np.array(scores, dtype=np.float64), wanted) if scored else by_severities
    threshold = rule.threshold if rule.category in HARMS else FOUND
    return CategorySweep(
        side=side,
        category=rule.category,
        block_at=threshold if rule.block else None,
        wanted=int(wanted.sum()),
        others=int((~wanted).sum()),
        benign=int(benign.sum()),
        undecided=samples.undecided,
        rows=measured,
        curve=best,
        by="scores" if scored else "severities",
        auprc=average_precision(best),
        auprc_of_severities=average_precision(by_severities),
        suggested=suggested(writable, target),
    )


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
