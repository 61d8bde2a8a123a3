"""Claims about `safety-proxy version`."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

import safety_proxy
from safety_proxy import cli_version
from safety_proxy.classifiers.embedded.model import Model
from safety_proxy.cli import main
from safety_proxy.errors import ConfigError

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_program_python_model_and_dependencies_are_told_for_people() -> None:
    outcome = CliRunner().invoke(main, ["version"])
    program, python, model, *dependencies = outcome.stdout.splitlines()
    assert program == f"safety-proxy {safety_proxy.__version__}"
    assert python == f"Python {platform.python_version()}"
    assert re.fullmatch(r"embedded model format \d+, sha256 [0-9a-f]{64}", model)
    assert [line.split()[0] for line in dependencies] == list(cli_version.DEPENDENCIES)


def test_programs_get_the_same_as_json() -> None:
    told = json.loads(CliRunner().invoke(main, ["version", "--json"]).stdout)
    file = resources.files("safety_proxy.classifiers.embedded").joinpath("model.npz").read_bytes()
    assert told["safety_proxy"] == safety_proxy.__version__
    assert told["python"] == platform.python_version()
    assert told["embedded_model"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert re.fullmatch(r"\d+\.\d+.*", told["dependencies"]["aiohttp"])


def test_the_dependencies_are_those_of_the_project() -> None:
    written = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    assert list(cli_version.DEPENDENCIES) == [re.split(r"[\[<>=;]", each)[0] for each in written]


def test_a_dependency_that_is_not_there_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_version, "DEPENDENCIES", ("no-such-distribution",))
    assert CliRunner().invoke(main, ["version"]).stdout.endswith("\nno-such-distribution not installed\n")
    assert json.loads(CliRunner().invoke(main, ["version", "--json"]).stdout)["dependencies"] == {
        "no-such-distribution": None
    }


def test_an_installation_without_its_model_still_tells_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Model:
        raise ConfigError("cannot be read", file="model.npz")

    monkeypatch.setattr(Model, "load", load)
    outcome = CliRunner().invoke(main, ["version"])
    assert outcome.exit_code == 0
    assert "embedded model error model.npz: cannot be read\n" in outcome.stdout
