"""Claims about how flags, environment and file become one settings object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.policy_file import shipped
from safety_proxy.settings import Settings, load_settings
from safety_proxy.settings_classifiers import EmbeddedSettings

SECRET = "sk-top-secret"
DIGEST = "ab" * 32
BASIC = """\
backends:
  llama: {url: "http://llama/v1", key: old-key, headers: {x-team: red}, timeout: {connect: 1s}}
  other: {url: "http://other/v1"}
deployments:
  a: {backend: llama, model: M}
  b: {backend: other, policy: strict}
  raw: {backend: llama, policy: off}
default_deployment: a
"""

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration file with this text; other keywords are flags."""

    def loaded(text: str | None = BASIC, environ: dict[str, str] | None = None, **flags: object) -> Settings:
        config = None
        if text is not None:
            config = tmp_path / "proxy.yaml"
            config.write_text(text, encoding="utf-8")
        return load_settings(config=config, flags=flags, environ=environ or {})

    return loaded


@pytest.fixture
def mistake(load: Load, tmp_path: Path) -> Callable[..., str]:
    """The error of loading, without the folder of the files."""

    def told(*args: object, **words: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load(*args, **words)
        assert SECRET not in str(caught.value)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return told


def write_policy(path: Path, name: str, more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"version: 1\nname: {name}\n{more}", encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------- without a file


def test_a_backend_is_enough(load: Load) -> None:
    settings = load(None, backend="http://h/v1")
    (backend,) = settings.backends.values()
    assert (backend.url, backend.key) == ("http://h/v1", None)
    (name,) = settings.deployments
    deployment = settings.deployments[name]
    assert (settings.default_deployment, deployment.model, deployment.policy) == (name, None, "default")
    assert settings.backends[deployment.backend] is backend
    assert (settings.listen.host, settings.listen.port, settings.workers) == ("127.0.0.1", 8080, 1)
    assert (settings.log_level, settings.log_format) == ("info", "auto")
    assert settings.classifiers == {"embedded": EmbeddedSettings(type="embedded")}
    assert set(settings.policies) == set(shipped())
    assert (settings.keys, settings.warnings) == ((), ())


def test_without_any_backend_there_is_nothing_to_serve(mistake: Callable[..., str]) -> None:
    assert mistake(None).startswith("nothing to serve: give --backend URL")
    assert mistake("backends: {a: {url: 'http://h'}}").startswith("nothing to serve")
    assert mistake(None, {"SAFETY_PROXY_BACKEND_KEY": SECRET}).startswith("nothing to serve")


def test_a_file_without_deployments_goes_with_a_backend(load: Load) -> None:
    settings = load("limits: {requests: 5}\npolicies: []", backend="http://h/v1")
    assert (settings.limits.requests, settings.default_deployment) == (5, "default")


def test_settings_cannot_be_changed(load: Load) -> None:
    settings = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.workers = 2  # type: ignore[misc]  # the very thing
    with pytest.raises(TypeError):
        settings.deployments["x"] = settings.deployments["a"]  # type: ignore[index]  # the very thing


def test_nothing_printed_of_settings_shows_a_key(load: Load) -> None:
    environ = {"SAFETY_PROXY_BACKEND_KEY": SECRET}
    assert SECRET not in repr(load(BASIC, environ))


# -------------------------------------------------------------------------------------------------------------- precedence


@pytest.mark.parametrize(
    ("flag", "variable", "expected"),
    [("3", "2", 3), (None, "2", 2), (None, None, 1)],
)
def test_flag_beats_variable_beats_file(load: Load, flag: str | None, variable: str | None, expected: int) -> None:
    environ = {"SAFETY_PROXY_PORT": variable} if variable else {}
    assert load("listen: {port: 1}\n" + BASIC, environ, port=flag).listen.port == expected


def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text("auth: none\n" + BASIC)
    (tmp_path / "key").write_text(f"{SECRET}\n")
    values = {
        "CONFIG": str(config),
        "BACKEND": "http://new/v1",
        "BACKEND_KEY_FILE": str(tmp_path / "key"),
        "POLICY": "strict",
        "HOST": "0.0.0.0",
        "PORT": "0",
        "WORKERS": "4",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "FILTER_ONLY": "false",
    }
    settings = load_settings(config=None, flags={}, environ={f"SAFETY_PROXY_{name}": text for name, text in values.items()})
    backend = settings.backends["llama"]
    assert backend.key is not None
    assert (backend.url, backend.key.get_secret_value()) == ("http://new/v1", SECRET)
    assert settings.deployments["a"].policy == "strict"
    assert (settings.listen.host, settings.listen.port, settings.workers) == ("0.0.0.0", 0, 4)
    assert (settings.log_level, settings.log_format, settings.warnings) == ("debug", "json", ())


def test_the_config_that_is_passed_beats_that_of_the_environment(load: Load) -> None:
    assert load(BASIC, {"SAFETY_PROXY_CONFIG": "no-such-file"}).default_deployment == "a"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", "x"),
        ("port", "65536"),
        ("workers", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("backend", "ftp://h"),
    ],
)
def test_wrong_values_are_told_by_the_name_of_their_flag_or_variable(
    mistake: Callable[..., str], option: str, value: str
) -> None:
    assert mistake(BASIC, {}, **{option: value}).startswith(f"--{option.replace('_', '-')}: must be")
    variable = f"SAFETY_PROXY_{option.upper()}"
    assert mistake(BASIC, {variable: value}).startswith(f"{variable}: must be")


def test_unknown_variables_of_ours_are_warned_of(load: Load) -> None:
    assert load(BASIC, {"SAFETY_PROXY_POTR": SECRET}).warnings == (
        "SAFETY_PROXY_POTR: no such variable; did you mean SAFETY_PROXY_PORT?",
    )


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^no-such-file: cannot be read"):
        load_settings(config=Path("no-such-file"), flags={}, environ={})


# ---------------------------------------------------------------------------------------------------------- the backend


def test_a_given_backend_replaces_that_of_the_default_deployment_and_takes_nothing_of_it_along(load: Load) -> None:
    settings = load(BASIC, backend="http://new/v1")
    backend = settings.backends["llama"]
    assert (backend.url, backend.key, backend.headers, backend.timeout.connect) == ("http://new/v1", None, {}, 1.0)
    assert settings.backends["other"].url == "http://other/v1"
    assert settings.deployments["a"].model == "M"


def test_a_given_key_replaces_that_of_the_backend_wherever_it_stood(load: Load) -> None:
    backend = load(BASIC, {"SAFETY_PROXY_BACKEND_KEY": "new-key"}).backends["llama"]
    assert backend.key is not None
    assert (backend.url, backend.key.get_secret_value(), set(backend.headers)) == ("http://llama/v1", "new-key", {"x-team"})
    text = BASIC.replace("key: old-key, headers: {x-team: red}", "headers: {Authorization: old-key}")
    assert load(text, {"SAFETY_PROXY_BACKEND_KEY": "new-key"}).backends["llama"].headers == {}


def test_the_key_file_of_a_flag_beats_the_key_of_a_variable(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    flag = load(BASIC, {"SAFETY_PROXY_BACKEND_KEY": "from-variable"}, backend_key_file=tmp_path / "key").backends["llama"]
    assert flag.key is not None
    assert flag.key.get_secret_value() == "from-file"


def test_a_key_and_a_key_file_of_the_same_rank_are_one_too_many(mistake: Callable[..., str]) -> None:
    environ = {"SAFETY_PROXY_BACKEND_KEY": SECRET, "SAFETY_PROXY_BACKEND_KEY_FILE": "key"}
    assert (
        mistake(BASIC, environ)
        == "SAFETY_PROXY_BACKEND_KEY_FILE: is given together with SAFETY_PROXY_BACKEND_KEY; give one of them"
    )
    assert mistake(BASIC, {}, backend_key=SECRET, backend_key_file="key").startswith("--backend-key-file: is given together")


def test_a_key_that_cannot_stand_in_a_header_is_refused(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert mistake(BASIC, {"SAFETY_PROXY_BACKEND_KEY": f"{SECRET}\n"}).startswith(
        "SAFETY_PROXY_BACKEND_KEY: must be printable"
    )
    (tmp_path / "key").write_text("")
    assert mistake(BASIC, {}, backend_key_file=tmp_path / "key").startswith("--backend-key-file: must be printable")
    assert "cannot be read" in mistake(BASIC, {}, backend_key_file=tmp_path / "none")


@pytest.mark.parametrize(
    ("environ", "flags", "origin"),
    [
        ({}, {"backend": "http://h"}, "--backend"),
        ({"SAFETY_PROXY_BACKEND_KEY": SECRET}, {}, "SAFETY_PROXY_BACKEND_KEY"),
        ({}, {"policy": "strict"}, "--policy"),
    ],
)
def test_what_is_for_the_default_deployment_needs_one(
    mistake: Callable[..., str], environ: dict[str, str], flags: dict[str, str], origin: str
) -> None:
    text = BASIC.replace("default_deployment: a\n", "")
    expected = f"{origin}: is for the default deployment, but the file has no `default_deployment`"
    assert mistake(text, environ, **flags) == expected


def test_a_key_file_needs_a_default_deployment_too(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    text = BASIC.replace("default_deployment: a\n", "")
    assert mistake(text, {}, backend_key_file=tmp_path / "key").startswith(
        "--backend-key-file: is for the default deployment"
    )


# -------------------------------------------------------------------------------------------------------------- policies


def test_policies_are_read_from_files_and_folders_but_not_subfolders(load: Load, tmp_path: Path) -> None:
    write_policy(tmp_path / "policies" / "one.yaml", "one")
    write_policy(tmp_path / "policies" / "cases" / "two.yaml", "two")
    write_policy(tmp_path / "three.yml", "three")
    settings = load("policies: [policies, policies/one.yaml, three.yml]\n" + BASIC)
    assert set(settings.policies) - set(shipped()) == {"one", "three"}


def test_ones_own_policies_hide_shipped_ones(load: Load, tmp_path: Path) -> None:
    write_policy(tmp_path / "own.yaml", "default", "description: mine\n")
    settings = load("policies: [own.yaml]\n" + BASIC)
    assert settings.policies["default"].description == "mine"


def test_two_policies_of_one_name_are_an_error_that_names_both_files(mistake: Callable[..., str], tmp_path: Path) -> None:
    write_policy(tmp_path / "p" / "a.yaml", "same")
    write_policy(tmp_path / "p" / "b.yaml", "same")
    assert mistake("policies: [p]\n" + BASIC) == "p/b.yaml:2: name: `same` is also the name of the policy in p/a.yaml"


def test_policies_that_are_not_there_are_told(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert mistake("policies: [none.yaml]\n" + BASIC) == "proxy.yaml:1: policies[0]: no such file"
    assert mistake("policies:\n- empty\n" + BASIC) == "proxy.yaml:2: policies[0]: no *.yaml in this folder"


def test_a_broken_policy_is_told_with_its_own_line(mistake: Callable[..., str], tmp_path: Path) -> None:
    write_policy(tmp_path / "own.yaml", "own", "imput: {}\n")
    assert mistake("policies: [own.yaml]\n" + BASIC).startswith("own.yaml:3: imput: unknown key")


@pytest.mark.parametrize(("given", "expected"), [("strict", "strict"), ("off", None)])
def test_a_given_policy_replaces_that_of_the_default_deployment_alone(load: Load, given: str, expected: str | None) -> None:
    settings = load(BASIC.replace("b: {backend: other, policy: strict}", "b: {backend: other}"), policy=given)
    assert [deployment.policy for deployment in settings.deployments.values()] == [expected, "default", None]


@pytest.mark.parametrize("name", ["own.yaml", "own.yml", "folder/own"])
def test_a_given_policy_may_be_a_file(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_policy(tmp_path / name, "mine")
    settings = load(None, backend="http://h", policy=name)
    assert settings.deployments["default"].policy == "mine"


def test_a_given_policy_that_nobody_knows_is_refused(mistake: Callable[..., str]) -> None:
    assert mistake(BASIC, policy="strct") == "--policy: no policy is called `strct`; did you mean `strict`?"
    assert mistake(BASIC, policy="./strict").startswith("strict: cannot be read")


def test_warnings_of_policies_in_use_are_passed_on(load: Load, tmp_path: Path) -> None:
    own = "output: {blocklists: [{name: x, patterns: ['a+']}]}\n"
    write_policy(tmp_path / "own.yaml", "own", own)
    text = "policies: [own.yaml]\n" + BASIC
    assert load(text).warnings == ()
    (warning,) = load(text, policy="own").warnings
    assert "own.yaml:3: output.blocklists[0].patterns[0]: matches text" in warning


# ----------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "{backend: llama, model: M}",
            "{backend: lama}",
            "5: deployments.a.backend: no backend is called `lama`; did you mean `llama`?",
        ),
        ("policy: strict", "policy: strct", "6: deployments.b.policy: no policy is called `strct`; did you mean `strict`?"),
        (
            "default_deployment: a",
            "default_deployment: zz",
            "8: default_deployment: no deployment is called `zz`; known are: a, b, raw",
        ),
    ],
)
def test_names_that_lead_nowhere_are_told(mistake: Callable[..., str], old: str, new: str, expected: str) -> None:
    assert mistake(BASIC.replace(old, new)) == f"proxy.yaml:{expected}"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (f"- {{name: k, sha256: {DIGEST}, deployments: [a, zz]}}", "[0].deployments[1]: no deployment is called `zz`"),
        (f"- {{name: k, sha256: {DIGEST}, policy: zz}}", "[0].policy: no policy is called `zz`"),
        (f"- {{name: k, sha256: {DIGEST}, policy: off}}", "[0].policy: no policy is called `off`"),
        (f"- {{name: k, sha256: {DIGEST}}}\n- {{name: k, sha256: {'cd' * 32}}}", "[1].name: is that of another key too"),
        (f"- {{name: k, sha256: {DIGEST}}}\n- {{name: l, sha256: {DIGEST}}}", "[1].sha256: is that of another key too"),
    ],
)
def test_keys_that_lead_nowhere_or_clash_are_told(mistake: Callable[..., str], keys: str, expected: str) -> None:
    assert f"keys{expected}" in mistake(f"{BASIC}keys:\n{keys}\n")


def test_the_policies_of_keys_are_in_use(load: Load) -> None:
    other = f"{{name: l, sha256: {'cd' * 32}}}"
    settings = load(f"{BASIC}keys: [{{name: k, sha256: {DIGEST}, deployments: [a], policy: permissive}}, {other}]")
    assert [(key.name, key.sha256, key.deployments) for key in settings.keys] == [
        ("k", DIGEST, ["a"]),
        ("l", "cd" * 32, None),
    ]


# -------------------------------------------------------------------------------------------------------- who may connect


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_may_be_bound_without_keys(load: Load, host: str) -> None:
    assert load(BASIC, host=host).listen.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "proxy.example", "localhost.example", "127.0.0.1.example"])
def test_other_addresses_need_keys_or_an_explicit_word(load: Load, mistake: Callable[..., str], host: str) -> None:
    refusal = "can be reached from other machines, and there are no keys"
    assert mistake(BASIC, host=host).startswith(f"--host: {refusal}")
    assert mistake(None, backend="http://h", host=host).startswith(f"--host: {refusal}")
    assert mistake(f"listen: {{host: '{host}'}}\n{BASIC}").startswith(f"proxy.yaml:1: listen.host: {refusal}")
    assert load(f"auth: none\n{BASIC}", host=host).keys == ()
    assert len(load(f"keys: [{{name: k, sha256: {DIGEST}}}]\n{BASIC}", host=host).keys) == 1


def test_what_auth_says_must_agree_with_the_keys(load: Load, mistake: Callable[..., str]) -> None:
    keys = f"keys: [{{name: k, sha256: {DIGEST}}}]\n"
    assert mistake("auth: keys\n" + BASIC).startswith("proxy.yaml:1: auth: asks for keys, but there are none")
    assert mistake("auth: none\n" + keys + BASIC).startswith("proxy.yaml:1: auth: lets everybody in, but there are keys")
    assert len(load("auth: keys\n" + keys + BASIC).keys) == 1
