"""Runs of pytest inside a run of pytest: in the same process where one is enough, so that it is measured."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from safety_proxy import pytest_plugin
from safety_proxy.harness.suite import Suite  # also so that each run inside does not import it anew

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
CASES = """
policy: default
cases:
  - name: hate is filtered
    text: the phrase
    verdicts: {the phrase: {hate: 4}}
    expect: {input: filter}
    tags: [rude, de-DE]
  - name: hate is let through
    text: the phrase
    completion: the phrase
    verdicts: {the phrase: {hate: 4}}
    expect: {input: allow, output: {categories: {hate: {filtered: false}}}}
  - name: nothing is filtered
    text: a phrase
    verdicts: {}
    expect: {input: allow}
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.path.joinpath("house.cases.yaml").write_text(CASES)
    return pytester


def run(inner: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return inner.runpytest_inprocess(*arguments, plugins=[pytest_plugin])


# ------------------------------------------------------------------------------------------------------------ case files


def test_case_files_are_found_and_each_case_is_a_test(inner: pytest.Pytester) -> None:
    outcome = run(inner, "--safety-policy=default", "-v")
    outcome.assert_outcomes(passed=2, failed=1)
    outcome.stdout.fnmatch_lines(
        [
            "house.cases.yaml::hate is filtered PASSED*",
            "house.cases.yaml::hate is let through FAILED*",
            "house.cases.yaml::nothing is filtered PASSED*",
        ]
    )


def test_a_failure_tells_what_was_expected_and_where_it_stands_and_no_traceback(inner: pytest.Pytester) -> None:
    outcome = run(inner, "--safety-policy=default")
    outcome.stdout.fnmatch_lines(
        [
            "house.cases.yaml:9: hate is let through, by default@*",
            "  input: expected allow, got filter (hate 4)",
            "  output: expected hate filtered=false, got true",
        ]
    )
    outcome.stdout.no_fnmatch_line("*Traceback*")
    outcome.stdout.no_fnmatch_line("*runtest*")


def test_nothing_is_collected_without_a_policy(inner: pytest.Pytester) -> None:
    assert run(inner).ret is pytest.ExitCode.NO_TESTS_COLLECTED


def test_cases_without_a_policy_are_wrong_usage(inner: pytest.Pytester) -> None:
    outcome = run(inner, "--safety-cases=house.cases.yaml")
    assert outcome.ret is pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*--safety-cases needs a --safety-policy"])


def test_a_file_or_a_test_can_be_named(inner: pytest.Pytester) -> None:
    inner.path.joinpath("house.cases.yaml").rename(inner.path / "house.yaml")
    run(inner, "--safety-policy=default").assert_outcomes()
    run(inner, "--safety-policy=default", "house.yaml").assert_outcomes(passed=2, failed=1)
    run(inner, "--safety-policy=default", "house.yaml::hate is filtered").assert_outcomes(passed=1)


def test_folders_of_cases_are_added_and_nothing_runs_twice(inner: pytest.Pytester) -> None:
    inner.mkdir("cases").joinpath("more.jsonl").write_text('{"text": "x", "verdicts": {}, "expect": {"input": "allow"}}\n')
    arguments = ("--safety-policy=default", "--safety-cases=cases", "--safety-cases=house.cases.yaml", "-v")
    outcome = run(inner, *arguments)
    outcome.assert_outcomes(passed=3, failed=1)
    outcome.stdout.fnmatch_lines(["cases/more.jsonl::line 1 PASSED*"])


def test_a_folder_without_cases_is_wrong_usage(inner: pytest.Pytester) -> None:
    inner.mkdir("cases")
    outcome = run(inner, "--safety-policy=default", "--safety-cases=cases")
    assert outcome.ret is pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*--safety-cases: cases: no *.yaml and no *.jsonl in this folder"])


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [(["-k", "rude"], 1), (["-k", "de-DE"], 1), (["-m", "rude"], 1), (["-m", "not rude"], 2), (["-k", "nothing"], 1)],
)
def test_tags_choose_among_cases(inner: pytest.Pytester, arguments: list[str], chosen: int) -> None:
    outcome = run(inner, "--safety-policy=default", "--strict-markers", "--collect-only", "-q", *arguments)
    assert sum("::" in line for line in outcome.outlines) == chosen


def test_a_tag_is_what_a_marker_of_its_name_is(inner: pytest.Pytester) -> None:
    inner.path.joinpath("house.cases.yaml").write_text(CASES.replace("rude", "skip"))
    run(inner, "--safety-policy=default").assert_outcomes(passed=1, failed=1, skipped=1)


def test_a_tag_chooses_among_added_cases_too(inner: pytest.Pytester) -> None:
    inner.path.joinpath("house.cases.yaml").rename(inner.path / "house.yaml")
    run(inner, "--safety-policy=default", "--safety-cases=house.yaml", "-m", "rude").assert_outcomes(passed=1, deselected=2)


def test_a_case_runs_under_every_policy_that_it_may_be_about(inner: pytest.Pytester) -> None:
    inner.path.joinpath("house.cases.yaml").write_text(CASES.replace("policy: default\n", ""))
    outcome = run(inner, "--safety-policy=default", "--safety-policy=permissive", "-v")
    outcome.assert_outcomes(passed=4, failed=2)
    outcome.stdout.fnmatch_lines_random(
        [
            "house.cases.yaml::hate is filtered [[]default[]] PASSED*",
            "house.cases.yaml::hate is filtered [[]permissive[]] FAILED*",
        ]
    )


def test_cases_that_are_all_about_other_policies_are_an_error(inner: pytest.Pytester) -> None:
    outcome = run(inner, "--safety-policy=strict")
    outcome.assert_outcomes(errors=1)
    outcome.stdout.fnmatch_lines(["*no case is about a policy of --safety-policy (strict)"])


def test_cases_of_one_name_are_told_apart_by_their_line(inner: pytest.Pytester) -> None:
    line = '{"name": "a\\n:: b", "text": "x", "verdicts": {}, "expect": {"input": "allow"}}\n'
    inner.path.joinpath("house.cases.jsonl").write_text(line * 2)
    outcome = run(inner, "--safety-policy=default", "--collect-only", "-q", "house.cases.jsonl")
    assert outcome.outlines[:2] == ["house.cases.jsonl::a : b", "house.cases.jsonl::a : b (line 2)"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--safety-policy=default"], "*house.cases.yaml:2: cases: *"),
        (["--safety-policy=defalt"], "defalt: no policy is called so; shipped are: *default*"),
        (["--safety-policy=./none.yaml"], "*none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_files_that_are_wrong_are_told_without_a_traceback(inner: pytest.Pytester, arguments: list[str], error: str) -> None:
    inner.path.joinpath("house.cases.yaml").write_text("policy: default\ncases: []\n")
    outcome = run(inner, *arguments)
    outcome.assert_outcomes(errors=1)
    outcome.stdout.fnmatch_lines([error])
    outcome.stdout.no_fnmatch_line("*Traceback*")


def test_mistakes_in_added_files_are_wrong_usage(inner: pytest.Pytester) -> None:
    inner.path.joinpath("a.yaml").write_text("cases: [{text: x}]")
    outcome = run(inner, "--safety-policy=default", "--safety-cases=a.yaml", "house.cases.yaml")
    assert outcome.ret is pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*a.yaml:1: cases[[]0[]].expect: is required"])


def test_a_case_that_cannot_be_judged_tells_why(inner: pytest.Pytester) -> None:
    inner.path.joinpath("house.cases.yaml").write_text(
        "cases: [{name: sound, messages: [{role: user, content: 3}], verdicts: {}, expect: {input: allow}}]"
    )
    outcome = run(inner, "--safety-policy=default")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*house.cases.yaml:1: messages[[]0[]].content: *"])
    outcome.stdout.no_fnmatch_line("*Traceback*")


def test_a_mistake_of_our_own_is_shown_with_its_traceback(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Suite, "run", broken)
    outcome = run(inner, "--safety-policy=default")
    outcome.assert_outcomes(failed=3)
    outcome.stdout.fnmatch_lines(["*RuntimeError: broken"])


def test_classifiers_come_from_the_configuration(inner: pytest.Pytester) -> None:
    inner.path.joinpath("proxy.yaml").write_text("classifiers: {mine: {type: embedded}}")
    inner.path.joinpath("policy.yaml").write_text("{version: 1, name: house, classifiers: [mine]}")
    inner.path.joinpath("house.cases.yaml").write_text("cases: [{text: How far is the Moon?, expect: {input: allow}}]")
    run(inner, "--safety-policy=policy.yaml", "--safety-config=proxy.yaml").assert_outcomes(passed=1)
    outcome = run(inner, "--safety-policy=policy.yaml")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*policy.yaml:1: classifiers[[]0[]]: no classifier is called `mine`; *"])
    outcome.stdout.no_fnmatch_line("*Traceback*")


def test_paths_in_a_configuration_of_pytest_are_found_from_its_folder(inner: pytest.Pytester) -> None:
    inner.makeini("[pytest]\naddopts = --safety-policy ./policies/house.yaml --safety-cases cases")
    inner.mkdir("policies").joinpath("house.yaml").write_text("{version: 1, name: default}")
    inner.path.joinpath("house.cases.yaml").rename(inner.mkdir("cases") / "house.yaml")
    below = inner.mkdir("below")
    inner.path.joinpath("below", "test_a.py").write_text("def test_a(): pass")
    inner.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        run(inner).assert_outcomes(passed=3, failed=1)


def test_cases_spread_over_processes(inner: pytest.Pytester) -> None:
    arguments = ("-p", "xdist", "-p", "safety_proxy.pytest_plugin", "-n", "2", "--safety-policy=default")
    inner.path.joinpath("house.cases.yaml").rename(inner.path / "house.yaml")
    outcome = inner.runpytest_subprocess(*arguments, "--safety-cases=house.yaml")
    outcome.assert_outcomes(passed=2, failed=1)
    outcome.stdout.fnmatch_lines(["house.yaml:9: hate is let through, by default@*"])


# --------------------------------------------------------------------------------------------------------------- fixture


def test_a_policy_can_be_asked_in_a_test(inner: pytest.Pytester) -> None:
    inner.mkdir("policies").joinpath("house.yaml").write_text("{version: 1, name: house}")
    inner.makepyfile(
        """
        import asyncio
        import pytest
        from safety_proxy.errors import ConfigError

        def test_input(safety_policy):
            outcome = safety_policy("policies/house.yaml").decides(text="the phrase", verdicts={"the phrase": {"hate": 4}})
            assert outcome.input.decision == "filter"
            assert outcome.output is None

        def test_both(safety_policy):
            messages = [{"role": "user", "content": "hello"}]
            outcome = safety_policy("permissive").decides(messages=messages, completion="hi", verdicts={"hi": {"hate": 4}})
            assert (outcome.input.decision, outcome.output.decision) == ("allow", "allow")
            assert outcome.output.categories["hate"].severity == 4

        def test_inside_a_loop(safety_policy):
            async def ask():
                return safety_policy("default").decides(completion="hi", verdicts={}).output.decision
            assert asyncio.run(ask()) == "allow"

        def test_nothing(safety_policy):
            with pytest.raises(ConfigError, match="nothing to judge"):
                safety_policy("default").decides()
        """
    )
    run(inner).assert_outcomes(passed=4)


# ---------------------------------------------------------------------------------------------------------------- inert


def test_the_package_names_the_plugin_and_our_own_tests_do_without_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"safety_proxy": pytest_plugin.__name__}
    assert "no:safety_proxy" in project["tool"]["pytest"]["ini_options"]["addopts"]


def test_the_plugin_imports_nothing_of_ours_before_it_is_used() -> None:
    new = "print(*sorted(set(sys.modules) - old))"
    code = f"import sys, pytest; old = set(sys.modules); import safety_proxy.pytest_plugin; {new}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.split() == ["safety_proxy", "safety_proxy.pytest_plugin"]


def test_shipped_cases_are_a_suite(inner: pytest.Pytester) -> None:
    cases = (ROOT / "policies" / "cases" / "strict.yaml").read_text()
    inner.path.joinpath("house.cases.yaml").write_text(cases)
    run(inner, "--safety-policy=strict").assert_outcomes(passed=cases.count("  - name:"))
