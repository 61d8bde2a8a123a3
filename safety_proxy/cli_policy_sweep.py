"""``safety-proxy policy sweep``: what each threshold, and each setting of a stream's windows, would come to."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from safety_proxy.cli_common import STANDARD, command_line, load_policy, now, report_file, report_of
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.classifiers import classifiers_for
from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import Page
from safety_proxy.harness.imports import open_cases
from safety_proxy.harness.progress import Progress
from safety_proxy.harness.stream_curve import StreamCurve, stream_curve
from safety_proxy.harness.sweep import Sweep
from safety_proxy.harness.sweep import sweep as measure
from safety_proxy.harness.sweep_page import sections
from safety_proxy.harness.sweep_report import document, lines, stream_lines
from safety_proxy.logs import configure_logging, reset_logging
from safety_proxy.policy import Policy

_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s?(%?)", re.ASCII)
_FORMATS: Final = ("json", "html")


def _share(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """The share that is meant by ``1%`` or ``0.01``."""
    found = _SHARE.fullmatch(value)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter("must be a share such as 1% or 0.01")
    return share


@click.command(
    short_help="Measure every threshold of a policy.",
    epilog="\b\nExamples:\n"
    "  safety-proxy policy sweep default --cases cases/ --max-overblocking 0.5%\n"
    "  safety-proxy policy sweep ./house.yaml --cases more.jsonl --config proxy.yaml --report html=sweep.html",
)
@click.argument("name", metavar="POLICY")
@click.option("--cases", metavar="FILE|FOLDER", multiple=True, required=True, help="Cases to measure on. Repeatable.")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file with the classifiers that the policy names.",
)
@click.option(
    "--max-overblocking",
    "target",
    metavar="SHARE",
    callback=_share,
    default="1%",
    show_default=True,
    help="Suggest the strictest threshold that filters no more of the benign cases.",
)
@click.option("--stream/--no-stream", default=True, show_default=True, help="Also measure the windows of streams.")
@click.option(
    "--report",
    "reports",
    metavar="FORMAT[=FILE]",
    multiple=True,
    help="Also write a report: json or html. Repeatable; without a file to standard output, and the rest to standard error.",
)
def sweep(
    name: str, *, cases: tuple[str, ...], config: Path | None, target: float, stream: bool, reports: tuple[str, ...]
) -> None:
    """Measure what each threshold of each category would come to, on cases that say what must be filtered.

    POLICY is a file or the name of a shipped policy. A case says it of a category (`expect: {input: {categories: {hate:
    {filtered: true}}}}`), or of all with `expect: {input: allow}`: then it is benign, and filtering it is over-blocking.
    Cases that bring verdicts along are left out, but for streams: there they show what windows do to spans of a known
    length.

    Exit status 2 if the policy or a case is wrong, or there is nothing to measure.
    """
    written = [report_of(each, _FORMATS) for each in reports]
    policy = load_policy(name)
    configure_logging(pretty=sys.stderr.isatty(), level="error")  # that there was no verdict is told with the figures
    try:
        measured, curve = asyncio.run(_measure(policy, cases, config, target, stream=stream))
    finally:
        reset_logging()
    _require_something(measured, curve)
    aside = any(file == STANDARD for _, file in written)
    for line in lines(measured) if measured.categories else ("no threshold was measured", *_left_out(measured)):
        click.echo(line, err=aside)
    for line in ("", *stream_lines(curve)) if curve is not None else ():
        click.echo(line, err=aside)
    for kind, file in written:
        with report_file(file) as out:
            out.write(render(to_page(measured, curve)) if kind == "html" else _json(measured, curve))


async def _measure(
    policy: Policy, paths: Sequence[str], config: Path | None, target: float, *, stream: bool
) -> tuple[Sweep, StreamCurve | None]:
    """What there is to tell. Raises `ConfigError`."""
    classifiers = classifiers_for([policy], config, os.environ)
    progress = Progress(sys.stderr, None)
    try:
        measured = await measure(policy, classifiers, _cases(paths, progress), target=target)
        return measured, await stream_curve(policy, classifiers, _cases(paths, progress)) if stream else None
    finally:
        progress.clear()
        for each in classifiers.values():
            await each.close()


def _cases(paths: Sequence[str], progress: Progress) -> Iterator[Case]:
    for path in paths:
        for case in open_cases(Path(path)):
            yield case
            progress.step(passed=True)


def _require_something(measured: Sweep, curve: StreamCurve | None) -> None:
    """Nothing measured is no result."""
    if not measured.categories and (curve is None or not curve.choices):
        raise ConfigError("; ".join(["there is nothing to measure", *_left_out(measured)]))


def _left_out(measured: Sweep) -> list[str]:
    return [f"{count} left out: {reason}" for reason, count in sorted(measured.left_out.items())]


# --------------------------------------------------------------------------------------------------------------- reports


def _json(measured: Sweep, curve: StreamCurve | None) -> str:
    return orjson.dumps(document(measured, curve), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def to_page(measured: Sweep, curve: StreamCurve | None) -> Page:
    """The report as a page."""
    return Page(f"Thresholds of {measured.policy}", now(), command_line(), [*sections(measured, curve)])
