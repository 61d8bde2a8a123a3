"""What the plugin for pytest asks; runs of pytest itself are in tests/test_pytest_plugin.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import case_of
from safety_proxy.harness.suite import PolicyUnderTest, Suite
from safety_proxy.model import JSONObject

EXPECT: JSONObject = {"input": "filter"}


@pytest.fixture
def suite() -> Iterator[Suite]:
    made = Suite(None, {})
    yield made
    made.close()


def asked(suite: Suite, name: str = "default") -> PolicyUnderTest:
    return PolicyUnderTest(suite, suite.policy(name))


def test_policies_are_shipped_or_files_in_the_first_folder_that_has_them(suite: Suite, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "house.yaml").write_text(f"{{version: 1, name: {name}}}")
    assert suite.policy("strict").name == "strict"
    assert suite.policy("house.yaml", tmp_path, tmp_path / "b", tmp_path / "a").name == "b"
    assert suite.policy(str(tmp_path / "a" / "house.yaml"), tmp_path / "b").name == "a"


@pytest.mark.parametrize(
    ("name", "error"),
    [("strikt", "strikt: no policy is called so; shipped are: "), ("./strict", "strict: cannot be read: No such file")],
)
def test_a_policy_that_is_not_there_is_named(suite: Suite, name: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite.policy(name)
    assert str(caught.value).startswith(error)


def test_a_case_that_brings_verdicts_along_needs_no_classifier(suite: Suite) -> None:
    """`azure-default` is judged by a service whose key nobody has told."""
    policy = suite.policy("azure-default")
    scripted = case_of({"text": "a", "verdicts": {"a": {"hate": 6}}, "expect": EXPECT}, "c", 1)
    assert suite.run(policy, scripted).faults == ()
    with pytest.raises(ConfigError, match="CONTENT_SAFETY_ENDPOINT"):
        suite.run(policy, case_of({"text": "a", "expect": EXPECT}, "c", 1))


def test_a_case_without_verdicts_is_judged_by_the_policys_classifiers(suite: Suite) -> None:
    outcome = asked(suite).decides(text="How far is the Moon?")
    assert outcome.input is not None
    assert outcome.input.categories
    assert outcome.input.decision == "allow"


def test_both_sides_may_be_asked_about_at_once(suite: Suite) -> None:
    outcome = asked(suite).decides(
        messages=[{"role": "user", "content": "a"}],
        completion="b",
        verdicts={"b": {"violence": 4}},
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    assert outcome.input is not None
    assert outcome.output is not None
    assert (outcome.input.decision, outcome.output.decision, outcome.faults) == ("allow", "filter", ())


async def test_a_test_that_runs_in_a_loop_may_ask_too(suite: Suite) -> None:
    outcome = asked(suite).decides(prompt="a", verdicts={"a": "error"})
    assert outcome.input is not None
    assert outcome.input.decision == "error"


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "decides(): has nothing to judge: write text, messages, prompt or completion"),
        ({"text": "a", "txt": 1}, "decides(): txt: unknown key; did you mean `text`?"),
        ({"messages": [{"role": "user", "content": 3}], "verdicts": {}}, "decides(): messages[0].content: "),
    ],
)
def test_what_cannot_be_judged_is_told(suite: Suite, keys: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(suite).decides(**keys)  # type: ignore[arg-type]  # what is wrong is the point
    assert str(caught.value).startswith(error)
