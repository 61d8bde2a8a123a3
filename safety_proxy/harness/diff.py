"""What two policies decide differently on the same cases: counted by group, with examples that say why.

Both judge by the same verdicts: what one policy's classifiers were asked is not asked again for the other.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from safety_proxy.classifiers.base import Classifier
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.classifiers.cache import MemoryStore, VerdictCache
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.diff_reasons import Rulebook, reasons
from safety_proxy.harness.diff_rules import Change, Direction, changes
from safety_proxy.harness.outcome import FoundSide, Outcome
from safety_proxy.harness.runner import Runner
from safety_proxy.policy import Policy

DIRECTIONS: Final[tuple[Direction, ...]] = ("looser", "stricter", "changed")
"""In the order of a report: what got looser comes first."""
EXAMPLES: Final = 5
"""Default for the examples of a group: enough to see what they have in common."""

_AT_ONCE: Final = 8
"""Cases that are judged at a time, while distant classifiers are waited for."""
_REMEMBERED: Final = 64 * 2**20
_FOR_EVER: Final = 1e9

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Difference:
    """One side of one case, which two policies decide differently."""

    place: str
    """``file:line`` of the case."""
    name: str
    side: str
    """input or output."""
    before: str
    """What the first policy decides; see `safety_proxy.harness.cases.DECISIONS`."""
    after: str
    """What the second one decides."""
    groups: tuple[str, ...]
    """The categories, or what else, that account for it."""
    why: str
    """What was found and what each policy makes of it. No words of a text are in it."""

    @property
    def direction(self) -> Direction:
        """looser: what was held passes. stricter: what passed is held. changed: it is held in another way."""
        if self.after == "allow":
            return "looser"
        return "stricter" if self.before == "allow" else "changed"

    def __str__(self) -> str:
        name = "".join(char if char.isprintable() else " " for char in self.name)
        return f'{self.place}  "{name}"  {self.side}: {self.before} -> {self.after} ({self.why})'


@dataclass(slots=True)
class Group:
    """The differences of one side, category and direction."""

    count: int = 0
    examples: list[Difference] = field(default_factory=list)
    """The first of them, in the order of the cases."""


@dataclass(slots=True)
class Diff:
    """What two policies decide differently."""

    a: str
    b: str
    """Their identities."""
    rules: tuple[Change, ...] = ()
    """The keys that they differ in. Empty, too, if their rules are not known."""
    kept: int = EXAMPLES
    cases: int = 0
    different: int = 0
    """Cases with at least one side that is decided differently."""
    directions: Counter[Direction] = field(default_factory=Counter)
    """Cases by direction; one whose sides go in two directions counts for both."""
    groups: dict[tuple[Direction, str, str], Group] = field(default_factory=dict)
    """By direction, side and category. A difference counts in each category that accounts for it."""
    first_looser: Difference | None = None

    @property
    def looser(self) -> bool:
        """The second policy lets anything pass that the first one does not."""
        return self.first_looser is not None

    def add(self, differences: Sequence[Difference]) -> None:
        """One more case, with what is different in it."""
        self.cases += 1
        self.different += bool(differences)
        self.directions.update({each.direction for each in differences})
        for each in differences:
            if each.direction == "looser" and self.first_looser is None:
                self.first_looser = each
            for name in each.groups:
                group = self.groups.setdefault((each.direction, each.side, name), Group())
                group.count += 1
                if len(group.examples) < self.kept:
                    group.examples.append(each)

    def in_order(self) -> Iterator[tuple[tuple[Direction, str, str], Group]]:
        """The groups: what got looser first, and the largest first."""

        def rank(item: tuple[tuple[Direction, str, str], Group]) -> tuple[int, int, str, str]:
            (direction, side, name), group = item
            return DIRECTIONS.index(direction), -group.count, side, name

        yield from sorted(self.groups.items(), key=rank)


class Comparison:
    """Two policies that judge the same cases with the same *classifiers*, by name.

    Raises `ConfigError` if one of them cannot be enforced.
    """

    def __init__(self, a: Policy, b: Policy, classifiers: Mapping[str, Classifier], *, examples: int = EXAMPLES) -> None:
        self._cache = VerdictCache(MemoryStore(_REMEMBERED, _FOR_EVER), secret=secrets.token_bytes(32), shared=True)
        kept = {n: c if isinstance(c, BlocklistClassifier) else self._cache.wrap(c) for n, c in classifiers.items()}
        # How a completion is cut changes no decision of a policy (`policy test` sees to that): it is judged whole.
        self._a, self._b = Runner(a, kept, cuttings=0), Runner(b, kept, cuttings=0)
        self.diff = Diff(a.identity, b.identity, changes(a, b), examples)
        self._rules = {side: Rulebook.of(side, a, b, self.diff.rules) for side in ("input", "output")}

    async def run(self, cases: Iterable[Case], *, skipped: Counter[str] | None = None) -> Diff:
        """What the policies decide differently on *cases*, whatever those expect.

        Raises `ConfigError` for the first case that makes no sense; with *skipped*, it is counted there, and left out.
        """
        try:
            for batch in _batches(iter(cases), _AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._judge(case)) for case in batch]
                for judged in (task.result() for task in tasks):
                    if not isinstance(judged, ConfigError):
                        self.diff.add(judged)
                    elif skipped is not None:
                        skipped[judged.message] += 1
                    else:
                        raise judged
        finally:
            await self._cache.close()
        return self.diff

    async def _judge(self, case: Case) -> list[Difference] | ConfigError:
        try:
            one, other = await self._a.run(case), await self._b.run(case)
        except ConfigError as error:
            return error
        return differences(one, other, self._rules)


def differences(one: Outcome, other: Outcome, rules: Mapping[str, Rulebook]) -> list[Difference]:
    """The sides of a case that are decided differently in its two outcomes."""
    sides = (("input", one.input, other.input), ("output", one.output, other.output))
    found = (difference(one.case.place, one.case.name, *side, rules[side[0]]) for side in sides)
    return [each for each in found if each is not None]


def difference(
    place: str, name: str, side: str, one: FoundSide | None, other: FoundSide | None, rules: Rulebook
) -> Difference | None:
    """What is different between what was found on a side, if anything is. What only one of them judged is not."""
    if one is None or other is None or one.decision == other.decision:
        return None
    why = reasons(one, other, rules)
    groups, words = tuple(each.group for each in why), "; ".join(dict.fromkeys(each.words for each in why))
    return Difference(place, name, side, one.decision, other.decision, groups, words)


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while batch := list(islice(items, size)):
        yield batch
