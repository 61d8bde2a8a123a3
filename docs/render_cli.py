"""Writes ``cli.md`` beside it from the help texts of the commands; ``make docs`` runs it."""  # noqa: INP001 - a script, no package

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from safety_proxy.cli import main

_WIDTH = 100
_HEAD = """\
# Command line

What `--help` says of each command. This page is written by `make docs`; to change it, change the help texts.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(main, "safety-proxy", None)])


def _sections(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    """A section for *command* and each of the commands below it."""
    context = click.Context(
        command, parent, info_name=path.rpartition(" ")[2], terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    context.help_option_names = ["-h", "--help"]
    yield f"## {path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _sections(inner, f"{path} {name}", context)


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(render())
