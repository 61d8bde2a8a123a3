"""What the endpoints of the filtering service have in common: who is served by which policy, and what a key may do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from safety_proxy.engine import Engine
from safety_proxy.errors import ConfigError, RequestError
from safety_proxy.server.app import create_app
from safety_proxy.server.deployments import Key
from safety_proxy.server.service import SERVICE, Caller, Service
from safety_proxy.settings import load_settings
from safety_proxy.testing import ScriptedClassifier

OWN = "version: 1\nname: {}\nclassifiers: [{}]\n"


def service(folder: Path, config: str = "", policies: Mapping[str, str] | None = None) -> Service:
    for name, text in (policies or {}).items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    names = "".join(f"{name}.yaml, " for name in policies or {})
    (folder / "proxy.yaml").write_text(f"policies: [{names}]\n{config}", encoding="utf-8")
    settings = load_settings(config=folder / "proxy.yaml", flags={"filter_only": "true"}, environ={})
    return create_app(settings, classifiers={"embedded": ScriptedClassifier()})[SERVICE]


def test_every_policy_that_can_be_enforced_may_be_asked_for(tmp_path: Path) -> None:
    own = {"mine": OWN.format("mine", "embedded"), "theirs": OWN.format("theirs", "elsewhere")}
    made = service(tmp_path, policies=own)

    assert made.policy == "default"
    assert {"default", "strict", "permissive", "annotate-only", "mine"} <= made.engines.keys()
    assert isinstance(made.engine("mine"), Engine)
    with pytest.raises(RequestError, match="`theirs` cannot be enforced here: no classifier named `elsewhere`") as refused:
        made.engine("theirs")
    assert (refused.value.status, refused.value.field) == (400, "policy")
    with pytest.raises(RequestError, match="no such policy") as refused:
        made.engine("nobodys")
    assert refused.value.status == 404


def test_a_policy_in_use_must_be_enforceable(tmp_path: Path) -> None:
    theirs = {"theirs": OWN.format("theirs", "elsewhere")}

    with pytest.raises(ConfigError, match="no classifier is called `elsewhere`"):
        service(tmp_path, "service: {policy: theirs}", theirs)


@pytest.mark.parametrize(
    ("granted", "may_read", "may_write"), [("none", False, False), ("read", True, False), ("write", True, True)]
)
def test_a_key_may_do_with_blocklists_what_it_was_granted(
    tmp_path: Path, granted: str, may_read: bool, may_write: bool
) -> None:
    made = service(tmp_path)
    key = Key("k", b"", None, None, granted)  # type: ignore[arg-type]  # one of three words
    caller = Caller(None, made, made.engine("default"), key)  # type: ignore[arg-type]  # a request says nothing of it

    for write, allowed in ((False, may_read), (True, may_write)):
        if allowed:
            caller.require_blocklists(write=write)
        else:
            with pytest.raises(RequestError) as refused:
                caller.require_blocklists(write=write)
            assert refused.value.status == 403


def test_without_keys_everybody_may_change_blocklists(tmp_path: Path) -> None:
    made = service(tmp_path)

    Caller(None, made, made.engine("default"), None).require_blocklists(write=True)  # type: ignore[arg-type]  # as above


def test_the_head_of_an_answer_tells_who_judged(tmp_path: Path) -> None:
    made = service(tmp_path)
    caller = Caller(None, made, made.engine("strict"), None)  # type: ignore[arg-type]  # as above

    told = caller.headers()
    assert told["x-safety-proxy-policy"].startswith("strict@")
    assert told["x-safety-proxy-classifiers"].startswith("scripted@")
    assert caller.headers(engine=made.engine("default"))["x-safety-proxy-policy"].startswith("default@")
    assert "x-safety-proxy-decision" not in told
