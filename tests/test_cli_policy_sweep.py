"""Claims about `safety-proxy policy sweep`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safety_proxy import cli_policy_sweep
from safety_proxy.cli import main
from safety_proxy.harness import stream_curve
from safety_proxy.model import Category
from safety_proxy.testing import ScriptedClassifier

CASES = """\
{"text": "cruel words", "expect": {"input": {"categories": {"hate": {"filtered": true}}}}}
{"text": "kind words", "expect": {"input": "allow"}}
{"completion": "the model was cruel to all of us", "expect": {"output": {"decision": "filter"}}}
"""


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedClassifier:
    """Stands in for whatever the policy names."""
    made = ScriptedClassifier({"cruel": (Category.HATE, 5)})

    def classifiers(policies: object, config: object, environ: Mapping[str, str]) -> dict[str, ScriptedClassifier]:
        return {"embedded": made}

    monkeypatch.setattr(cli_policy_sweep, "classifiers_for", classifiers)
    monkeypatch.setattr(stream_curve, "WINDOWS", (40,))
    return made


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cases.jsonl"
    file.write_text(CASES)
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", "sweep", *map(str, arguments)])


def test_thresholds_and_windows_are_told(cases: Path, scripted: ScriptedClassifier) -> None:
    outcome = run("default", "--cases", cases)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("default@")
    assert "input hate: 1 must be filtered, 1 must not, 1 of them benign" in outcome.stdout
    assert "suggested for over-blocking within 1 %: block_at: low, recall 100.0 %" in outcome.stdout
    assert "streams: 1 completion, 1 must be filtered, of 1 of them it is known where the harm is" in outcome.stdout
    assert scripted.closed


def test_streams_can_be_left_out(cases: Path) -> None:
    outcome = run("default", "--cases", cases, "--no-stream")
    assert outcome.exit_code == 0
    assert "streams" not in outcome.stdout


def test_cases_may_be_folders_and_several(cases: Path) -> None:
    outcome = run("default", "--cases", cases, "--cases", cases.parent, "--no-stream")
    assert "input hate: 2 must be filtered" in outcome.stdout


def test_a_policy_may_be_a_file(cases: Path) -> None:
    (cases.parent / "house.yaml").write_text("version: 1\nname: house\n")
    outcome = run("house.yaml", "--cases", cases, "--no-stream")
    assert outcome.stdout.startswith("house@")


@pytest.mark.parametrize(("written", "told"), [("0.25", "25 %"), ("0.5%", "0.5 %"), ("100 %", "100 %"), ("0", "0 %")])
def test_the_target_is_a_share(cases: Path, written: str, told: str) -> None:
    outcome = run("default", "--cases", cases, "--no-stream", "--max-overblocking", written)
    assert f"over-blocking within {told}: block_at: low" in outcome.stdout


@pytest.mark.parametrize("written", ["much", "101%", "1.5", "-1%", ""])
def test_what_is_no_share_is_wrong_usage(cases: Path, written: str) -> None:
    outcome = run("default", "--cases", cases, f"--max-overblocking={written}")
    assert outcome.exit_code == 2
    assert "must be a share such as 1% or 0.01" in outcome.stderr


# --------------------------------------------------------------------------------------------------------------- reports


def test_reports_are_written_beside_what_is_told(cases: Path) -> None:
    outcome = run("default", "--cases", cases, "--report", "json=r.json", "--report", "html=r.html")
    assert outcome.exit_code == 0
    assert "input hate" in outcome.stdout
    found = json.loads(Path("r.json").read_text())
    assert found["object"] == "policy.sweep"
    assert found["streams"]["completions"] == 1
    page = Path("r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "input hate" in page


def test_no_report_holds_a_word_of_a_case(cases: Path) -> None:
    outcome = run("default", "--cases", cases, "--report", "json=r.json", "--report", "html=r.html")
    for told in (outcome.output, Path("r.json").read_text(), Path("r.html").read_text()):
        assert "cruel" not in told


@pytest.mark.parametrize("written", ["json=-", "json"])
def test_a_report_on_standard_output_stands_there_alone(cases: Path, written: str) -> None:
    outcome = run("default", "--cases", cases, "--no-stream", "--report", written)
    assert json.loads(outcome.stdout)["streams"] is None
    assert "input hate" in outcome.stderr


@pytest.mark.parametrize("written", ["pdf=x", "json=", "=x"])
def test_any_other_report_is_wrong_usage(cases: Path, written: str) -> None:
    outcome = run("default", "--cases", cases, "--report", written)
    assert outcome.exit_code == 2
    assert "--report must be one of json, html" in outcome.stderr


def test_a_report_that_cannot_be_written_is_an_error(cases: Path) -> None:
    outcome = run("default", "--cases", cases, "--no-stream", "--report", "json=not/there.json")
    assert outcome.exit_code == 2
    assert outcome.stderr == "error: not/there.json: cannot be written: No such file or directory\n"


# ---------------------------------------------------------------------------------------------------------------- errors


def test_cases_that_tell_nothing_are_an_error_with_the_reasons(cases: Path) -> None:
    cases.write_text('{"text": "cruel", "expect": {"input": "filter"}}\n')
    outcome = run("default", "--cases", cases)
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        "error: there is nothing to measure; "
        "1 left out: not said what must be filtered of a category that the policy has a rule for\n"
    )


def test_cases_with_verdicts_of_their_own_tell_of_streams_alone(cases: Path) -> None:
    content = {"completion": "a cruel thing", "expect": {"output": "filter"}, "verdicts": {"cruel": {"hate": 6}}}
    cases.write_text(json.dumps(content))
    outcome = run("default", "--cases", cases)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("no threshold was measured\n1 left out: ")
    assert "streams: 1 completion" in outcome.stdout
    assert run("default", "--cases", cases, "--no-stream").exit_code == 2


def test_no_cases_at_all_are_wrong_usage(cases: Path) -> None:
    assert run("default").exit_code == 2
    cases.write_text("")
    assert run("default", "--cases", cases).exit_code == 2


def test_an_unknown_policy_is_an_error_with_a_hint(cases: Path) -> None:
    outcome = run("defualt", "--cases", cases)
    assert outcome.exit_code == 2
    assert "did you mean `default`?" in outcome.stderr


def test_no_log_line_stands_among_what_is_told(cases: Path, scripted: ScriptedClassifier) -> None:
    scripted._errors["cruel"] = "timeout"
    outcome = run("default", "--cases", cases, "--no-stream")
    assert "left out 1 case without a verdict" in outcome.stdout
    assert "classifier.failed" not in outcome.output


def test_classifiers_are_closed_when_a_case_is_wrong(cases: Path, scripted: ScriptedClassifier) -> None:
    cases.write_text("not JSON\n")
    assert run("default", "--cases", cases).exit_code == 2
    assert scripted.closed
