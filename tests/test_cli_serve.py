"""Claims about `safety-proxy serve` and the options of `safety-proxy demo`."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safety_proxy import cli_serve
from safety_proxy.cli import main
from safety_proxy.logs import reset_logging
from safety_proxy.settings import Settings
from safety_proxy.settings_sources import OPTIONS, PREFIX

ROOT = Path(__file__).parents[1]
BACKEND = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    yield
    reset_logging()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that a server was run with."""
    served: list[Settings] = []
    monkeypatch.setattr(cli_serve, "run", served.append)
    return served


def run(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(main, list(map(str, arguments)))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# --------------------------------------------------------------------------------------------------------------- options


def test_all_that_can_be_set_is_a_flag_that_names_its_variable_but_for_the_key() -> None:
    """A flag can be read by other users of the machine."""
    flags = {option.opts[0]: getattr(option, "help", "") for option in cli_serve.serve.params}
    assert list(flags) == [f"--{name.replace('_', '-')}" for name in OPTIONS if name != "backend_key"]
    for name, meaning in OPTIONS.items():
        if name != "backend_key":
            assert flags[f"--{name.replace('_', '-')}"] == f"{meaning} [{PREFIX}{name.upper()}]"
    assert "SAFETY_PROXY_BACKEND_KEY" in (cli_serve.serve.help or "")


def test_flags_reach_the_settings(served: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    flags = ["--policy", "strict", "--host", "::1", "--port", "81", "--workers", "3"]
    outcome = run(
        "serve",
        "--backend",
        BACKEND,
        *flags,
        "--backend-key-file",
        tmp_path / "key",
        "--log-level",
        "error",
        "--log-format",
        "json",
    )
    assert outcome.exit_code == 0, outcome.output
    (settings,) = served
    assert (settings.listen.host, settings.listen.port, settings.workers) == ("::1", 81, 3)
    assert (settings.log_level, settings.log_format) == ("error", "json")
    (deployment,) = settings.deployments.values()
    backend = settings.backends[deployment.backend]
    assert (deployment.policy, backend.url) == ("strict", BACKEND)
    assert backend.key is not None
    assert backend.key.get_secret_value() == "secret"


def test_the_filter_alone_needs_no_flag_but_its_own(served: list[Settings]) -> None:
    assert run("serve", "--filter-only").exit_code == 0
    assert [settings.deployments for settings in served] == [{}]


def test_a_flag_counts_more_than_a_variable_and_that_more_than_the_file(served: list[Settings], tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text("listen: {port: 1}\n")
    arguments = ["serve", "--config", str(config), "--backend", BACKEND]
    run(*arguments)
    run(*arguments, env={"SAFETY_PROXY_PORT": "2"})
    run(*arguments, "--port", "3", env={"SAFETY_PROXY_PORT": "2"})
    assert [settings.listen.port for settings in served] == [1, 2, 3]


def test_warnings_are_logged_before_the_server_runs(served: list[Settings]) -> None:
    outcome = run("serve", "--backend", BACKEND, env={"SAFETY_PROXY_PROT": "1"})
    (line,) = map(json.loads, outcome.stderr.splitlines())
    assert line["event"] == "config.warning"
    assert line["message"].startswith("SAFETY_PROXY_PROT: no such variable; did you mean SAFETY_PROXY_PORT?")


def test_logs_are_as_people_read_them_when_asked_for(served: list[Settings]) -> None:
    outcome = run("serve", "--backend", BACKEND, "--log-format", "pretty", env={"SAFETY_PROXY_PROT": "1"})
    assert "config.warning" in outcome.stderr
    assert not outcome.stderr.startswith("{")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "error: nothing to serve: give --backend URL, write deployments in a configuration file, or say --filter-only\n",
        ),
        (["--backend", BACKEND, "--port", "x"], "error: --port: must be a whole number from 0 to 65535\n"),
        (["--backend", BACKEND, "--log-level", "loud"], "error: --log-level: must be one of debug, "),
        (["--backend", BACKEND, "--policy", "strct"], "error: --policy: no policy is called `strct`; did you mean"),
        (["--backend", BACKEND, "--host", "0.0.0.0"], "error: --host: can be reached from other machines"),
        (["--config", "gone.yaml"], "error: gone.yaml: cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(served: list[Settings], arguments: list[str], message: str) -> None:
    outcome = run("serve", *arguments)
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith(message)
    assert outcome.stderr.count("\n") == 1
    assert served == []


# ------------------------------------------------------------------------------------------------------------- addresses


def test_a_port_that_is_taken_is_named(taken_port: int) -> None:
    outcome = run("serve", "--backend", BACKEND, "--port", str(taken_port))
    assert outcome.exit_code == 2
    assert outcome.stderr == f"error: cannot listen on 127.0.0.1:{taken_port}: Address already in use\n"


def test_a_host_that_there_is_none_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_nowhere(_settings: Settings) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(cli_serve, "run", run_nowhere)
    outcome = run("serve", "--backend", BACKEND)
    assert outcome.stderr == "error: cannot listen on 127.0.0.1:8080: Name or service not known\n"


def test_the_demo_takes_the_port_it_is_told_or_says_that_it_cannot(taken_port: int) -> None:
    outcome = run("demo", "--once", "--port", str(taken_port))
    assert outcome.exit_code == 2
    assert outcome.stderr == f"error: cannot listen on 127.0.0.1:{taken_port}: Address already in use\n"


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 1)])
def test_the_demo_ends_with_1_if_a_promise_was_not_kept(monkeypatch: pytest.MonkeyPatch, kept: bool, code: int) -> None:
    async def demonstrate(host: str, port: int | None, *, once: bool) -> bool:
        assert (host, port, once) == ("127.0.0.1", None, True)
        return kept

    monkeypatch.setattr(cli_serve, "demonstrate", demonstrate)
    assert run("demo", "--once").exit_code == code


def test_a_reader_who_has_seen_enough_is_no_mistake_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    async def demonstrate(_host: str, _port: int | None, *, once: bool) -> bool:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(cli_serve, "demonstrate", demonstrate)
    outcome = run("demo", "--once")
    assert (outcome.exit_code, outcome.stderr) == (1, "")


# --------------------------------------------------------------------------------------------------------------- process


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real process that serves; its URL is that of its first line in the log."""
    command = [sys.executable, "-m", "safety_proxy", "serve", "--port", "0", "--backend", BACKEND, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        assert line["event"] == "server.started"
        try:
            yield process, f"http://{line['host']}:{line['port']}"
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_until_it_is_told_to_stop_and_ends_well(number: signal.Signals) -> None:
    with server() as (process, url):
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310 - our own server
            assert answer.status == 200
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        events = [json.loads(line)["event"] for line in errors.splitlines()]
        assert events[-1] == "server.stopped"
        assert not re.search("Traceback|crashed", errors)


def test_several_processes_serve_one_port_and_end_well() -> None:
    with server("--workers", "2") as (process, url):
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310 - our own server
            assert answer.status == 200
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
