"""What the windows of a stream cost in delay, and what they let out: the same completions under many settings.

Each completion is streamed in pieces as of a model, through the relay and the engine that serve traffic, with every verdict
at hand at once. So what is measured is the windows alone; the time that classifiers take comes on top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from safety_proxy.classifiers.base import Classifier, Explaining, LocalClassifier
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.dialects.evaluation import read_evaluation
from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError, RequestError
from safety_proxy.events import Chunk
from safety_proxy.harness.cases import Case, ExpectedSide
from safety_proxy.harness.runner import scripted
from safety_proxy.harness.spans import found_spans
from safety_proxy.harness.stream_runs import Asking, Client, Known, Said
from safety_proxy.harness.sweep import without_blocks
from safety_proxy.model import Action, Decision, Prompt
from safety_proxy.moderation import Background, Judged
from safety_proxy.policy import OutputRules, Policy, decide, strictest

WINDOWS: Final = (40, 80, 120, 240, 480)
FIRST_WINDOWS: Final = (40, 80)
HOLDBACKS: Final = (0, 25, 50, 100)
"""The settings that are tried, in positions: all combinations in which the first window is no longer than the others."""
MOST: Final = 50
"""Choices that are streamed of those that must be filtered, and of the others. Each is streamed as often as there are
settings, which takes two seconds for 2,000 characters."""
_P95: Final = 0.95
_CHAT: Final = ChatCompletions()
_TEXT: Final = Completions()


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """How completions are cut into windows, in positions; see `safety_proxy.windows.WindowPolicy`."""

    first_window: int
    window: int
    holdback: int
    context: int


@dataclass(slots=True)
class Point:
    """What was measured under one setting."""

    setting: Setting
    own: bool = False
    """It is the policy's own."""
    delays: Counter[int] = field(default_factory=Counter)
    """How many positions were released so late: after the stream had brought so many more than when they came."""
    first: list[int] = field(default_factory=list)
    """The delay of the first text of each choice of which any was released."""
    exposed: list[int] = field(default_factory=list)
    """Of each choice that must be filtered and whose harmful spans are known: characters of them that were released."""
    stopped: int = 0
    """Choices that must be filtered, and were ended for a violation."""

    @property
    def delay(self) -> float | None:
        """The mean delay in positions. None: nothing was released."""
        total = self.delays.total()
        return sum(late * count for late, count in self.delays.items()) / total if total else None

    @property
    def delay_p95(self) -> int | None:
        """The delay that 95 % of the positions do not exceed."""
        wanted, so_far = _P95 * self.delays.total(), 0
        for late, count in sorted(self.delays.items()):
            so_far += count
            if so_far >= wanted:
                return late
        return None

    @property
    def first_delay(self) -> float | None:
        """The mean delay of the first text."""
        return sum(self.first) / len(self.first) if self.first else None

    @property
    def exposure(self) -> float | None:
        """Characters of harmful spans that were released, on average. None: of no choice are they known."""
        return sum(self.exposed) / len(self.exposed) if self.exposed else None

    @property
    def leaking(self) -> int:
        """In how many choices any such character was released."""
        return sum(map(bool, self.exposed))


@dataclass(frozen=True, slots=True)
class StreamCurve:
    """Delay against exposure."""

    mode: str
    """How the policy streams; whatever it is, what was measured is ``buffered``."""
    points: tuple[Point, ...]
    """The policy's own setting first, the others in order."""
    choices: int
    """Of completions, that were streamed."""
    wanted: int
    """Those of them that must be filtered."""
    spans_known: int
    """Those of these in which classifiers saw where the harm is."""
    undecided: int
    """Choices left out, since there was no verdict."""
    beyond: int
    """Choices left out, since there are more of their kind than `MOST`."""
    unsearched: tuple[str, ...] = ()
    """The policy's blocklists that are kept in a store."""

    @property
    def frontier(self) -> tuple[Point, ...]:
        """The points that are worth choosing: no other one has less delay and exposes no more. By delay."""
        measured = [each for each in self.points if each.delay is not None and each.exposure is not None]
        best: list[Point] = []
        for each in sorted(measured, key=lambda point: (point.delay or 0, point.exposure or 0)):
            if not best or (each.exposure or 0) < (best[-1].exposure or 0):
                best.append(each)
        return tuple(best)


def grid(output: OutputRules) -> tuple[Setting, ...]:
    """The policy's own setting, then those to try: with its context, or as much more as the holdback needs."""
    rules, least = output.stream, output.needed_holdback
    own = Setting(rules.first_window, rules.window, max(rules.holdback, least), max(rules.context, least + 1))
    holdbacks = sorted({max(holdback, least) for holdback in HOLDBACKS})
    tried = {
        Setting(first, window, holdback, max(rules.context, holdback + 1))
        for window in WINDOWS
        for first in FIRST_WINDOWS
        if first <= window
        for holdback in holdbacks
    }
    return own, *sorted(tried - {own})


async def stream_curve(policy: Policy, classifiers: Mapping[str, Classifier], cases: Iterable[Case]) -> StreamCurve:
    """Stream the completions of *cases* under each setting of `grid`.

    A case that brings verdicts along has them. Raises `ConfigError` if the policy cannot be enforced, or a case makes no
    sense.
    """
    return await _Bench(policy, classifiers).run(cases)


# ------------------------------------------------------------------------------------------------------------- engines


class _Engines:
    """One policy under many settings, with the same classifiers, or with those that a case brings along."""

    def __init__(self, policy: Policy, classifiers: Mapping[str, Classifier], settings: Sequence[Setting]) -> None:
        explaining = {name: each for name, each in classifiers.items() if isinstance(each, Explaining)}
        opened = replace(policy, output=without_blocks(policy.output))
        whole = replace(opened, output=replace(opened.output, stream=replace(opened.output.stream, mode="whole")))
        self._asking = {name: Asking(name, each) for name, each in classifiers.items()}
        self.references = tuple(Engine([each], self._asking, explaining=explaining) for each in (whole, opened))
        """Who tell where the harm is, whatever the setting: judging a choice in one piece, and as the policy cuts it."""
        known = {name: Known(each) for name, each in self._asking.items()}
        self._known = {each: Engine([_under(policy, each)], known) for each in settings}
        cuts = {(each.first_window, each.window, each.context): each for each in settings}
        distant = not all(isinstance(each, LocalClassifier) for each in classifiers.values())
        self._ahead = [Engine([_under(opened, each)], self._asking) for each in cuts.values()] if distant else []
        """For each way to cut, one that finds out all verdicts; where they are at hand, none is needed."""

    async def stream(self, said: Said, point: Point) -> Client:
        """What a client sees of a choice under the setting of *point*."""
        client = Client(said)
        await self._known[point.setting].moderate_stream(client.source(), client, choices=1, background=said.background)
        return client

    def forget(self) -> None:
        """A new choice begins, about which nothing is known."""
        for each in self._asking.values():
            each.known.clear()

    async def find_out(self, said: Said) -> None:
        """Let all verdicts be at hand."""
        for engine in self._ahead:
            client = Client(said)
            await engine.moderate_stream(client.source(), client, choices=1, background=said.background)


def _under(policy: Policy, setting: Setting) -> Policy:
    """*policy* with completions cut by *setting*."""
    stream = replace(policy.output.stream, mode="buffered", heartbeat=None, **asdict(setting))
    return replace(policy, output=replace(policy.output, stream=stream))


# ----------------------------------------------------------------------------------------------------------- measuring


class _Bench:
    def __init__(self, policy: Policy, classifiers: Mapping[str, Classifier]) -> None:
        lists = {name: each for name, each in policy.output.blocklists.items() if not each.stored}
        inputs = {name: each for name, each in policy.input.blocklists.items() if not each.stored}
        output = replace(policy.output, blocklists=lists)
        self._policy = replace(policy, input=replace(policy.input, blocklists=inputs), output=output)
        self._settings = grid(policy.output)
        self._points = [Point(each, own=i == 0) for i, each in enumerate(self._settings)]
        self._engines = _Engines(self._policy, classifiers, self._settings)
        self._streamed: Counter[bool] = Counter()
        """Choices that must be filtered, and others."""
        self._spans_known = self._undecided = self._beyond = 0
        self._unsearched = tuple(sorted(policy.output.blocklists.keys() - lists.keys()))

    async def run(self, cases: Iterable[Case]) -> StreamCurve:
        """All of them."""
        for case in cases:
            if case.policy in {None, self._policy.name} and case.body.get("completion") is not None:
                await self._take(case)
        return StreamCurve(
            mode=self._policy.output.stream.mode,
            points=tuple(self._points),
            choices=self._streamed.total(),
            wanted=self._streamed[True],
            spans_known=self._spans_known,
            undecided=self._undecided,
            beyond=self._beyond,
            unsearched=self._unsearched,
        )

    async def _take(self, case: Case) -> None:
        try:
            asked = read_evaluation(dict(case.body))
        except RequestError as error:
            raise ConfigError(error.message, file=case.place, field=error.field) from None
        engines = self._engines
        if case.verdicts is not None:
            engines = _Engines(self._policy, dict.fromkeys(self._policy.classifiers, scripted(case)), self._settings)
        background = engines.references[0].background(asked.prompt or Prompt(()))
        dialect = _TEXT if "prompt" in case.body else _CHAT
        completion = case.body["completion"]
        said = completion if isinstance(completion, list) else [completion]
        must = case.output is not None and _must(case.output)
        for chunk, text in zip(asked.choices, said, strict=True):
            if self._streamed[must] >= MOST:
                self._beyond += 1
            else:
                await self._measure(engines, chunk, Said(dialect, text, background), must=must)

    async def _measure(self, engines: _Engines, chunk: Chunk, said: Said, *, must: bool) -> None:
        engines.forget()
        harm = await _harm(engines.references, self._policy.output, chunk, said.background)
        if harm is None:
            self._undecided += 1
            return
        self._streamed[must] += 1
        self._spans_known += must and bool(harm)
        await engines.find_out(said)
        for point in self._points:
            client = await engines.stream(said, point)
            texts = [(piece, came - piece.end) for piece, came in client.released if piece.length]
            for piece, late in texts:
                point.delays[late] += piece.length
            point.first += [late for _, late in texts[:1]]
            if must:
                point.stopped += client.ended is Action.FILTER
                shown = ((name, i) for piece, _ in client.released for name, a, b in piece.places for i in range(a, b))
                point.exposed += [sum(each in harm for each in shown)] if harm else []


def _must(expected: ExpectedSide) -> bool:
    """Whether a completion must be filtered."""
    return expected.decision == "filter" or any(each.filtered for each in expected.categories.values())


async def _harm(
    engines: Iterable[Engine], rules: OutputRules, chunk: Chunk, background: Background
) -> set[tuple[str, int]] | None:
    """The characters, by channel, for which *rules* filter a choice. None: there is no verdict."""
    harm: set[tuple[str, int]] = set()
    decisions: list[Decision] = []
    for engine in engines:
        judged: list[Judged] = []
        await engine.moderate_answer([chunk], choices=1, background=background, witness=judged.extend)
        for each in judged:
            decision = decide(rules, each.outcomes, each.query.kind)
            decisions.append(decision)
            if decision.action is Action.FILTER:
                harm.update(_filtered(await engine.explain(each), decision))
    return None if strictest(decisions).action is Action.FAIL else harm


def _filtered(judged: Judged, decision: Decision) -> Iterator[tuple[str, int]]:
    """The characters of a text that a decision is about."""
    labels = {str(category) for category, found in decision.annotations.items() if found.filtered}
    labels |= {name for name, blocks in decision.blocklists.items() if blocks}
    for span in found_spans(judged, judged.query.channel):
        if span.label in labels:
            yield from ((span.field, i) for i in range(span.start, span.end))
