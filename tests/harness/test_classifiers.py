"""Policies under test are judged by the classifiers that they name, and nobody else need be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_proxy.documents import parse
from safety_proxy.errors import ConfigError
from safety_proxy.harness.classifiers import classifiers_for
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load

CONFIG = """\
classifiers:
  guard: {type: llama_guard, url: "http://guard", model: meta-llama/Llama-Guard-3-8B, key: "${KEY}", fallback: spare}
  spare: {type: http, url: "http://spare", reports: [hate, sexual, violence, self_harm]}
  other: {type: http, url: "${NOT_SET}", reports: [hate]}
backends: {llama: {url: "${NOT_SET_EITHER}"}}
"""


def policy(*classifiers: str) -> Policy:
    return load(parse(f"version: 1\nname: p\nclassifiers: [{', '.join(classifiers)}]\n", "p.yaml"))


def test_without_a_configuration_there_is_the_embedded_one() -> None:
    assert classifiers_for([policy("embedded")], None, {}).keys() == {"embedded"}
    with pytest.raises(ConfigError, match=r"p\.yaml:3: classifiers\[0\]: no classifier is called `guard`"):
        classifiers_for([policy("guard")], None, {})


async def test_of_a_configuration_only_what_is_named_counts_with_its_stand_in(tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text(CONFIG)
    made = classifiers_for([policy("guard"), policy("embedded", "guard")], config, {"KEY": "secret"})

    assert made.keys() == {"embedded", "guard", "spare"}
    assert " or else " in made["guard"].identity
    for each in made.values():
        await each.close()
    with pytest.raises(ConfigError, match="the environment variable KEY is not set"):
        classifiers_for([policy("guard")], config, {})
