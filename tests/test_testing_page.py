"""docs/testing.md keeps its word: its examples run, and its tables have every key and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

import safety_proxy.harness.suite  # noqa: F401 - imported here, so that the run of pytest inside does not import it anew
from safety_proxy import pytest_plugin, testing
from safety_proxy.documents import parse
from safety_proxy.harness import cases, imports
from safety_proxy.harness.imported import Importer
from safety_proxy.harness.imports import columns_of, open_cases
from safety_proxy.harness.imports_columns import ALLOW_WORDS, FILTER_WORDS, Columns
from safety_proxy.harness.imports_promptfoo import read_promptfoo

pytest_plugins = ["pytester"]

PAGE: Final = (Path(__file__).parents[1] / "docs" / "testing.md").read_text(encoding="utf-8")
SHAPES: Final[dict[str, type[BaseModel]]] = {
    "A file": cases._CasesShape,
    "A case": cases.CaseShape,
    "key of `expect`": cases.ExpectShape,
    "key of a side": cases.SideShape,
    "key of a category": cases.CategoryShape,
}


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A run of pytest in the same process, without the plugins of others, which take seconds to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def rows(title: str) -> dict[str, str]:
    """Key and second cell of each row of the first table under the heading, or with the head cell, *title*."""
    _, _, section = PAGE.partition(f"\n### {title}\n")
    section = section or PAGE.partition(f"\n| {title} |")[2]
    table = section.partition("\n|")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\|? ?`([\w.{}-]+)` \| (.*?) \|", table, re.MULTILINE))


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("title", SHAPES)
def test_every_key_is_documented_and_no_other(title: str) -> None:
    assert list(rows(title)) == list(SHAPES[title].model_fields)


@pytest.mark.parametrize("title", SHAPES)
def test_the_defaults_are_the_true_ones(title: str) -> None:
    told = rows(title)
    for key, field in SHAPES[title].model_fields.items():
        if field.is_required():
            assert told[key] == "required"
        elif field.default is None:
            assert told[key] == "none"
        elif key != "name":  # whose default is made when a case is read
            assert parse(f"a: {told[key].strip('`')}", key).content == {"a": field.default}


def test_every_decision_is_named() -> None:
    (row,) = re.findall(r"^\| `decision` \| .*$", PAGE, re.MULTILINE)
    assert [word for word in cases.DECISIONS if f"`{word}`" not in row] == []


def test_every_stand_in_is_named() -> None:
    section = PAGE.partition("\n## Stand-ins\n")[2].partition("\n### ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(testing.__all__)


def test_every_option_of_the_plugin_is_named() -> None:
    parser = pytest.Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)
    known = {name for option in parser.getgroup("safety_proxy").options for name in option.names()}
    assert set(re.findall(r"^\| `(--safety-\w+)", PAGE, re.MULTILINE)) == known
    assert set(re.findall(r"--safety-\w+", PAGE)) == known


def test_every_format_and_column_is_named() -> None:
    assert [name for name in imports.FORMATS if name != "cases" and f"`--format {name}`" not in PAGE] == []
    assert set(rows("A table")) == set(Columns.__dataclass_fields__)


def test_words_of_labels_are_those_of_the_program() -> None:
    (row,) = re.findall(r"^\| `label` \| (.*) \|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) <= FILTER_WORDS | ALLOW_WORDS


def test_labels_of_openai_are_those_of_the_program() -> None:
    told = re.findall(r"^\| `(\w+)` \| (`[A-Z].*) \|$", PAGE, re.MULTILINE)
    assert {name: tuple(re.findall(r"\w+", labels)) for name, labels in told} == {
        category.value: labels for category, labels in imports._LABELS.items()
    }


# ------------------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("example", [each for each in examples("yaml") if "cases:" in each])
def test_examples_of_cases_hold(inner: pytest.Pytester, example: str) -> None:
    inner.path.joinpath("page.cases.yaml").write_text(example)
    outcome = inner.runpytest_inprocess("--safety-policy=default", plugins=[pytest_plugin])
    outcome.assert_outcomes(passed=example.count("- name:"))


def test_examples_of_lines_are_cases() -> None:
    (example,) = examples("json")
    assert [case.name for case in cases.read_lines(example.splitlines(), "page")] == ["a greeting is allowed"]


def test_the_example_of_promptfoo_can_be_read(tmp_path: Path) -> None:
    (example,) = (each for each in examples("yaml") if "tests:" in each)
    (tmp_path / "p.yaml").write_text(example)
    threat, parcel = read_promptfoo(tmp_path / "p.yaml", Importer())
    assert (threat.input, threat.tags) == (cases.ExpectedSide("filter"), frozenset({"kind=threat"}))
    assert parcel.output is not None
    assert parcel.output.decision == "allow"


def test_the_example_of_a_table_can_be_read(tmp_path: Path) -> None:
    (example,) = examples("csv")
    (tmp_path / "t.csv").write_text(example)
    (columns,) = re.findall(r"^That is `--columns (\S+)`", PAGE, re.MULTILINE)
    moon, fool = open_cases(tmp_path / "t.csv", columns=columns_of(columns))
    assert moon.input == cases.ExpectedSide("allow")
    assert fool.input is not None
    assert fool.input.decision == "filter"


@pytest.mark.parametrize("example", [each for each in examples("python") if not each.startswith("def test_")])
def test_examples_of_python_run(example: str) -> None:
    exec(example, {})  # noqa: S102 - our own examples


def test_the_example_of_a_test_passes_as_the_example_of_a_configuration_says(inner: pytest.Pytester) -> None:
    (example,) = (each for each in examples("python") if each.startswith("def test_"))
    (toml,) = examples("toml")
    assert tomllib.loads(toml)["tool"]["pytest"]["ini_options"]["addopts"]
    inner.makepyprojecttoml(toml)
    inner.makepyfile(example)
    inner.mkdir("policies").joinpath("shop.yaml").write_text("{version: 1, name: default}")
    inner.mkdir("cases").joinpath("shop.yaml").write_text(next(each for each in examples("yaml") if "cases:" in each))
    inner.runpytest_inprocess(plugins=[pytest_plugin]).assert_outcomes(passed=3)
