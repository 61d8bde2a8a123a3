"""Claims about the command line as a whole: its help, its exit codes, its page in the documentation."""

from __future__ import annotations

import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from safety_proxy import __version__
from safety_proxy.cli import main
from safety_proxy.errors import ConfigError

ROOT = Path(__file__).parents[1]


def commands(command: click.Command = main, path: str = "safety-proxy") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")


EXAMPLES = [
    line.strip()
    for _, command in commands()
    for line in (command.epilog or "").splitlines()
    if line.startswith("  safety-proxy")
]


def test_these_are_the_commands() -> None:
    assert {path for path, _ in commands()} == {
        "safety-proxy",
        "safety-proxy demo",
        "safety-proxy serve",
        "safety-proxy classify",
        "safety-proxy policy",
        "safety-proxy policy check",
        "safety-proxy policy show",
        "safety-proxy policy schema",
        "safety-proxy policy test",
        "safety-proxy policy sweep",
        "safety-proxy policy diff",
        "safety-proxy audit",
        "safety-proxy audit tail",
        "safety-proxy audit stats",
        "safety-proxy version",
    }


@pytest.mark.parametrize(("path", "command"), list(commands()))
def test_every_command_says_what_it_does_with_an_example_of_its_use(path: str, command: click.Command) -> None:
    arguments = path.split()[1:]
    shown = CliRunner().invoke(main, [*arguments, "--help"])
    assert shown.exit_code == 0
    assert (command.help or "").strip().split("\n")[0] in " ".join(shown.stdout.split())
    assert f"Example{'s' if shown.stdout.count('  safety-proxy') > 1 else ''}:" in shown.stdout
    assert f"  {path}" in shown.stdout


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_no_line_of_the_list_of_commands_is_cut_short(path: str) -> None:
    assert "..." not in CliRunner().invoke(main, [*path.split()[1:], "--help"]).stdout.partition("Commands:")[2]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_name_commands_and_options_that_exist(example: str) -> None:
    words = shlex.split(example.partition(" > ")[0])
    known = dict(commands())
    path = max((p for p in known if words[: len(p.split())] == p.split()), key=len)
    options = {flag for parameter in known[path].params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_option_has_a_help_text() -> None:
    without = [
        (path, parameter.name)
        for path, command in commands()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert without == []


def test_the_page_in_the_documentation_is_what_the_commands_say() -> None:
    """If not: make docs."""
    render = runpy.run_path(str(ROOT / "docs" / "render_cli.py"))["render"]
    assert (ROOT / "docs" / "cli.md").read_text() == render()


# ------------------------------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize("arguments", [["sreve"], ["version", "--jsno"], ["policy", "show"], ["demo", "--port", "many"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 2
    assert "Usage: " in outcome.stderr
    assert outcome.stdout == ""


def test_a_mistake_of_the_operator_is_one_line_with_file_line_and_field(tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text("listen:\n  port: many\n")
    outcome = CliRunner().invoke(main, ["serve", "--config", str(config)])
    assert outcome.exit_code == 2
    assert outcome.stderr == f"error: {config}:2: listen.port: must be a whole number\n"
    assert outcome.stdout == ""


def test_a_mistake_is_one_line_even_if_its_text_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fail() -> None:
        raise ConfigError("one\ntwo", file="odd\nname")

    monkeypatch.setattr(main, "get_command", lambda *_: fail)
    outcome = CliRunner().invoke(main, ["version"])
    assert (outcome.exit_code, outcome.stderr) == (2, "error: odd name: one two\n")


def test_a_mistake_of_ours_is_not_taken_for_one_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def crash() -> None:
        raise KeyError("ours")

    monkeypatch.setattr(main, "get_command", lambda *_: crash)
    assert isinstance(CliRunner().invoke(main, ["version"]).exception, KeyError)


# --------------------------------------------------------------------------------------------------------------- process


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )


def test_the_package_can_be_run_as_a_module() -> None:
    outcome = run("-m", "safety_proxy", "version")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"safety-proxy {__version__}\n")


def test_a_process_that_finds_a_mistake_ends_with_2_and_no_traceback() -> None:
    outcome = run("-m", "safety_proxy", "serve", "--backend", "nowhere")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("error: --backend: must be a URL")
    assert outcome.stderr.count("\n") == 1


def test_commands_about_policies_do_not_wait_for_the_server_to_be_imported() -> None:
    program = (
        "import sys; from safety_proxy.cli import main; main(['policy', 'schema'], standalone_mode=False);"
        "assert not {'aiohttp.web', 'safety_proxy.server', 'safety_proxy.demo'} & sys.modules.keys()"
    )
    outcome = run("-c", program)
    assert outcome.returncode == 0, outcome.stderr
