"""A run reads cases once for each policy, in their order, and tells of those that it could not use."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest

from safety_proxy.cli_common import load_policy
from safety_proxy.cli_policy_run import Run, Wanted
from safety_proxy.errors import ConfigError
from safety_proxy.harness.plan import Plan, Source
from safety_proxy.policy_file import shipped


def case(name: str, **more: object) -> str:
    return json.dumps({"name": name, "text": "x", "verdicts": {}, "expect": {"input": "allow"}, **more})


def wanted(path: Path, *tags: str, **more: object) -> Wanted:
    return Wanted(**{"paths": (str(path),), "format": None, "columns": {}, "side": "input", "tags": frozenset(tags), **more})  # type: ignore[arg-type]  # of a test


def run(cases: Wanted, *names: str) -> Run:
    policies = [load_policy(name) for name in names]
    plan = Plan(policies=tuple(Source.read(shipped()[name]) for name in names))
    return Run(policies, cases, plan, [], fail_fast=False)


def test_cases_may_be_chosen_by_tag(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join((case("a", tags=["one"]), case("b", tags=["two"]), case("c"))))

    assert [each.name for each in wanted(tmp_path, "one", "two").read(Counter())] == ["a", "b"]
    assert [each.name for each in wanted(tmp_path).read(Counter())] == ["a", "b", "c"]


def test_each_policy_is_put_to_its_own_cases_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join((case("a"), case("b", policy="strict"), case("c", policy="default"))))

    first, second = run(wanted(tmp_path), "strict", "default").run("local", None)

    assert (first.policy.split("@")[0], first.total, first.failed) == ("strict", 2, 0)
    assert (second.policy.split("@")[0], second.total, second.failed) == ("default", 2, 0)


def test_what_a_collection_has_that_cannot_be_used_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("text,label\nhello,false\n,true\n")
    columns = {"text": "text", "label": "label"}
    monkeypatch.setattr("sys.stderr", io.StringIO())
    run(wanted(tmp_path / "a.csv", columns=columns), "default").run("local", None)

    assert "1 skipped: " in capsys.readouterr().out


def test_no_case_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(case("a", policy="strict"))

    with pytest.raises(ConfigError, match="no case was run"):
        run(wanted(tmp_path), "default").run("local", None)
