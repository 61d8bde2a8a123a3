"""Whom to ask about which texts, and what the answers amount to. No waiting: `safety_proxy.moderation` does that.

An `Inquiry` goes in rounds. Each tells which classifiers are wanted for which texts; their answers may make the next round
necessary, where a rule asks its classifiers one after the other (``combine: first_decisive``), or not. Each text is judged
as it stands and in its other `safety_proxy.readings`, each reading in parts that the classifier takes; what was found in
any of them was found in the text, at its place there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Final

from safety_proxy.classifiers.base import Classifier
from safety_proxy.errors import ClassifierError
from safety_proxy.model import Kind, Query, Span, Verdict
from safety_proxy.policy import Rules
from safety_proxy.readings import Reading, readings
from safety_proxy.rule import Outcome, Rule, applies
from safety_proxy.verdicts import merge, split

_UNASKED: Final = Verdict()
"""What a classifier says of something that it is not asked about."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who is asked about texts of one kind."""

    at_once: tuple[str, ...]
    chains: tuple[tuple[Rule, tuple[str, ...]], ...]
    """The cascades: a rule, and who reports its category, in the order of asking."""


class Side:
    """The rules of one side of a policy, with the classifiers whose verdicts count for them, by name."""

    def __init__(self, rules: Rules, classifiers: Mapping[str, Classifier]) -> None:
        self.rules, self.classifiers = rules, classifiers
        self._plans = {kind: self._plan(kind) for kind in Kind}
        self.reads_images = self._reads_images()
        """Whether an image is judged for all that the rules ask of one: each harm that is on has a classifier for it.

        A side without a harm asks nothing of an image, and what nobody is asked about nobody has read.
        """

    def wanted(self, kind: Kind, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
        """Who has still to be asked about a text of *kind*, given the *outcomes* so far."""
        plan = self._plans[kind]
        yield from (name for name in plan.at_once if name not in outcomes)
        for rule, chain in plan.chains:
            following = rule.next_in(chain, outcomes)
            if following is not None and following not in outcomes:
                yield following

    def everybody(self, kind: Kind) -> frozenset[str]:
        """Who may be asked about a text of *kind*."""
        plan = self._plans[kind]
        return frozenset(plan.at_once).union(*(chain for _, chain in plan.chains))

    def has_cascades(self, kind: Kind) -> bool:
        """Whether the answers of some decide whether others are asked."""
        return any(len(chain) > 1 for _, chain in self._plans[kind].chains)

    def _plan(self, kind: Kind) -> _Plan:
        applying = [rule for category, rule in self.rules.categories.items() if applies(category, kind)]
        chains = tuple((rule, self._chain(rule, kind)) for rule in applying if rule.combine == "first_decisive")
        others = [rule for rule in applying if rule.combine != "first_decisive"]
        at_once = tuple(
            name
            for name, classifier in self.classifiers.items()
            # Who reports no category at all is a blocklist.
            if not any(classifier.reports(each) for each in Kind)
            or any(rule.counts(name) and rule.category in classifier.reports(kind) for rule in others)
            or (classifier.reports(kind) and not any(name in chain for _, chain in chains))
        )
        return _Plan(at_once, chains)

    def _chain(self, rule: Rule, kind: Kind) -> tuple[str, ...]:
        named = (name for name in rule.classifiers or () if name in self.classifiers)
        return tuple(name for name in named if rule.category in self.classifiers[name].reports(kind))

    def _reads_images(self) -> bool:
        readers = {name: c for name, c in self.classifiers.items() if c.reads_images}
        asked = [rule for category, rule in self.rules.categories.items() if applies(category, Kind.IMAGE)]
        return bool(asked) and all(
            any(rule.category in c.reports(Kind.IMAGE) for name, c in readers.items() if rule.counts(name)) for rule in asked
        )


@dataclass(frozen=True, slots=True)
class Form:
    """One way to read a text, in the parts that a classifier takes."""

    reading: Reading | None
    """None: as it stands."""
    parts: list[Query]


class Inquiry:
    """What is asked about *queries* for *sides*, and what was said."""

    def __init__(self, sides: Sequence[Side], queries: Sequence[Query]) -> None:
        self._sides, self._queries = sides, queries
        self._readings = [readings(q.text, open_left=q.open_left, open_right=q.open_right) for q in queries]
        self._said: defaultdict[int, dict[int, Outcome]] = defaultdict(dict)
        """By the identity of the classifier, by the place of the query."""
        kinds = {query.kind for query in queries}
        self._cascades = any(side.has_cascades(kind) for side in sides for kind in kinds)

    def wanted(self) -> list[tuple[Classifier, list[int]]]:
        """The next round: classifiers, and the places of the queries that each is to be asked about. None: all is said."""
        if self._said and not self._cascades:
            return []
        wanted: dict[int, tuple[Classifier, dict[int, None]]] = {}
        for side in self._sides:
            for position, query in enumerate(self._queries):
                for name in side.wanted(query.kind, self.outcomes(side, position)):
                    classifier = side.classifiers[name]
                    wanted.setdefault(id(classifier), (classifier, {}))[1][position] = None
        return [(classifier, list(positions)) for classifier, positions in wanted.values()]

    def query(self, position: int) -> Query:
        """The query at *position*."""
        return self._queries[position]

    def parts(self, classifier: Classifier, positions: Iterable[int]) -> list[Query]:
        """All that *classifier* is asked about the queries at *positions*."""
        return [part for i in positions for form in self._forms(classifier, i) for part in form.parts]

    def answer(self, classifier: Classifier, positions: Iterable[int], outcomes: Sequence[Outcome]) -> None:
        """*classifier* said this, one outcome for each of `parts`."""
        rest = iter(outcomes)
        for position in positions:
            forms = self._forms(classifier, position)
            self._said[id(classifier)][position] = together(forms, rest, classifier.overlap)

    def outcomes(self, side: Side, position: int) -> dict[str, Outcome]:
        """What the classifiers of *side* said of one query."""
        return {name: self._said[id(c)][position] for name, c in side.classifiers.items() if position in self._said[id(c)]}

    def spared(self) -> Counter[str]:
        """How many texts each classifier was not asked about, because others had settled them."""
        spared: Counter[str] = Counter()
        for side in self._sides:
            for position, query in enumerate(self._queries):
                if side.has_cascades(query.kind):
                    names = side.everybody(query.kind)
                    spared.update(n for n in names if position not in self._said[id(side.classifiers[n])])
        return spared

    def _forms(self, classifier: Classifier, position: int) -> list[Form]:
        return forms_of(self._queries[position], self._readings[position], classifier)


def forms_of(query: Query, others: Sequence[Reading], classifier: Classifier) -> list[Form]:
    """What *classifier* is asked about *query*, which has the *others* as its readings.

    Nothing if there are images that it does not read.
    """
    if query.images and not classifier.reads_images:
        return []
    if query.conversation and not classifier.reads_conversation:
        query = replace(query, conversation=())
    limit, overlap = classifier.limit, classifier.overlap
    forms = [Form(None, split(query, limit, overlap))]
    for reading in others:
        read = replace(query, text=reading.text, open_left=reading.open_left, open_right=reading.open_right, images=())
        forms.append(Form(reading, split(read, limit, overlap)))
    return forms


def together(forms: Sequence[Form], outcomes: Iterator[Outcome], overlap: int) -> Outcome:
    """What was said of all parts of all readings of a text, as one outcome on the text.

    *outcomes* has one for each part of *forms*; they are taken from it, and no more.
    """
    verdicts: list[Verdict] = []
    failed: ClassifierError | None = None
    for form in forms:
        said: list[Verdict] = []
        for outcome in islice(outcomes, len(form.parts)):
            if isinstance(outcome, ClassifierError):
                failed = failed or outcome
            else:
                said.append(outcome)
        if failed is not None:
            continue  # the iterator goes on to the next text
        starts = accumulate((len(part.text) - overlap for part in form.parts[:-1]), initial=0)
        verdict = merge(said, starts)
        verdicts.append(verdict if form.reading is None else _placed(verdict, form.reading))
    if failed is not None:
        return failed
    if len(verdicts) <= 1:
        return verdicts[0] if verdicts else _UNASKED
    merged = merge(verdicts)
    return replace(merged, spans=tuple(dict.fromkeys(merged.spans)))


def _placed(verdict: Verdict, reading: Reading) -> Verdict:
    """The verdict on a reading with its spans where they are in the text."""
    spans = (Span(*reading.origin(span.start, span.end), span.label, span.weight) for span in verdict.spans)
    return replace(verdict, spans=tuple(spans))
