"""Claims about the part of the configuration file about the audit log."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.settings import Settings, load_settings
from safety_proxy.settings_audit import AuditShape, found_beside
from safety_proxy.settings_file import FileShape, expand


def read(text: str) -> AuditShape | None:
    return validate(FileShape, expand(parse(text, "proxy.yaml"), {})).audit


def test_nothing_is_written_down_unless_somebody_says_so() -> None:
    assert read("listen: {}") is None
    assert read("audit: off") is None


def test_hashes_go_to_a_file_unless_something_else_is_written() -> None:
    assert read("audit: {}") == AuditShape(sink="jsonl", path="audit.jsonl", content="hash")


@pytest.mark.parametrize("content", ["none", "hash", "redacted", "full"])
def test_a_content_is_one_of_four(content: str) -> None:
    audit = read(f"audit: {{content: {content}}}")
    assert audit is not None
    assert audit.content == content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("audit: {content: everything}", "audit.content: must be `none`, `hash`, `redacted` or `full`"),
        ("audit: {sink: syslog}", "audit.sink: must be `jsonl`"),
        ("audit: {secret: short}", "audit.secret: must have at least 16 characters"),
        ("audit: {pth: x}", "audit.pth: unknown key; did you mean `path`?"),
        ("audit: {path: ''}", "audit.path: "),
    ],
)
def test_mistakes_are_told_with_line_and_field(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"proxy.yaml:1: {expected}")


def test_the_secret_may_be_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "salt").write_text("a secret of some length")
    audit = read(f"audit: {{secret: {{file: {tmp_path / 'salt'}}}}}")
    assert audit is not None
    assert audit.secret == SecretStr("a secret of some length")
    assert "some length" not in repr(audit)


def test_a_relative_path_is_in_the_folder_of_the_file_and_an_absolute_one_stays(tmp_path: Path) -> None:
    found = [found_beside(AuditShape(path=path), tmp_path) for path in ("logs/a.jsonl", "/var/a.jsonl")]
    assert [each and each.path for each in found] == [str(tmp_path / "logs" / "a.jsonl"), "/var/a.jsonl"]
    assert found_beside(None, tmp_path) is None


# ------------------------------------------------------------------------------------------------------ policies on trial

DEPLOYMENT = "backends: {{a: {{url: 'http://h'}}}}\ndeployments: {{m: {{backend: a, {entry}}}}}\n{more}"


def load(tmp_path: Path, entry: str, more: str = "") -> Settings:
    (tmp_path / "proxy.yaml").write_text(DEPLOYMENT.format(entry=entry, more=more))
    return load_settings(config=tmp_path / "proxy.yaml", flags={}, environ={})


def test_a_policy_on_trial_brings_its_classifiers(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("version: 1\nname: own\nclassifiers: [azure_content_safety]\ninput: {}\noutput: {}\n")
    with pytest.raises(ConfigError, match="needs an endpoint and a key"):
        load(tmp_path, "shadow: own", "policies: [own.yaml]\n")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("shadow: strct", "no policy is called `strct`; did you mean `strict`?"),
        ("policy: off, shadow: strict", "is judged beside an enforced policy, and this deployment's is `off`"),
        ("policy: strict, shadow: strict", "is the policy that is enforced; name another one"),
    ],
)
def test_a_policy_on_trial_has_something_to_be_compared_with(tmp_path: Path, entry: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, entry)
    assert str(caught.value).endswith(f"proxy.yaml:2: deployments.m.shadow: {expected}")


def test_without_a_cache_the_cost_is_warned_of(tmp_path: Path) -> None:
    assert load(tmp_path, "shadow: strict").warnings == ()
    (warning,) = load(tmp_path, "shadow: strict", "cache: off\n").warnings
    assert warning.startswith("deployments.m.shadow: the cache is off")
