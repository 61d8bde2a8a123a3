"""The command line, ``safety-proxy``: finds the command, and says in one line what the operator has to mend.

Exit status: 0 done, 1 something did not hold, 2 wrong usage, configuration or policy. Each command lives in a module
``cli_*``, which is imported when it is asked for: the libraries of the server take longer to load than ``policy check``
takes to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from safety_proxy.errors import ConfigError

_MODULES: Final[Mapping[str, str]] = {
    "demo": "cli_serve",
    "serve": "cli_serve",
    "classify": "cli_classify",
    "policy": "cli_policy",
    "audit": "cli_audit",
    "version": "cli_version",
}
"""Where each command lives, in the order of the help."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(import_module(f"safety_proxy.{_MODULES[cmd_name]}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
            ctx.exit(2)


@click.group(
    epilog="\b\nExamples:\n  safety-proxy demo\n  safety-proxy serve --backend http://127.0.0.1:11434/v1",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Content-safety proxy for language models: prompts and completions are judged, streams while they flow.

    Exit status: 0 done, 1 something did not hold, 2 wrong usage, configuration or policy.
    """
