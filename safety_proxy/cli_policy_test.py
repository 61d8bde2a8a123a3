"""``safety-proxy policy test``: cases that show whether a policy decides as it should."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Final, Literal

import click

from safety_proxy.cli_common import STANDARD, find_policy, load_policy, report_of
from safety_proxy.cli_policy_run import Run, Wanted
from safety_proxy.errors import ConfigError
from safety_proxy.harness.imports import FORMATS, columns_of
from safety_proxy.harness.plan import Plan, Source
from safety_proxy.harness.recording_file import recording_to
from safety_proxy.harness.runner import CUTTINGS

_FORMATS: Final = ("html", "json", "junit", "github")


@click.command(
    short_help="Does a policy decide as it should?",
    epilog="\b\nExamples:\n"
    "  safety-proxy policy test default --cases policies/cases/default.yaml\n"
    "  safety-proxy policy test ./house.yaml --cases cases/ --report html=report.html --report junit=report.xml\n"
    "  safety-proxy policy test strict --cases samples.jsonl --format openai-moderation --jobs 4",
)
@click.argument("policies", metavar="[POLICY]...", nargs=-1)
@click.option("--cases", metavar="FILE|FOLDER", multiple=True, required=True, help="Cases; - is standard input. Repeatable.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Format of the cases, if their file does not tell.")
@click.option("--columns", metavar="NAME=COLUMN,...", default="", help="What stands where in a table or in JSON Lines.")
@click.option(
    "--side",
    type=click.Choice(["input", "output"]),
    default="input",
    show_default=True,
    help="What texts of a collection are: prompts or completions.",
)
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file with the classifiers.")
@click.option("--filter", "tags", metavar="TAG", multiple=True, help="Only cases with one of these tags. Repeatable.")
@click.option(
    "--cuttings",
    type=click.IntRange(1, 1000),
    default=CUTTINGS,
    show_default=True,
    help="Streams that a completion is replayed as.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Cuts them otherwise.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes.  [default: one for each processor]")
@click.option("--fail-fast", is_flag=True, help="End with the first case that fails.")
@click.option("--record", metavar="FILE", type=click.Path(path_type=Path), help="Record verdicts there.")
@click.option(
    "--replay", metavar="FILE", type=click.Path(path_type=Path), help="Ask nobody: take verdicts from a recording."
)
@click.option(
    "--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True, help="Where cases are judged."
)
@click.option("--scheduler", metavar="ADDRESS", help="Of the Dask cluster.")
@click.option(
    "--report",
    "reports",
    metavar="FORMAT[=FILE]",
    multiple=True,
    help="html, json, junit or github; else to standard output. Repeatable.",
)
def test(  # noqa: PLR0913 - each is an option
    policies: tuple[str, ...],
    *,
    cases: tuple[str, ...],
    format_: str | None,
    columns: str,
    side: Literal["input", "output"],
    config: Path | None,
    tags: tuple[str, ...],
    cuttings: int,
    seed: int,
    jobs: int | None,
    record: Path | None,
    replay: Path | None,
    engine: str,
    scheduler: str | None,
    reports: tuple[str, ...],
    fail_fast: bool,
) -> None:
    """Run cases through the engine that serves traffic, and tell which are not decided as they should be.

    POLICY is a file or the name of a shipped policy; none: the policies that the case files name. A completion is judged
    whole, and replayed as streams that are cut in many ways: characters, tokens, lines, whole, and hostile ones. All must be
    decided alike, and show nothing that was found.

    Exit status 1 if a case failed, 2 for a wrong policy or case, or if there was no case.
    """
    written = [report_of(each, _FORMATS) for each in reports]
    wanted = Wanted(cases, format_, columns_of(columns) if columns else {}, side, frozenset(tags))
    if record is not None and replay is not None:
        raise click.UsageError("--record and --replay do not go together.")
    if (scheduler is not None) is not (engine == "dask"):
        raise click.UsageError("--engine dask and --scheduler go together.")
    names = list(policies) or _named_by(wanted)
    loaded = [load_policy(name) for name in names]
    plan = Plan(
        policies=tuple(Source.read(find_policy(name)) for name in names),
        config=Source.read(config) if config is not None else None,
        cuttings=cuttings,
        seed=seed,
        processes=jobs or _processors(),
        record=record,
        replay=Source.read(replay) if replay is not None else None,
    )
    run = Run(loaded, wanted, plan, written, fail_fast=fail_fast)
    with recording_to(record) if record is not None else nullcontext():
        summaries = run.run(engine, scheduler)
    if any(each.failed for each in summaries):
        raise click.exceptions.Exit(1)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _named_by(wanted: Wanted) -> list[str]:
    """The policies that the cases name, in the order of their names. Raises `ConfigError` if a case names none."""
    if STANDARD in wanted.paths:
        raise click.UsageError("Name a POLICY: standard input is read once.")
    named: set[str] = set()
    for case in wanted.read(Counter()):
        if case.policy is None:
            raise ConfigError("names no policy, and no POLICY was given", file=case.place)
        named.add(case.policy)
    return sorted(named)
