"""Claims about `safety-proxy policy`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy import cli_policy, policy_file
from safety_proxy.cli import main
from safety_proxy.documents import parse, read
from safety_proxy.model import JSON, Category, JSONObject, Kind
from safety_proxy.settings_classifiers import _SHAPES

MINIMAL = "version: 1\nname: {name}\n"
SHIPPED = policy_file.shipped()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("CONTENT_SAFETY_ENDPOINT", "CONTENT_SAFETY_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


# ----------------------------------------------------------------------------------------------------------------- check


def test_all_shipped_policies_are_valid_and_need_no_credentials(here: Path) -> None:
    outcome = run("check")
    assert outcome.exit_code == 0
    assert [line.split("@")[0] for line in outcome.stdout.splitlines()] == [f"ok   {name}" for name in sorted(SHIPPED)]


def test_a_valid_policy_is_one_line_with_identity_and_file(here: Path) -> None:
    write(here / "house.yaml", MINIMAL.format(name="house"))
    outcome = run("check", "house.yaml")
    assert outcome.exit_code == 0
    assert re.fullmatch(r"ok   house@[0-9a-f]{12}  house\.yaml\n", outcome.stdout)


def test_a_path_is_told_as_one_would_write_it_here(here: Path) -> None:
    file = write(here / "house" / "a.yaml", MINIMAL.format(name="a"))
    assert run("check", file).stdout.endswith("  house/a.yaml\n")


def test_an_invalid_policy_is_told_with_file_line_and_field_and_the_others_are_told_too(here: Path) -> None:
    write(here / "house" / "a.yaml", MINIMAL.format(name="a") + "input:\n  hate: {block_at: sometimes}\n")
    write(here / "house" / "b.yaml", MINIMAL.format(name="b"))
    outcome = run("check", "house/")
    assert outcome.exit_code == 2
    bad, good = outcome.stdout.splitlines()
    assert bad.startswith("FAIL house/a.yaml:4: input.hate.block_at: must be ")
    assert good.startswith("ok   b@")


def test_what_is_allowed_but_promises_less_than_it_seems_is_a_warning(here: Path) -> None:
    write(here / "w.yaml", MINIMAL.format(name="w") + "output:\n  stream: {first_window: 20}\n")
    outcome = run("check", "w.yaml")
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[1].startswith("warn w.yaml:4: output.stream.first_window: releases nothing")


def test_a_category_that_no_named_classifier_reports_is_invalid(here: Path) -> None:
    write(here / "p.yaml", MINIMAL.format(name="p") + "output:\n  protected_material_text: {action: block}\n")
    outcome = run("check", "p.yaml")
    assert outcome.exit_code == 2
    assert outcome.stdout.startswith("FAIL p.yaml:4: output.protected_material_text: cannot be enforced")


def test_a_classifier_that_nobody_knows_is_invalid_until_the_configuration_names_it(here: Path) -> None:
    """Names and types count: the variables of the configuration need not be set."""
    write(here / "p.yaml", MINIMAL.format(name="p") + "classifiers: [cloud]\n")
    write(
        here / "proxy.yaml",
        'classifiers: {cloud: {type: azure_content_safety, endpoint: "${NOT_SET}", key: {file: not-there}}}\n',
    )
    unknown = run("check", "p.yaml")
    assert unknown.exit_code == 2
    assert "no classifier named `cloud`" in unknown.stdout
    assert run("check", "p.yaml", "--config", "proxy.yaml").exit_code == 0


def test_blocklists_of_the_configuration_report_no_category(here: Path) -> None:
    write(here / "p.yaml", MINIMAL.format(name="p") + "classifiers: [house]\n")
    write(here / "proxy.yaml", "classifiers: {house: {type: blocklist, lists: [{name: x, terms: [y]}]}}\n")
    outcome = run("check", "p.yaml", "--config", "proxy.yaml")
    assert outcome.exit_code == 2
    assert "cannot be enforced" in outcome.stdout


def test_a_type_of_classifier_that_there_is_none_of_is_an_error(here: Path) -> None:
    write(here / "proxy.yaml", "classifiers:\n  a: {type: oracle}\n")
    outcome = run("check", "--config", "proxy.yaml")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: proxy.yaml:2: classifiers.a.type: must be one of: embedded, ")


def test_without_arguments_the_policies_of_the_configuration_are_meant(here: Path) -> None:
    (here / "conf" / "nowhere").mkdir(parents=True)
    write(here / "conf" / "house" / "b.yaml", MINIMAL.format(name="b"))
    write(here / "conf" / "proxy.yaml", 'policies: ["${NOT_SET:-house}/", nowhere/]\nbackends: {a: {key: "${NOT_SET}"}}\n')
    outcome = run("check", "--config", "conf/proxy.yaml")
    good, bad = outcome.stdout.splitlines()
    assert good.startswith("ok   b@")
    assert bad == "FAIL conf/proxy.yaml:1: policies[1]: no *.yaml in this folder"
    assert outcome.exit_code == 2


def test_each_file_is_told_once(here: Path) -> None:
    file = write(here / "house" / "a.yaml", MINIMAL.format(name="a"))
    assert len(run("check", "house", "house/a.yaml", file).stdout.splitlines()) == 1


def test_shipped_policies_are_found_by_name(here: Path) -> None:
    outcome = run("check", "strict")
    assert outcome.stdout.startswith("ok   strict@")
    assert len(outcome.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("strct", "FAIL strct: no such file, folder or shipped policy; did you mean `strict`?"),
        ("zzz", "FAIL zzz: no such file, folder or shipped policy; shipped are: annotate-only, azure-default, "),
        ("gone.yaml", "FAIL gone.yaml: cannot be read: No such file or directory"),
        ("empty/", "FAIL empty/: no *.yaml in this folder"),
    ],
)
def test_what_is_not_there_is_invalid(here: Path, name: str, message: str) -> None:
    (here / "empty").mkdir()
    outcome = run("check", name)
    assert outcome.exit_code == 2
    assert outcome.stdout.startswith(message)


def test_that_there_is_no_policy_at_all_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_file, "shipped", dict)
    outcome = run("check")
    assert (outcome.exit_code, outcome.stderr) == (2, "error: no policy found\n")


def test_every_type_of_classifier_can_be_asked_what_it_reports(here: Path) -> None:
    """So that `check` and the server agree: both ask the same classes."""
    assert set(cli_policy._COMPLETE) == set(_SHAPES)
    entries = "".join(f"  {name}: {{type: {name}}}\n" for name in _SHAPES if name != "http")
    write(here / "proxy.yaml", f"classifiers:\n{entries}  http: {{type: http, reports: [hate], key: '${{NOT_SET}}'}}\n")
    reports = cli_policy._reports(read(here / "proxy.yaml"))
    assert {name for name, each in reports.items() if Category.HATE in each(Kind.USER_PROMPT)} == set(_SHAPES) - {
        "blocklist",
        "prompt_guard",
    }


@pytest.mark.parametrize(
    ("entry", "rule", "works"),
    [
        ("{type: http, reports: [hate]}", "hate: {block_at: low}", True),
        ("{type: http, reports: [sexual]}", "hate: {block_at: low}", False),
        ("{type: llama_guard, url: '${URL}', model: '${MODEL}', hazards: {S10: []}}", "hate: {block_at: low}", False),
        ("{type: azure_content_safety}", "hate: {block_at: low}", True),
        ("{type: azure_content_safety, checks: [shields]}", "hate: {block_at: low}", False),
    ],
)
def test_what_is_configured_decides_what_can_be_enforced(here: Path, entry: str, rule: str, works: bool) -> None:
    write(here / "proxy.yaml", f"classifiers: {{own: {entry}}}\n")
    policy = f"classifiers: [own]\ndefaults: off\ninput: {{{rule}}}\noutput: {{blocklists: [{{name: x, terms: [y]}}]}}\n"
    write(here / "p.yaml", MINIMAL.format(name="p") + policy)
    outcome = run("check", "p.yaml", "--config", "proxy.yaml")
    assert outcome.exit_code == (0 if works else 2)
    assert works or "cannot be enforced" in outcome.output


# ------------------------------------------------------------------------------------------------------- show and schema


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shown_is_a_policy_of_the_same_identity(name: str) -> None:
    outcome = run("show", name)
    assert outcome.exit_code == 0
    shown = policy_file.load(parse(outcome.stdout, "shown"))
    assert shown.identity == policy_file.load(read(SHIPPED[name])).identity
    assert outcome.stdout.splitlines()[0] == f"# {shown.identity}"


def test_what_is_shown_has_its_defaults_filled_in_and_keeps_odd_words(here: Path) -> None:
    odd = r'["off", "null", "15", "1e3", "- a: b", "Stra\u00dfe \U0001f600", "tab\t", "#x"]'
    text = MINIMAL.format(name="p") + f"input:\n  hate: off\n  blocklists: [{{name: a, terms: {odd}}}]\n"
    write(here / "p.yaml", text)
    shown = run("show", "p.yaml").stdout
    assert "\n  hate: off\n" in shown
    assert "\n  sexual: {block_at: medium, on_error: block, combine: any}\n" in shown
    assert policy_file.load(parse(shown, "shown")).identity == policy_file.load(read(here / "p.yaml")).identity


def test_a_policy_that_is_not_valid_is_not_shown(here: Path) -> None:
    write(here / "p.yaml", "version: 2\n")
    outcome = run("show", "p.yaml")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("error: p.yaml:1: version: ")


SCALARS: st.SearchStrategy[JSON] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.sampled_from(["off", "true", "Null", "~", "0x1f", "15s", "1.5s", "-", "a: b", "a #b", "\u2028", "\x85", "\ufeff"])
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def containers(inner: st.SearchStrategy[JSON]) -> st.SearchStrategy[JSON]:
    lists: st.SearchStrategy[JSON] = st.lists(inner, max_size=4)
    return lists | st.dictionaries(KEYS, inner, max_size=4)


@given(st.dictionaries(KEYS, st.recursive(SCALARS, containers, max_leaves=12), min_size=1, max_size=4))
def test_any_content_is_read_back_as_it_was_written(content: JSONObject) -> None:
    assert parse("\n".join(cli_policy.to_yaml(content)), "written").content == content


def test_the_schema_is_that_of_policies() -> None:
    outcome = run("schema")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout) == policy_file.schema()
