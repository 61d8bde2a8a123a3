"""What a run of cases needs, in a form that travels: to other processes, and to other machines.

No secret is in it: a configuration file travels as it is written, and ``${NAME}`` and ``key: {file: ...}`` are filled in
where the cases are judged, from the environment and the files that are there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from safety_proxy import policy_file
from safety_proxy.assembly import build_classifier
from safety_proxy.classifiers.base import Classifier, LocalClassifier
from safety_proxy.classifiers.fallback import WithFallback
from safety_proxy.documents import Document, parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.classifiers import settings_for
from safety_proxy.harness.desk import Job
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.recording import Recorder, Recording
from safety_proxy.harness.runner import CUTTINGS, Runner
from safety_proxy.jsontext import as_object
from safety_proxy.policy import Policy
from safety_proxy.settings_classifiers import ClassifierSettings

AT_ONCE: Final = 8
"""Cases that a process judges at the same time if a service is asked: more would only wait for a place there."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that travels."""

    file: str
    """What it is called, in errors; a configuration's secrets are found beside it."""
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Source:
        """The file at *path*. Raises `ConfigError`."""
        try:
            return cls(str(path), path.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None

    def document(self) -> Document:
        """As YAML. Raises `ConfigError`."""
        try:
            return parse(self.content.decode(), self.file)
        except UnicodeDecodeError as error:
            line = self.content.count(b"\n", 0, error.start) + 1
            raise ConfigError("is not UTF-8", file=self.file, line=line) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """How cases are judged. Called, it makes the `Bench` for it; raises `ConfigError`."""

    policies: tuple[Source, ...]
    """A job names one by its place."""
    config: Source | None = None
    """Configuration file; nothing of it counts but the classifiers that the policies name."""
    cuttings: int = CUTTINGS
    seed: int = 0
    processes: int = 1
    """How many share a service's rate."""
    record: Path | None = None
    """Record verdicts there, inside `safety_proxy.harness.recording.recording_to`."""
    replay: Source | None = None
    """A recording (`Recording.read`), whose verdicts stand for all classifiers."""

    def __call__(self) -> Bench:
        """In the process that judges, which must have the variables that the configuration names."""
        return Bench(self, os.environ)


class Bench:
    """Judges cases by a plan. A classifier that cannot be had is missed by the first case that needs it."""

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        policies = [policy_file.load(each.document()) for each in plan.policies]
        self._staff = _Staff(plan, policies, environ)
        self._runners = [
            Runner(policy, self._staff.of(policy), cuttings=plan.cuttings, seed=plan.seed) for policy in policies
        ]
        self.at_once = AT_ONCE if self._staff.waits else 1

    async def run(self, job: Job, /) -> Outcome:
        """What is decided on a case. Raises `ConfigError` if it cannot be judged, or not by what is recorded."""
        runner = self._runners[job.policy]
        if job.case.verdicts is None:
            self._staff.require(runner.policy)
        outcome = await runner.run(job.case)
        self._staff.check(job.case)
        return outcome

    async def close(self) -> None:
        """Let go of the classifiers, and of the recording."""
        await self._staff.close()


class _Staff:
    """The classifiers that *policies* name, each with its stand-in, and on tape if the plan says so."""

    def __init__(self, plan: Plan, policies: Sequence[Policy], environ: Mapping[str, str]) -> None:
        self._recorder = Recorder(plan.record) if plan.record is not None else None
        self._recording = Recording(plan.replay.content, plan.replay.file) if plan.replay is not None else None
        self._workers, self._environ = plan.processes, environ
        self._document = plan.config.document() if plan.config is not None else Document("", {})
        self._bare: dict[str, Classifier] = {}
        self._made: dict[str, Classifier] = {}
        self._missing: dict[str, ConfigError] = {}
        for name in dict.fromkeys(name for policy in policies for name in policy.classifiers):
            try:
                self._made[name] = self._make(name, [policy for policy in policies if name in policy.classifiers])
            except ConfigError as error:
                self._missing[name] = error
        live = plan.replay is None and any(not isinstance(each, LocalClassifier) for each in self._bare.values())
        self.waits = live
        """A service is asked."""

    def of(self, policy: Policy) -> dict[str, Classifier]:
        """Those that *policy* names and that are there, by name."""
        return {name: self._made[name] for name in policy.classifiers if name in self._made}

    def require(self, policy: Policy) -> None:
        """Raise `ConfigError`, which tells why, if a classifier that *policy* names is not there."""
        for name in policy.classifiers:
            if name in self._missing:
                raise self._missing[name]

    def check(self, case: Case) -> None:
        """Raise `ConfigError` if something could not be recorded, or was not, that *case* asked for."""
        for tape in (self._recorder, self._recording):
            if tape is not None:
                tape.check(case)

    async def close(self) -> None:
        """Let go of connections and files."""
        for classifier in self._bare.values():
            await classifier.close()
        if self._recorder is not None:
            self._recorder.close()

    def _make(self, name: str, naming: Sequence[Policy]) -> Classifier:
        written = as_object(as_object(self._document.content.get("classifiers")).get(name))
        settings = self._settings([replace(policy, classifiers=(name,)) for policy in naming])
        primary = self._bare_one(name, settings)
        standin = written.get("fallback")
        return WithFallback(primary, self._bare_one(standin, settings)) if isinstance(standin, str) else primary

    def _settings(self, naming: Sequence[Policy]) -> Mapping[str, ClassifierSettings]:
        """Those of one classifier and its stand-in. None, if they are recorded: then the variables need not be there."""
        try:
            return settings_for(naming, self._document, self._environ)
        except ConfigError:
            if self._recording is None:
                raise
            return {}

    def _bare_one(self, name: str, settings: Mapping[str, ClassifierSettings]) -> Classifier:
        """One without its stand-in, whose failures are recorded as they are. It is made once."""
        if name not in self._bare:
            if self._recording is not None and name not in settings:
                self._bare[name] = self._recording.classifier(name)
            else:
                live = build_classifier(name, settings[name], workers=self._workers)
                tape = self._recorder or self._recording
                self._bare[name] = live if tape is None else tape.wrap(live)
        return self._bare[name]
