"""What ``--filter-only`` leaves of a configuration, and what it does not go with."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.settings import Settings, load_settings

FILE = """\
backends: {llama: {url: "http://llama/v1"}}
deployments: {a: {backend: llama, policy: strict}}
default_deployment: a
keys: [{name: k, sha256: "abababababababababababababababababababababababababababababababab", deployments: [a]}]
"""


def load(text: str | None, tmp_path: Path, environ: dict[str, str] | None = None, **flags: object) -> Settings:
    config = None
    if text is not None:
        config = tmp_path / "proxy.yaml"
        config.write_text(text, encoding="utf-8")
    return load_settings(config=config, flags=flags, environ=environ or {})


def test_nothing_is_needed_to_serve_the_filter_alone(tmp_path: Path) -> None:
    settings = load(None, tmp_path, filter_only="true")

    assert (settings.deployments, settings.backends, settings.default_deployment) == ({}, {}, None)
    assert (settings.service.policy, settings.service.store_needed) == ("default", False)
    assert set(settings.classifiers) == {"embedded"}


def test_models_of_the_file_do_not_count_and_its_keys_do(tmp_path: Path) -> None:
    settings = load(FILE, tmp_path, {"SAFETY_PROXY_FILTER_ONLY": "yes"})

    assert (settings.deployments, settings.backends) == ({}, {})
    assert [(key.name, key.deployments) for key in settings.keys] == [("k", None)]


@pytest.mark.parametrize("word", ["false", "0", "no"])
def test_a_variable_may_say_no(tmp_path: Path, word: str) -> None:
    assert set(load(FILE, tmp_path, {"SAFETY_PROXY_FILTER_ONLY": word}).deployments) == {"a"}


@pytest.mark.parametrize("name", ["backend", "backend_key_file"])
def test_what_is_for_a_model_does_not_go_with_it(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}: is for a model server, and --filter-only"):
        load_settings(config=None, flags={"filter_only": "true", name: "http://h"}, environ={})


def test_the_given_policy_is_the_services_and_cannot_be_off(tmp_path: Path) -> None:
    assert load("service: {policy: permissive}", tmp_path, filter_only="true", policy="strict").service.policy == "strict"
    with pytest.raises(ConfigError, match="--policy: cannot be off"):
        load(None, tmp_path, filter_only="true", policy="off")


@pytest.mark.parametrize(
    ("service", "policy"), [("", "strict"), ("service: {policy: permissive}", "permissive"), ("service: {}", "strict")]
)
def test_unless_another_policy_is_written_the_service_judges_as_the_default_deployment(
    tmp_path: Path, service: str, policy: str
) -> None:
    assert load(FILE + service, tmp_path).service.policy == policy


def test_a_default_deployment_that_opted_out_leaves_the_service_the_default_policy(tmp_path: Path) -> None:
    assert load(FILE.replace("strict", "off"), tmp_path).service.policy == "default"


def test_a_policy_of_the_service_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"service\.policy: no policy is called `strikt`; did you mean `strict`"):
        load(FILE + "service: {policy: strikt}", tmp_path)


def test_the_store_is_needed_where_it_is_written_or_a_policy_in_use_has_a_list_in_it(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(
        "version: 1\nname: house\ninput: {blocklists: [{name: words, from: store}]}\n", encoding="utf-8"
    )
    policies = "policies: [house.yaml]\n"

    assert not load(policies + FILE, tmp_path).service.store_needed
    assert load(policies + FILE + "service: {store: 'sqlite:///x.db'}", tmp_path).service.store_needed
    in_use = load(policies + FILE + "service: {policy: house}", tmp_path).service
    assert (in_use.store_needed, set(in_use.stored_lists)) == (True, {"words"})
    assert in_use.store.get_secret_value() == f"sqlite:///{tmp_path}/filter.db"
