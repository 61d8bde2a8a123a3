"""``policy test``: exit status, lines and reports, as an operator and a CI server meet them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from safety_proxy import cli

SHIPPED = Path(__file__).parents[1] / "policies"
CASES = SHIPPED / "cases" / "default.yaml"


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["policy", "test", *map(str, arguments)], input=stdin)


def line(expect: str, **more: object) -> str:
    return json.dumps({"name": "n", "text": "the phrase", "expect": {"input": expect}, **more}) + "\n"


HATE = {"verdicts": {"the phrase": {"hate": 4}}}


def test_every_shipped_policy_passes_its_suite() -> None:
    outcome = run("--cases", SHIPPED / "cases")

    assert outcome.exit_code == 0, outcome.output
    for name in ("default", "strict", "permissive", "annotate-only", "azure-default"):
        assert f"\n{name}@" in f"\n{outcome.stdout}"


def test_a_policy_loosened_by_one_level_fails_with_a_line_that_tells_which_case_and_why(tmp_path: Path) -> None:
    loose = tmp_path / "default.yaml"
    loose.write_text("version: 1\nname: default\ninput: {hate: {block_at: high}}\n")

    outcome = run(loose, "--cases", CASES)

    assert outcome.exit_code == 1
    assert "FAIL  default@" in outcome.stdout
    assert "medium hate is filtered on both sides" in outcome.stdout
    assert "input: expected filter, got allow (hate 4)" in outcome.stdout
    assert f"{CASES}:" in outcome.stdout


def test_cases_come_from_standard_input_and_a_report_goes_to_standard_output(tmp_path: Path) -> None:
    outcome = run("default", "--cases", "-", "--report", "json", stdin=line("filter", **HATE) + line("allow", **HATE))

    assert outcome.exit_code == 1
    document = json.loads(outcome.stdout)
    assert (document["policies"][0]["total"], document["policies"][0]["failed"]) == (2, 1)
    assert "standard input:2" in outcome.stderr


def test_several_reports_are_written_at_once(tmp_path: Path) -> None:
    html, xml = tmp_path / "report.html", tmp_path / "report.xml"
    outcome = run(
        "default", "--cases", "-", "--report", f"html={html}", "--report", f"junit={xml}", stdin=line("filter", **HATE)
    )

    assert outcome.exit_code == 0, outcome.output
    assert ET.parse(xml).getroot()[0].attrib["tests"] == "1"  # noqa: S314 - our own
    assert html.read_text().startswith("<!DOCTYPE html>")


def test_what_was_found_stands_out_in_the_page(tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    said = line("allow", completion="And then the phrase was said.", **HATE)
    outcome = run("default", "--cases", "-", "--report", f"html={html}", stdin=said)

    assert outcome.exit_code == 1
    marked = re.findall(r"<mark[^>]*>([^<]*)", html.read_text())
    assert marked == ["the phrase", "the phrase"]


def test_only_cases_with_a_tag_are_run_and_none_is_an_error() -> None:
    both = line("filter", tags=["quick"], **HATE) + line("allow", tags=["slow"], **HATE)

    assert run("default", "--cases", "-", "--filter", "quick", stdin=both).exit_code == 0
    outcome = run("default", "--cases", "-", "--filter", "nobody", stdin=both)
    assert (outcome.exit_code, outcome.stderr) == (
        2,
        "error: no case was run: none is about these policies, or has one of these tags\n",
    )


def test_the_first_failure_ends_it_if_that_is_wanted() -> None:
    failing = line("allow", **HATE) * 3

    assert "3 cases, 3 failed" in run("default", "--cases", "-", stdin=failing).stdout
    assert "1 cases, 1 failed" in run("default", "--cases", "-", "--fail-fast", stdin=failing).stdout


def test_cases_without_verdicts_are_judged_by_the_classifiers_of_the_policy(tmp_path: Path) -> None:
    recording = tmp_path / "verdicts.jsonl"
    asked = json.dumps({"text": "How far is the Moon?", "expect": {"input": "allow"}})

    assert run("default", "--cases", "-", "--record", recording, stdin=asked).exit_code == 0
    assert "Moon" not in recording.read_text()
    assert run("default", "--cases", "-", "--replay", recording, stdin=asked).exit_code == 0
    other = run("default", "--cases", "-", "--replay", recording, stdin=asked.replace("Moon", "Sun"))
    assert other.exit_code == 2, other.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["default"], "Missing option '--cases'"),
        (["nobody", "--cases", "-"], "no such file, folder or shipped policy"),
        (["default", "--cases", "no-such-file.yaml"], "no-such-file.yaml: cannot be read"),
        (["default", "--cases", "-", "--report", "pdf"], "--report must be one of html, json, junit, github"),
        (["default", "--cases", "-", "--engine", "dask"], "--engine dask and --scheduler go together"),
        (["default", "--cases", "-", "--record", "a", "--replay", "b"], "--record and --replay do not go together"),
        (["--cases", "-"], "Name a POLICY"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: list[str], told: str) -> None:
    outcome = run(*arguments, stdin="")

    assert outcome.exit_code == 2
    assert told in outcome.stderr
    assert "Traceback" not in outcome.output


def test_a_case_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    outcome = run("default", "--cases", "-", stdin='{"text": "x", "expect": {"input": "perhaps"}}')

    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: standard input:1: expect.input")
