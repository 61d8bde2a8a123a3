"""Cases through the engine that serves traffic: prompts as they come, completions whole and as streams cut in many ways."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Final

from safety_proxy.classifiers.base import UNOBSERVED, Classifier, Explaining
from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.classifiers.cache import MemoryStore, VerdictCache
from safety_proxy.dialects.evaluation import Evaluation, read_evaluation
from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError, RequestError
from safety_proxy.harness.cases import DECISIONS, Case
from safety_proxy.harness.outcome import FoundSide, Outcome, faults_of
from safety_proxy.harness.replay import Replay
from safety_proxy.harness.spans import explained, found_spans
from safety_proxy.model import JSON, Category, Prompt
from safety_proxy.policy import Policy
from safety_proxy.testing import ScriptedClassifier

CUTTINGS: Final = 5
"""Default for the streams that a completion is replayed as: one of each kind."""
_REMEMBERED: Final = 32 * 2**20
"""Bytes of verdicts that are kept: the windows of a completion are the same however it is cut, and are judged once."""
_FOR_EVER: Final = 1e9


class Runner:
    """Runs cases under one policy, with these *classifiers*, by name; a case with ``verdicts`` brings its own.

    A completion is replayed as *cuttings* streams. Raises `ConfigError` if the policy cannot be enforced.
    """

    def __init__(
        self, policy: Policy, classifiers: Mapping[str, Classifier], *, cuttings: int = CUTTINGS, seed: int = 0
    ) -> None:
        self.policy = policy
        self._classifiers = dict(classifiers)
        self._cuttings, self._seed = cuttings, seed
        # Needed only by cases that bring no verdicts along; without all classifiers, there may be none of those.
        self._engine = self._make(self._classifiers) if set(policy.classifiers) <= classifiers.keys() else None

    async def run(self, case: Case) -> Outcome:
        """What is decided on *case*, and what of it is not as expected. Raises `ConfigError` if it makes no sense."""
        started = time.perf_counter()
        engine = self._engine_for(case)
        try:
            asked = read_evaluation(dict(case.body))
        except RequestError as error:
            raise ConfigError(error.message, file=case.place, field=error.field) from None
        told = await self._judge_input(engine, case, asked)
        faults = list(faults_of("input", case.input, told))
        output = None
        if asked.choices:
            background = engine.background(asked.prompt or Prompt(()))
            replay = Replay(engine, asked.choices, _said(case), background, text="prompt" in case.body)
            output = await replay.judge()
            faults += faults_of("output", case.output, output)
            faults += await replay.faults(cuttings=self._cuttings, seed=self._seed)
        return Outcome(case, self.policy.identity, told, output, tuple(faults), time.perf_counter() - started)

    async def close(self) -> None:
        """Let go of the classifiers."""
        for classifier in self._classifiers.values():
            await classifier.close()

    # ---------------------------------------------------------------------------------------------------- engines

    def _engine_for(self, case: Case) -> Engine:
        if case.verdicts is not None:
            return self._make(dict.fromkeys(self.policy.classifiers, scripted(case)), keep=False)
        if self._engine is None:
            missing = ", ".join(sorted(set(self.policy.classifiers) - self._classifiers.keys()))
            raise ConfigError(f"brings no verdicts along, and there is no classifier {missing}", file=case.place)
        return self._engine

    def _make(self, classifiers: Mapping[str, Classifier], *, keep: bool = True) -> Engine:
        explaining = {name: each for name, each in classifiers.items() if isinstance(each, Explaining)}
        if keep:
            cache = VerdictCache(
                MemoryStore(_REMEMBERED, _FOR_EVER), secret=secrets.token_bytes(32), shared=True, observer=UNOBSERVED
            )
            classifiers = {
                name: each if isinstance(each, BlocklistClassifier) else cache.wrap(each)
                for name, each in classifiers.items()
            }
        return Engine([self.policy], classifiers, explaining=explaining)

    async def _judge_input(self, engine: Engine, case: Case, asked: Evaluation) -> FoundSide | None:
        if asked.prompt is None:
            return None
        try:
            examined = await engine.examine_prompt(asked.prompt)
        except RequestError as error:
            if error.code is None or error.code not in DECISIONS:
                raise ConfigError(error.message, file=case.place, field=error.field) from None
            return FoundSide(error.code)
        judged = [await explained(engine, each) for each in examined.judged]
        spans = [span for each in judged if each.text for span in found_spans(each, each.text.field)]
        return FoundSide.of(examined.decided.decision, tuple(spans))


def _said(case: Case) -> list[JSON]:
    completion = case.body.get("completion")
    return completion if isinstance(completion, list) else [completion]


def scripted(case: Case) -> ScriptedClassifier:
    """The classifier that finds what the case says. Raises `ConfigError` for what cannot be found."""
    severities: dict[str, list[tuple[Category, int]]] = {}
    detections: dict[str, list[Category]] = {}
    errors: dict[str, str] = {}
    for phrase, finding in (case.verdicts or {}).items():
        if finding == "error":
            errors[phrase] = "timeout"
        for name, value in finding.items() if isinstance(finding, dict) else ():
            try:
                category = Category(name)
            except ValueError:
                raise ConfigError(f"no category is called {name}", file=case.place, field="verdicts") from None
            if value is True:
                detections.setdefault(phrase, []).append(category)
            elif isinstance(value, int):
                severities.setdefault(phrase, []).append((category, value))
    return ScriptedClassifier(severities, detections=detections, errors=errors)
