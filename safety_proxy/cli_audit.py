"""``safety-proxy audit``: reads the audit log. What stands in a line is told in docs/audit.md.

A line that is no object of JSON - somebody died while he wrote it - is passed over, and counted.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import click
import orjson

from safety_proxy.errors import ConfigError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, JSONObject

_PATIENCE: Final = 0.25
"""Seconds between two looks at a file that is followed."""
_DECISIONS: Final = ("allow", "block", "error")
_COLOURS: Final[Mapping[str, str]] = {"block": "red", "error": "magenta"}
_FILE: Final = click.argument("file", metavar="[FILE]", default="audit.jsonl", type=click.Path(path_type=Path))


@click.group(
    short_help="Read the audit log.",
    epilog="\b\nExamples:\n  safety-proxy audit tail --follow\n  safety-proxy audit stats audit.jsonl --json",
)
def audit() -> None:
    """Read the audit log, which `audit` in the configuration file turns on."""


@audit.command(
    short_help="Show the last requests.",
    epilog="\b\nExamples:\n  safety-proxy audit tail -n 20 --follow\n  safety-proxy audit tail audit.jsonl --json",
)
@_FILE
@click.option("-n", "--lines", metavar="N", type=click.IntRange(min=0), default=10, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they are.")
def tail(file: Path, lines: int, *, follow: bool, as_json: bool) -> None:
    """Show the last requests of FILE (audit.jsonl), one on a line: when, which, what was decided and why."""
    torn = Counter[str]()
    show = partial(_show_line, as_json=as_json, torn=torn)
    with _opened(file) as source:
        for line in deque((line for line, _ in _records(source, torn)), maxlen=lines):
            show(line)
        if follow:
            _follow(file, source, show)
    _tell_torn(torn)


@audit.command(
    short_help="Count what was decided.",
    epilog="\b\nExamples:\n  safety-proxy audit stats\n  safety-proxy audit stats audit.jsonl --json",
)
@_FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def stats(file: Path, *, as_json: bool) -> None:
    """Count the requests of FILE (audit.jsonl): by decision, deployment, policy, category, and what was not evaluated.

    A category counts where it was filtered, once for each stage and choice.
    """
    torn = Counter[str]()
    totals = Totals()
    with _opened(file) as source:
        for _, record in _records(source, torn):
            totals.add(record)
    totals.torn = torn["torn"]
    if as_json:
        click.echo(orjson.dumps(totals.tell(), option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(totals.lines()))


# ------------------------------------------------------------------------------------------------------------- reading


def _opened(file: Path) -> BinaryIO:
    """The file. Raises `ConfigError`."""
    try:
        return file.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from None


def _records(source: Iterable[bytes], torn: Counter[str]) -> Iterator[tuple[bytes, JSONObject]]:
    """The lines that are whole, with what they say; the others go to *torn*."""
    for line in source:
        record = _read(line)
        if record is None:
            torn["torn"] += bool(line.strip())
        else:
            yield line.rstrip(b"\n"), record


def _read(line: bytes) -> JSONObject | None:
    try:
        value: JSON = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _follow(file: Path, source: BinaryIO, show: Callable[[bytes], None]) -> None:
    """Show what is added, line by line, also when the file is replaced by another of its name."""
    begun = b""
    try:
        while True:
            found = source.readline()
            begun += found
            if begun.endswith(b"\n"):
                show(begun)
                begun = b""
            elif not found:
                time.sleep(_PATIENCE)
                source = _successor(file, source)
    except KeyboardInterrupt:
        click.echo(err=True)
    finally:
        source.close()


def _successor(file: Path, source: BinaryIO) -> BinaryIO:
    """*source*, or the file that has taken its place, or that was emptied."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return source
    if os.path.samestat(now, os.fstat(source.fileno())):
        if now.st_size < source.tell():
            source.seek(0)
        return source
    source.close()
    return _opened(file)


def _show_line(line: bytes, *, as_json: bool, torn: Counter[str]) -> None:
    for whole, record in _records([line], torn):
        if as_json:
            click.echo(whole)
        else:
            _show(record)


def _tell_torn(torn: Counter[str]) -> None:
    if torn["torn"]:
        click.echo(f"{torn['torn']} lines could not be read", err=True)


# ------------------------------------------------------------------------------------------------------------- telling


def _show(record: JSONObject) -> None:
    """A request, for people."""
    decision = _word(record.get("decision"))
    names = [_word(record.get(name)) for name in ("deployment", "policy")]
    why = [*dict.fromkeys(_reasons(record))]
    shadow = as_object(record.get("shadow"))
    if shadow and shadow.get("decision") != record.get("decision"):
        why.append(f"shadow {_word(shadow.get('policy'))}: {_word(shadow.get('decision'))}")
    columns = [_word(record.get("time")), click.style(decision.ljust(5), fg=_COLOURS.get(decision)), *names]
    click.echo("  ".join([*columns, _word(record.get("request_id")), ", ".join(why)]).rstrip())


def _reasons(record: JSONObject) -> Iterator[str]:
    """What was filtered or failed, and what was not evaluated."""
    for name, stage in _stages(record):
        yield from (f"{name} {category}" for category in _filtered(stage))
        if isinstance(error := stage.get("error"), str):
            yield f"{name} {_word(error)}"
    yield from (f"{_word(each.get('stage'))} {_word(each.get('reason'))}" for each in _gaps(record))


def _stages(record: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    """The input, and each choice of the output."""
    if record.get("input") is not None:
        yield "input", as_object(record["input"])
    choices = as_object(record.get("output")).get("choices")
    yield from (("output", as_object(choice)) for choice in (choices if isinstance(choices, list) else ()))


def _filtered(stage: JSONObject) -> Iterator[str]:
    """Categories and blocklists that filtered a text."""
    for kind in ("categories", "blocklists"):
        yield from (name for name, found in as_object(stage.get(kind)).items() if as_object(found).get("filtered") is True)


def _gaps(record: JSONObject) -> Iterator[JSONObject]:
    gaps = record.get("not_evaluated")
    return (as_object(gap) for gap in (gaps if isinstance(gaps, list) else ()))


def _word(value: JSON) -> str:
    """A value on a line of its own, without anything that would move a cursor."""
    return "".join(char if char.isprintable() else " " for char in ("-" if value is None else str(value)))


@dataclass(slots=True)
class Totals:
    """What a log comes to."""

    requests: int = 0
    torn: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    deployments: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    not_evaluated: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)

    def add(self, record: JSONObject) -> None:
        """One more request."""
        self.requests += 1
        self.decisions[_word(record.get("decision"))] += 1
        self.deployments[_word(record.get("deployment"))] += 1
        self.policies[_word(record.get("policy"))] += 1
        self.categories.update(name for _, stage in _stages(record) for name in _filtered(stage))
        self.not_evaluated.update(f"{_word(gap.get('stage'))} {_word(gap.get('reason'))}" for gap in _gaps(record))
        if shadow := as_object(record.get("shadow")):
            told = (shadow.get("policy"), record.get("decision"), shadow.get("decision") or "not_evaluated")
            self.shadow["{}: {} enforced, {} on trial".format(*map(_word, told))] += 1

    def tell(self) -> JSONObject:
        """As JSON."""
        groups: JSONObject = {name: dict(_ordered(counts)) for name, counts in self._groups().items()}
        return {"requests": self.requests, "torn_lines": self.torn, **groups}

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.requests} requests" + (f", {self.torn} lines could not be read" if self.torn else "")
        for name, counts in self._groups().items():
            if counts:
                yield f"\n{name.replace('_', ' ')}"
                yield from (f"  {count:>8}  {what}" for what, count in _ordered(counts))

    def _groups(self) -> dict[str, Counter[str]]:
        return {
            "decisions": self.decisions,
            "deployments": self.deployments,
            "policies": self.policies,
            "categories": self.categories,
            "not_evaluated": self.not_evaluated,
            "shadow": self.shadow,
        }


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; of equals, by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
