"""``safety-proxy policy diff``: what two policies decide differently, on cases or on recorded traffic."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import orjson

from safety_proxy.classifiers.base import Classifier
from safety_proxy.cli_common import STANDARD, command_line, load_policy, now, report_file, report_of
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, read_cases
from safety_proxy.harness.cases import read_lines as case_lines
from safety_proxy.harness.classifiers import classifiers_for
from safety_proxy.harness.diff import EXAMPLES, Comparison, Diff
from safety_proxy.harness.diff_audit import audit_cases, read_lines, shadow_diffs
from safety_proxy.harness.diff_report import document, lines, sections, skipped_lines
from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import Page
from safety_proxy.logs import configure_logging, reset_logging
from safety_proxy.policy import Policy


@click.command(
    short_help="Tell what two policies decide differently.",
    epilog="\b\nExamples:\n"
    "  safety-proxy policy diff strict ./house.yaml --cases cases/ --fail-on-looser\n"
    "  safety-proxy policy diff default strict --from-audit audit.jsonl --config proxy.yaml --report json\n"
    "  safety-proxy policy diff --shadow audit.jsonl",
)
@click.argument("named", metavar="[A B]", nargs=-1)
@click.option(
    "--cases", metavar="FILE|FOLDER", multiple=True, help="Cases, whatever they expect; - is standard input. Repeatable."
)
@click.option(
    "--from-audit",
    "audit",
    metavar="FILE",
    multiple=True,
    help="Audit log whose requests are judged again: its lines with content. Repeatable; - is standard input.",
)
@click.option(
    "--shadow",
    metavar="FILE",
    multiple=True,
    help="Audit log whose decisions are compared, the enforced and the shadow one; nothing is judged. Repeatable.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file with the classifiers that the policies name.",
)
@click.option("--fail-on-looser", is_flag=True, help="Exit status 1 if B allows anything that A does not.")
@click.option(
    "--report",
    "reports",
    metavar="FORMAT[=FILE]",
    multiple=True,
    help="json or html; without a file to standard output, and then the rest goes to standard error. Repeatable.",
)
@click.option(
    "--examples",
    metavar="N",
    type=click.IntRange(0),
    default=EXAMPLES,
    show_default=True,
    help="Differences to show of each direction, side and category.",
)
def diff(
    named: tuple[str, ...],
    *,
    config: Path | None,
    fail_on_looser: bool,
    reports: tuple[str, ...],
    examples: int,
    **sources: tuple[str, ...],
) -> None:
    """Tell what policy B decides differently from policy A: looser, stricter, or held in another way.

    A and B are files or names of shipped policies. Both judge by the same verdicts, which are asked for once. With
    --shadow they may be left out: then all policies that the log tells of are compared with their shadows.

    Exit status 1 with --fail-on-looser if anything got looser; 2 if a policy or a case is wrong, or there is no case.
    """
    asked = _Asked(named, **sources)
    written = [report_of(each, ("json", "html")) for each in reports]
    skipped = Counter[str]()
    diffs = asked.recorded(skipped, examples) if asked.shadow else [asked.judged(config, skipped, examples)]
    if not any(each.cases for each in diffs):
        raise ConfigError("; ".join(["there is no case to judge", *skipped_lines(skipped)]))
    aside = any(file == STANDARD for _, file in written)
    for line in (*(line for each in diffs for line in lines(each)), *skipped_lines(skipped)):
        click.echo(_painted(line), err=aside)
    for kind, file in written:
        with report_file(file) as out:
            out.write(_page(diffs, skipped) if kind == "html" else _json(diffs, skipped))
    looser = [(each, each.first_looser) for each in diffs if each.first_looser is not None]
    if fail_on_looser and looser:
        for each, first in looser:
            click.echo(f"{click.style('FAIL', fg='red')} {each.b} is looser than {each.a}: {first}", err=aside)
        raise click.exceptions.Exit(1)


# ----------------------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class _Asked:
    """Two policies, and what they are to judge. Raises `click.UsageError`."""

    named: tuple[str, ...]
    cases: tuple[str, ...]
    audit: tuple[str, ...]
    shadow: tuple[str, ...]

    def __post_init__(self) -> None:
        if sum(map(bool, (self.cases, self.audit, self.shadow))) != 1:
            raise click.UsageError("Give one of --cases, --from-audit and --shadow.")
        if len(self.named) != 2 and not (self.shadow and not self.named):  # noqa: PLR2004 - two policies
            raise click.UsageError("Give two policies, A and B.")

    def policies(self) -> tuple[Policy, Policy]:
        """The two. Raises `ConfigError`."""
        a, b = map(load_policy, self.named)
        return a, b

    def recorded(self, skipped: Counter[str], examples: int) -> list[Diff]:
        """What audit logs tell of decisions. Raises `ConfigError`."""
        pair = self.policies() if self.named else None
        return shadow_diffs(read_lines(self.shadow, skipped), skipped, pair=pair, examples=examples)

    def judged(self, config: Path | None, skipped: Counter[str], examples: int) -> Diff:
        """What the policies decide now. Raises `ConfigError`."""
        a, b = self.policies()
        try:
            classifiers, missing = classifiers_for([a, b], config, os.environ), None
        except ConfigError as error:
            classifiers, missing = dict[str, Classifier](), error
        if self.audit:
            found = audit_cases(read_lines(self.audit, skipped), skipped)
        else:
            found = (case for path in self.cases for case in _cases(path))
        comparison = Comparison(a, b, classifiers, examples=examples)
        cases, counted = _judgeable(found, missing), skipped if self.audit else None
        # That a classifier gave no verdict is part of what is decided; mistakes of ours are still told.
        configure_logging(pretty=sys.stderr.isatty(), level="error")
        try:
            return asyncio.run(_compare(comparison, cases, classifiers, counted))
        finally:
            reset_logging()


def _cases(path: str) -> Iterator[Case]:
    if path == STANDARD:
        return case_lines(sys.stdin, path, need_expectations=False)
    return read_cases(Path(path), need_expectations=False)


async def _compare(
    comparison: Comparison, cases: Iterable[Case], classifiers: Mapping[str, Classifier], skipped: Counter[str] | None
) -> Diff:
    try:
        return await comparison.run(cases, skipped=skipped)
    finally:
        for each in classifiers.values():
            await each.close()


def _judgeable(cases: Iterable[Case], missing: ConfigError | None) -> Iterator[Case]:
    """*cases*, up to the first that needs a classifier where one is *missing*: who brings verdicts along asks nobody."""
    for case in cases:
        if missing is not None and case.verdicts is None:
            raise missing
        yield case


# --------------------------------------------------------------------------------------------------------------- reports


def _json(diffs: Sequence[Diff], skipped: Counter[str]) -> str:
    return orjson.dumps(document(diffs, skipped), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _page(diffs: Sequence[Diff], skipped: Counter[str]) -> str:
    return render(Page("Policy diff", now(), command_line(), sections(diffs, skipped)))


def _painted(line: str) -> str:
    """A line with its first word in colour, where that is a direction."""
    word, space, rest = line.partition(" ")
    colour = {"looser": "red", "stricter": "yellow", "changed": "cyan"}.get(word)
    return line if colour is None else f"{click.style(word, fg=colour)}{space}{rest}"
