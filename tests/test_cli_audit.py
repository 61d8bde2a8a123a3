"""Claims about `safety-proxy audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safety_proxy.cli import main


def line(**more: object) -> dict[str, Any]:
    summary = {"decision": "allow", "categories": {"hate": {"filtered": False}}, "blocklists": {}, "error": None}
    return {
        "time": "2026-01-02T03:04:05.000Z",
        "request_id": "abc-1",
        "deployment": "m",
        "policy": "default@1",
        "decision": "allow",
        "input": summary,
        "output": {"choices": [{"index": 0, "finish_reason": "stop", **summary}]},
        "not_evaluated": [],
        "shadow": None,
        **more,
    }


BLOCKED = line(
    request_id="abc-2",
    decision="block",
    input={
        "decision": "block",
        "categories": {"hate": {"filtered": True}},
        "blocklists": {"words": {"filtered": True}},
        "error": None,
    },
    output=None,
    not_evaluated=[{"stage": "output", "what": "stage", "name": "output", "reason": "prompt_blocked"}],
    shadow={"policy": "strict@2", "decision": "allow", "input": None, "output": None},
)
TORN = '{"time": "2026-01-02T03'


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    path.write_text(
        "\n".join([json.dumps(line()), TORN, json.dumps(BLOCKED), "[1]", "", json.dumps(line(policy="off"))]) + "\n"
    )
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def test_the_last_requests_are_shown_with_what_was_decided_and_why(log: Path) -> None:
    outcome = run("tail", log, "-n", 2)
    assert outcome.exit_code == 0
    first, last = outcome.stdout.splitlines()
    assert first == (
        "2026-01-02T03:04:05.000Z  block  m  default@1  abc-2  "
        "input hate, input words, output prompt_blocked, shadow strict@2: allow"
    )
    assert last.startswith("2026-01-02T03:04:05.000Z  allow  m  off")
    assert outcome.stderr == "2 lines could not be read\n"


def test_lines_are_passed_on_as_they_are(log: Path) -> None:
    outcome = run("tail", log, "--json")
    assert [json.loads(each) for each in outcome.stdout.splitlines()] == [line(), BLOCKED, line(policy="off")]


def test_what_was_decided_is_counted(log: Path) -> None:
    outcome = run("stats", log, "--json")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout) == {
        "requests": 3,
        "torn_lines": 2,
        "decisions": {"allow": 2, "block": 1},
        "deployments": {"m": 3},
        "policies": {"default@1": 2, "off": 1},
        "categories": {"hate": 1, "words": 1},
        "not_evaluated": {"output prompt_blocked": 1},
        "shadow": {"strict@2: block enforced, allow on trial": 1},
    }


def test_the_counts_are_for_people_too(log: Path) -> None:
    told = run("stats", log).stdout.splitlines()
    assert told[0] == "3 requests, 2 lines could not be read"
    assert "         2  allow" in told


def test_an_empty_log_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert run("stats", tmp_path / "empty").stdout == "0 requests\n"
    assert run("tail", tmp_path / "empty").stdout == ""


@pytest.mark.parametrize("command", ["tail", "stats"])
def test_a_file_that_is_not_there_is_told_with_status_2(tmp_path: Path, command: str) -> None:
    outcome = run(command, tmp_path / "none")
    assert outcome.exit_code == 2
    assert outcome.stderr == f"error: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_nothing_in_a_line_moves_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(line(request_id="a\x1b[2J\nb", deployment=7, output=[1], not_evaluated="x")))
    shown = run("tail", tmp_path / "a").stdout
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert run("stats", tmp_path / "a").exit_code == 0


# ------------------------------------------------------------------------------------------------------------ following


class Sleeps:
    """Stands in for the clock: each nap is a step of the story, and the last one is Ctrl-C."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = iter(steps)

    def __call__(self, _seconds: float) -> None:
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def follow(log: Path, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> list[str]:
    monkeypatch.setattr("safety_proxy.cli_audit.time.sleep", Sleeps(*steps))
    outcome = run("tail", log, "-n", 0, "--follow", "--json")
    assert outcome.exit_code == 0
    return [json.loads(each)["request_id"] for each in outcome.stdout.splitlines()]


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_what_is_written_later_is_shown_once_a_line_is_whole(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = json.dumps(line(request_id="new")) + "\n"
    assert follow(log, monkeypatch, lambda: append(log, written[:20]), lambda: append(log, written[20:])) == ["new"]


def test_a_log_that_is_moved_away_or_emptied_is_followed_on(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str) -> Callable[[], object]:
        return lambda: append(log, json.dumps(line(request_id=name)) + "\n")

    shown = follow(
        log,
        monkeypatch,
        lambda: log.rename(log.with_suffix(".1")),
        write("second file"),
        lambda: log.write_text(""),
        write("emptied"),
    )
    assert shown == ["second file", "emptied"]
