"""Claims about `safety-proxy policy diff`."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
import structlog
from click.testing import CliRunner, Result

from safety_proxy import policy_file
from safety_proxy.cli import main
from safety_proxy.model import JSON, JSONObject

DEFAULT = policy_file.shipped()["default"].read_text()
CASES = """\
cases:
  - name: harmless
    text: How far is the Moon?
    verdicts: {}
  - name: a slur
    text: say it
    completion: well, say it
    verdicts: {say it: {hate: 4}}
"""


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["policy", "diff", *map(str, arguments)], input=stdin, catch_exceptions=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("CONTENT_SAFETY_ENDPOINT", "CONTENT_SAFETY_KEY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "cases.yaml").write_text(CASES)
    loosened = DEFAULT.replace("name: default", "name: house").replace("hate: {block_at: medium}", "hate: {block_at: high}")
    (tmp_path / "house.yaml").write_text(loosened)
    return tmp_path


def audit(folder: Path, *lines: JSONObject) -> Path:
    file = folder / "audit.jsonl"
    file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + b'{"torn')
    return file


def recorded(text: str) -> JSONObject:
    request: JSONObject = {"messages": [{"role": "user", "content": text}]}
    return {"request_id": "r1", "content": {"form": "full", "request": request, "completion": None}}


# ------------------------------------------------------------------------------------------------------------------ cases


def test_a_shipped_policy_loosened_by_one_level_fails_and_the_last_line_says_where_and_why(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--fail-on-looser")
    assert outcome.exit_code == 1
    assert re.fullmatch(
        r"FAIL house@[0-9a-f]{12} is looser than default@[0-9a-f]{12}: "
        r'cases\.yaml:5  "a slur"  input: filter -> allow \(hate 4: medium -> high\)',
        outcome.stdout.splitlines()[-1],
    )


def test_differences_are_told_by_group_and_are_no_failure_by_themselves(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml")
    assert outcome.exit_code == 0
    head, *rest = outcome.stdout.splitlines()
    assert re.fullmatch(r"default@[0-9a-f]{12} -> house@[0-9a-f]{12}", head)
    assert rest == [
        "  input.hate.block_at: medium -> high  (looser)",
        "  output.hate.block_at: medium -> high  (looser)",
        "2 cases, 1 decided differently: 1 looser",
        "looser  input  hate  1",
        '  cases.yaml:5  "a slur"  input: filter -> allow (hate 4: medium -> high)',
        "looser  output  hate  1",
        '  cases.yaml:5  "a slur"  output: filter -> allow (hate 4: medium -> high)',
    ]


def test_what_got_stricter_does_not_fail(here: Path) -> None:
    outcome = run("house.yaml", "default", "--cases", "cases.yaml", "--fail-on-looser")
    assert outcome.exit_code == 0
    assert "1 stricter" in outcome.stdout


def test_every_shipped_policy_decides_as_itself_on_its_cases(here: Path) -> None:
    folder = policy_file.shipped()["default"].parent / "cases"
    for name in policy_file.shipped():
        outcome = run(name, name, "--cases", folder / f"{name}.yaml", "--fail-on-looser")
        assert outcome.exit_code == 0
        assert outcome.stdout.endswith(" cases, all decided alike\n")


def test_classifiers_that_no_case_needs_need_not_be_there(here: Path) -> None:
    assert run("default", "azure-default", "--cases", "cases.yaml").exit_code == 0


def test_classifiers_that_a_case_needs_must_be_there(here: Path) -> None:
    (here / "cases.jsonl").write_text('{"text": "How far is the Moon?"}\n')
    outcome = run("default", "azure-default", "--cases", "cases.jsonl")
    assert outcome.exit_code == 2
    assert "CONTENT_SAFETY_ENDPOINT" in outcome.stderr


def test_cases_are_judged_by_the_classifiers_of_a_configuration_file(here: Path) -> None:
    (here / "proxy.yaml").write_text("classifiers: {zoo: {type: blocklist, lists: [{name: animals, terms: [zebra]}]}}\n")
    (here / "zoo.yaml").write_text(DEFAULT.replace("[embedded]", "[embedded, zoo]"))
    (here / "cases.jsonl").write_text('{"text": "a zebra"}\n{"text": "a yak"}\n')
    outcome = run("default", "zoo.yaml", "--cases", "cases.jsonl", "--config", "proxy.yaml")
    assert outcome.stdout.splitlines()[-1] == (
        '  cases.jsonl:1  "line 1"  input: allow -> filter (blocklist animals; classifiers: embedded -> embedded, zoo)'
    )


def test_cases_may_come_from_standard_input(here: Path) -> None:
    line = orjson.dumps({"text": "say it", "verdicts": {"say it": {"hate": 4}}}).decode()
    outcome = run("default", "house.yaml", "--cases", "-", stdin=line)
    assert "1 case, 1 decided differently: 1 looser" in outcome.stdout


def test_fewer_examples_are_shown_if_fewer_are_asked_for(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--examples", "0")
    assert "cases.yaml" not in outcome.stdout
    assert "looser  input  hate  1" in outcome.stdout


def test_logging_is_as_it_was_afterwards(here: Path) -> None:
    before = structlog.get_config()
    run("default", "house.yaml", "--cases", "cases.yaml")
    assert structlog.get_config() == before


# ---------------------------------------------------------------------------------------------------------------- traffic


def test_recorded_requests_are_judged_again_and_torn_lines_told(here: Path) -> None:
    (here / "a.yaml").write_text("version: 1\nname: a\ninput: {blocklists: [{name: own, terms: [yak]}]}\n")
    (here / "b.yaml").write_text("version: 1\nname: b\n")
    file = audit(here, recorded("a yak"), recorded("a cow"), {"request_id": "r2", "content": None})
    outcome = run("a.yaml", "b.yaml", "--from-audit", file.name, "--fail-on-looser")
    assert outcome.exit_code == 1
    lines = outcome.stdout.splitlines()
    assert "2 cases, 1 decided differently: 1 looser" in lines
    assert '  audit.jsonl:1  "r1"  input: filter -> allow (blocklist own: block -> none)' in lines
    assert "skipped 1 line: no whole line of an audit log" in lines
    assert "skipped 1 line: recorded without its texts (content is not full)" in lines


def test_recorded_requests_may_come_from_standard_input(here: Path) -> None:
    outcome = run("default", "house.yaml", "--from-audit", "-", stdin=orjson.dumps(recorded("Hi")).decode())
    assert outcome.exit_code == 0
    assert "1 case, all decided alike" in outcome.stdout


def test_recorded_requests_without_a_classifier_to_judge_them_are_an_error(here: Path) -> None:
    outcome = run("default", "azure-default", "--from-audit", audit(here, recorded("Hi")))
    assert outcome.exit_code == 2
    assert "CONTENT_SAFETY_ENDPOINT" in outcome.stderr


def shadowed() -> JSONObject:
    def stage(decision: str, threshold: str) -> JSON:
        hate: JSONObject = {"filtered": decision == "block", "severity": 4, "label": "medium", "threshold": threshold}
        return {"decision": decision, "categories": {"hate": hate}, "blocklists": {}, "error": None}

    shadow: JSONObject = {"policy": "b@2", "decision": "allow", "input": stage("allow", "high"), "output": None}
    return {"request_id": "r1", "policy": "a@1", "input": stage("block", "medium"), "output": None, "shadow": shadow}


def test_recorded_decisions_need_no_policies(here: Path) -> None:
    outcome = run("--shadow", audit(here, shadowed()).name, "--fail-on-looser")
    assert outcome.exit_code == 1
    assert outcome.stdout.splitlines()[-1] == (
        'FAIL b@2 is looser than a@1: audit.jsonl:1  "r1"  input: filter -> allow (hate 4: medium -> high)'
    )


def test_recorded_decisions_of_other_policies_are_no_cases_and_it_is_told_whose_they_are(here: Path) -> None:
    outcome = run("default", "house.yaml", "--shadow", audit(here, shadowed()))
    assert outcome.exit_code == 2
    assert "decided by other policies: a@1, shadow b@2" in outcome.stderr


# ---------------------------------------------------------------------------------------------------------------- reports


def test_json_on_standard_output_is_alone_there(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--report", "json", "--fail-on-looser")
    assert outcome.exit_code == 1
    assert orjson.loads(outcome.stdout)["looser"] is True
    assert "FAIL" in outcome.stderr


def test_several_reports_are_written_to_files(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--report", "json=d.json", "--report", "html=d.html")
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("default@")
    assert orjson.loads((here / "d.json").read_bytes())["diffs"][0]["different"] == 1
    assert "a slur" in (here / "d.html").read_text()


def test_no_report_holds_a_text_of_a_case(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--report", "json=d.json", "--report", "html=d.html")
    told = outcome.output + (here / "d.json").read_text() + (here / "d.html").read_text()
    assert "say it" not in told


def test_a_report_that_cannot_be_written_is_an_error(here: Path) -> None:
    outcome = run("default", "house.yaml", "--cases", "cases.yaml", "--report", "json=nowhere/d.json")
    assert outcome.exit_code == 2
    assert "nowhere/d.json: cannot be written" in outcome.stderr


# ------------------------------------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["default", "strict"], "Give one of --cases, --from-audit and --shadow."),
        (["default", "strict", "--cases", "cases.yaml", "--shadow", "x"], "Give one of"),
        (["default", "--cases", "cases.yaml"], "Give two policies, A and B."),
        (["--cases", "cases.yaml"], "Give two policies, A and B."),
        (["default", "--shadow", "x"], "Give two policies, A and B."),
        (["a", "b", "c", "--cases", "cases.yaml"], "Give two policies, A and B."),
        (["default", "strict", "--cases", "cases.yaml", "--report", "xml=x"], "--report must be one of json, html"),
        (["defalt", "strict", "--cases", "cases.yaml"], "did you mean `default`?"),
        (["default", "nowhere.yaml", "--cases", "cases.yaml"], "nowhere.yaml: cannot be read"),
        (["default", "strict", "--cases", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["default", "strict", "--cases", "house.yaml"], "house.yaml"),
        (["default", "strict", "--from-audit", "nowhere"], "nowhere: cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_exit_status_2(here: Path, arguments: list[str], said: str) -> None:
    outcome = run(*arguments)
    assert outcome.exit_code == 2
    assert said in outcome.stderr


def test_no_case_is_an_error(here: Path) -> None:
    (here / "empty.jsonl").write_text("")
    outcome = run("default", "strict", "--cases", "empty.jsonl")
    assert outcome.exit_code == 2
    assert "there is no case to judge" in outcome.stderr
