"""One run of cases for ``safety-proxy policy test``: cases in, reports out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import click

from safety_proxy.cli_common import STANDARD, command_line, now, report_file
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.dask_pool import run_on_dask
from safety_proxy.harness.desk import Job
from safety_proxy.harness.html import render
from safety_proxy.harness.html_summary import report as to_page
from safety_proxy.harness.imports import open_cases
from safety_proxy.harness.outcome import Outcome
from safety_proxy.harness.plan import Plan
from safety_proxy.harness.pool import run_cases
from safety_proxy.harness.progress import Progress
from safety_proxy.harness.reports import GitHub, JSONReport, JUnit, Report, Table
from safety_proxy.harness.summary import Summary
from safety_proxy.policy import Policy


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases, and how they are read."""

    paths: tuple[str, ...]
    format: str | None
    columns: Mapping[str, str]
    side: Literal["input", "output"]
    tags: frozenset[str]

    def read(self, skipped: Counter[str]) -> Iterator[Case]:
        """The cases, one after the other. Raises `ConfigError`."""
        for path in self.paths:
            cases = open_cases(
                Path(path),
                format=self.format,
                columns=self.columns,
                side=self.side,
                stdin=sys.stdin if path == STANDARD else None,
                skipped=skipped,
            )
            yield from (case for case in cases if not self.tags or case.tags & self.tags)


class Run:
    """One run: cases in, reports out."""

    def __init__(
        self,
        policies: Sequence[Policy],
        wanted: Wanted,
        plan: Plan,
        reports: Sequence[tuple[str, str]],
        *,
        fail_fast: bool,
    ) -> None:
        self._policies, self._wanted, self._plan, self._fail_fast = policies, wanted, plan, fail_fast
        self._written = reports
        self._skipped: Counter[str] = Counter()
        self._summaries = {each.identity: Summary(each.identity) for each in policies}
        aside = any(file == STANDARD for _, file in reports)
        self._out: TextIO = sys.stderr if aside else sys.stdout

    def run(self, engine: str, scheduler: str | None) -> list[Summary]:
        """Run all cases, and tell. Raises `ConfigError` if there is none."""
        with ExitStack() as files:
            reports = [
                self._table(),
                *(self._report(kind, files.enter_context(report_file(file))) for kind, file in self._files()),
            ]
            pages = [files.enter_context(report_file(file)) for kind, file in self._written if kind == "html"]
            progress = Progress(sys.stderr, self._total())
            with closing(self._outcomes(engine, scheduler)) as outcomes:
                for outcome in outcomes:
                    self._take(outcome, reports, progress)
                    if self._fail_fast and not outcome.passed:
                        break
            progress.clear()
            summaries = list(self._summaries.values())
            if not any(each.total for each in summaries):
                raise ConfigError("no case was run: none is about these policies, or has one of these tags")
            for report in reports:
                report.end(summaries)
            for page in pages:
                page.write(render(to_page(summaries, title="Policy test", generated=now(), command=command_line())))
        self._tell_of_skipped()
        return summaries

    def _take(self, outcome: Outcome, reports: Sequence[Report], progress: Progress) -> None:
        self._summaries[outcome.policy].add(outcome)
        if not outcome.passed:
            progress.clear()
        for report in reports:
            report.add(outcome)
        progress.step(passed=outcome.passed)

    def _files(self) -> list[tuple[str, str]]:
        return [(kind, file) for kind, file in self._written if kind != "html"]

    def _table(self) -> Report:
        return Table(self._out, lambda text, colour: click.style(text, fg=colour) if self._out.isatty() else text)

    def _report(self, kind: str, out: TextIO) -> Report:
        if kind == "json":
            return JSONReport(out)
        return JUnit(out) if kind == "junit" else GitHub(out)

    def _outcomes(self, engine: str, scheduler: str | None) -> Generator[Outcome, None, None]:
        jobs = self._jobs()
        if engine == "dask":
            return run_on_dask(jobs, self._plan, scheduler=scheduler or "")
        return run_cases(jobs, self._plan, processes=self._plan.processes)

    def _jobs(self) -> Iterator[Job]:
        """Each case with each policy that it is about: policy by policy, each in the order of the cases."""
        once = [*self._wanted.read(self._skipped)] if STANDARD in self._wanted.paths else None
        for number, policy in enumerate(self._policies):
            cases = self._wanted.read(self._skipped if number == 0 else Counter()) if once is None else iter(once)
            yield from (Job(case, number) for case in cases if case.policy in {None, policy.name})

    def _total(self) -> int | None:
        """How many there are, if somebody watches; a table of many takes a moment to be counted."""
        if STANDARD in self._wanted.paths or not sys.stderr.isatty():
            return None
        names = [policy.name for policy in self._policies]
        return sum(names.count(case.policy) if case.policy else len(names) for case in self._wanted.read(Counter()))

    def _tell_of_skipped(self) -> None:
        for reason, count in sorted(self._skipped.items()):
            self._out.write(f"{count} skipped: {reason}\n")
