"""Every shipped policy does what its cases say: run through the engine that serves traffic, streamed and whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from safety_proxy.documents import read
from safety_proxy.harness.cases import Case, read_cases
from safety_proxy.harness.runner import Runner
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load, shipped

EVERY = list(read_cases(Path(__file__).parent.parent / "policies" / "cases"))


@cache
def policy_called(name: str) -> Policy:
    return load(read(shipped()[name]))


def test_every_shipped_policy_has_cases() -> None:
    assert set(shipped()) == {case.policy for case in EVERY}


def test_every_case_brings_its_verdicts_along() -> None:
    """They are about the policies; how good a classifier is, is no matter of theirs."""
    assert [case.name for case in EVERY if case.verdicts is None] == []


def test_every_side_that_is_judged_is_looked_at() -> None:
    for case in EVERY:
        assert case.input is not None
        assert case.input.decision is not None
        assert (case.output is not None) == ("completion" in case.body)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: f"{case.policy}: {case.name}")
async def test_case(case: Case) -> None:
    assert case.policy is not None
    outcome = await Runner(policy_called(case.policy), {}).run(case)
    assert outcome.faults == ()
