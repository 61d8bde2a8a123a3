"""What several commands have in common: how policies are named, and where reports go."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

import click

from safety_proxy import policy_file
from safety_proxy.documents import read
from safety_proxy.errors import ConfigError
from safety_proxy.policy import Policy

STANDARD: str = "-"
"""Stands for standard input and standard output."""


def find_policy(name: str) -> Path:
    """The file or folder, or the shipped policy, that is called *name*. A path has a ``/`` or ends in ``.yaml``.

    Raises `ConfigError`.
    """
    shipped = policy_file.shipped()
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    if name in shipped:
        return shipped[name]
    if Path(name).exists():
        return Path(name)
    near = get_close_matches(name, shipped, 1)
    told = f"did you mean `{near[0]}`?" if near else f"shipped are: {', '.join(shipped)}"
    raise ConfigError(f"no such file, folder or shipped policy; {told}", file=name)


def load_policy(name: str) -> Policy:
    """The policy that is called *name*, as `find_policy` finds it. Raises `ConfigError`."""
    return policy_file.load(read(find_policy(name)))


def report_of(written: str, formats: Sequence[str]) -> tuple[str, str]:
    """Format and file of a report that was written as ``FORMAT`` or ``FORMAT=FILE``; without a file, standard output.

    Raises `click.UsageError`.
    """
    kind, equals, file = written.partition("=")
    if kind not in formats or (equals and not file):
        raise click.UsageError(f"--report must be one of {', '.join(formats)}, and may go to a file: {formats[0]}=FILE")
    return kind, file or STANDARD


@contextmanager
def report_file(file: str) -> Iterator[TextIO]:
    """The file of a report, which is written whole or not at all. Raises `ConfigError` if it cannot be written."""
    path = Path(file)
    if file == STANDARD:
        yield sys.stdout
        return
    # What is no plain file, such as a pipe, cannot be put in the place of another one.
    beside = path.with_name(f".{path.name}.{os.getpid()}") if path.is_file() or not path.exists() else path
    try:
        try:
            with beside.open("w", encoding="utf-8") as out:
                yield out
            if beside != path:
                beside.replace(path)
        finally:
            if beside != path:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=file) from None


def command_line() -> str:
    """What was called, for reports."""
    return shlex.join(["safety-proxy", *sys.argv[1:]])


def now() -> str:
    """The time, for reports: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
