"""Claims about the keys of the configuration file, and about its page in the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from safety_proxy.documents import Document, parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.settings import load_settings
from safety_proxy.settings_classifiers import AzureSettings, BlocklistSettings
from safety_proxy.settings_file import BackendSettings, FileShape, expand
from safety_proxy.settings_sources import OPTIONS

SECRET = "sk-top-secret"
PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")


def read(text: str, environ: dict[str, str] | None = None, file: str = "proxy.yaml") -> FileShape:
    return validate(FileShape, expand(parse(text, file), environ or {}))


def mistake(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def backend(entry: str, environ: dict[str, str] | None = None) -> BackendSettings:
    return read(f"backends: {{llama: {entry}}}", environ).backends["llama"]


# ------------------------------------------------------------------------------------------------------------- defaults


def test_an_empty_part_has_the_documented_defaults() -> None:
    file = read("listen: {}")
    assert (file.listen.host, file.listen.port, file.drain, file.auth) == ("127.0.0.1", 8080, 30.0, None)
    assert file.limits.model_dump() == {
        "body": 8_388_608,
        "response": 67_108_864,
        "event": 8_388_608,
        "held": 1_048_576,
        "requests": 1000,
        "streams": 2000,
        "judgements": 256,
    }
    assert backend("{url: 'http://h'}").model_dump() == {
        "url": "http://h",
        "key": None,
        "auth": "bearer",
        "headers": {},
        "query": {},
        "timeout": {"connect": 5.0, "first_byte": 60.0, "idle": 60.0},
    }


def test_a_deployment_without_policy_has_the_default_one_and_off_means_none() -> None:
    file = read("deployments: {a: {backend: x}, b: {backend: x, policy: off}, c: {backend: x, policy: strict}}")
    assert [deployment.policy for deployment in file.deployments.values()] == ["default", None, "strict"]


def test_classifiers_are_told_apart_by_type() -> None:
    file = read(
        "classifiers:\n"
        "  azure: {type: azure_content_safety, endpoint: 'https://h', key: k, concurrency: 4}\n"
        "  words: {type: blocklist, lists: [{name: a, terms: [x]}, {name: b, patterns: [y]}]}\n"
        "  own: {type: embedded}\n"
    )
    azure, words, own = file.classifiers.values()
    assert isinstance(azure, AzureSettings)
    assert azure.key is not None
    assert (azure.endpoint, azure.key.get_secret_value(), azure.timeout, azure.concurrency) == ("https://h", "k", 2.0, 4)
    assert isinstance(words, BlocklistSettings)
    assert [(each.name, each.terms, each.patterns) for each in words.blocklists] == [("a", ("x",), ()), ("b", (), ("y",))]
    assert own.type == "embedded"


# -------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policis: []", "policis: unknown key; did you mean `policies`?"),
        ("listen: {hots: x}", "listen.hots: unknown key; did you mean `host`?"),
        (
            "classifiers: {a: {type: zzz}}",
            "classifiers.a: must have a `type`, one of: embedded, blocklist, azure_content_safety, ",
        ),
        ("classifiers: {a: {}}", "classifiers.a: must have a `type`, one of: embedded, blocklist, azure_content_safety, "),
        ("classifiers: {a: zzz}", "classifiers.a: must be a mapping (key: value)"),
        ("classifiers: {a: {type: embedded, key: k}}", "classifiers.a.key: unknown key"),
        (
            "classifiers: {a: {type: blocklist, lists: [{name: x}]}}",
            "classifiers.a.lists[0]: has neither terms nor patterns",
        ),
        ("keys: [{name: a, sha256: abc}]", "keys[0].sha256: must have the form"),
        ("backends: {a: {url: 'http://h', auth: basic}}", "backends.a.auth: must be `bearer` or `api-key`"),
        ("backends: {a: {key: x}}", "backends.a.url: is required"),
        ("deployments: {'a b': {backend: x}}", "deployments.a b: must have the form"),
        ("default_deployment:", "default_deployment: is empty"),
    ],
)
def test_mistakes_are_told_with_line_and_field(text: str, expected: str) -> None:
    assert mistake(text).startswith(f"proxy.yaml:1: {expected}")


@pytest.mark.parametrize("key", ["console"])
def test_keys_of_features_that_are_not_there_are_refused(key: str) -> None:
    assert f"{key}: unknown key" in mistake(f"{key}: {{}}")


# ------------------------------------------------------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("-${A}-${B}-", {"A": "x", "B": "y"}, "-x-y-"),
        ("${A}", {"A": ""}, ""),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}", {}, ""),
        ("$${A}", {"A": "x"}, "${A}"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("$A $", {}, "$A $"),
    ],
)
def test_variables_are_filled_in_once(value: str, environ: dict[str, str], expected: str) -> None:
    document = Document("f", {"a": [{"b": value}], "n": 1})
    assert expand(document, environ).content == {"a": [{"b": expected}], "n": 1}


@given(st.text().filter(lambda text: "${" not in text))
def test_text_without_variables_stays_as_it_is(text: str) -> None:
    assert expand(Document("f", {"a": text}), {}).content == {"a": text}


def test_numbers_may_come_from_variables() -> None:
    assert read("listen: {port: '${PORT}'}\nlimits: {requests: '${N:-7}'}", {"PORT": "81"}).listen.port == 81


def test_a_variable_that_is_not_set_is_named_with_line_and_field() -> None:
    text = "listen: {}\nbackends:\n  a:\n    key: ${KEY}"
    assert mistake(text, {"KEY2": SECRET}) == "proxy.yaml:4: backends.a.key: the environment variable KEY is not set"


@pytest.mark.parametrize("value", ["${", "${1A}", "${A-d}", "a ${A B}"])
def test_other_uses_of_the_signs_are_refused(value: str) -> None:
    assert "backends.a.url: holds `${` that is no variable" in mistake(f"backends: {{a: {{url: '{value}'}}}}", {"A": "x"})


# --------------------------------------------------------------------------------------------------------------- secrets


def test_secrets_may_be_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"\n {SECRET} \n")
    entry = "{url: 'http://h', key: {file: '${NAME}'}, headers: {x-a: {file: key}}, query: {k: {file: key}}}"
    read_back = read(f"backends: {{a: {entry}}}", {"NAME": "key"}, str(tmp_path / "proxy.yaml")).backends["a"]
    assert read_back.key == read_back.headers["x-a"] == read_back.query["k"] == SecretStr(SECRET)


def test_secrets_may_be_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    assert backend(f"{{url: 'http://h', key: {{file: {tmp_path / 'key'}}}}}").key == SecretStr(SECRET)


def test_a_secret_file_that_is_not_there_is_told_at_its_line() -> None:
    text = "backends:\n  a:\n    key: {file: no-such-file}"
    expected = "proxy.yaml:3: backends.a.key: the secret's file cannot be read: No such file or directory"
    assert mistake(text) == expected


def test_a_secret_file_is_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff")
    assert "is not UTF-8" in mistake(f"backends: {{a: {{url: 'http://h', key: {{file: {tmp_path / 'key'}}}}}}}")


def test_only_secrets_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("http://h")
    assert "backends.a.url: must be text" in mistake(f"backends: {{a: {{url: {{file: {tmp_path / 'key'}}}}}}}")
    assert "backends.a.key: must be text" in mistake("backends: {a: {url: 'http://h', key: {file: a, more: b}}}")


# -------------------------------------------------------------------------------------------------------- documentation


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the file as the documentation writes it: ``backends.NAME.url``, ``keys[].name``."""
    for name, info in model.model_fields.items():
        yield prefix + name
        for suffix, inner in models(info.annotation):
            yield from paths(inner, f"{prefix}{name}{suffix}.")


def models(annotation: object) -> Iterator[tuple[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    else:
        origin = get_origin(annotation)
        around = "[]" if origin is list else ".NAME" if origin is dict else ""
        for argument in get_args(annotation):
            yield from ((around + suffix, inner) for suffix, inner in models(argument))


def test_the_documentation_has_every_key_and_no_other() -> None:
    table = PAGE.partition("### Keys")[2].partition("###")[0]
    documented = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    keys = set(paths(FileShape))
    # A mapping that only holds documented keys needs no line of its own.
    groups = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)} - set(documented)
    assert sorted(documented) == sorted(keys - groups)
    assert {"listen.host", "classifiers.NAME.lists[].terms", "backends.NAME.timeout.idle", "keys[].sha256"} <= keys


def test_the_documentation_has_every_flag_and_variable() -> None:
    for name, meaning in OPTIONS.items():
        assert f"`SAFETY_PROXY_{name.upper()}` | {meaning} |" in PAGE


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_in_the_documentation_loads(tmp_path: Path, example: str) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.yaml").write_text("version: 1\nname: own\n")
    for name in ("llama-key", "cache-secret"):
        (tmp_path / name).write_text("sk-top-secret-of-some-length")
    config = tmp_path / "proxy.yaml"
    config.write_text(example, encoding="utf-8")
    environ = {
        name: "https://h" if name.endswith("ENDPOINT") else SECRET for name in re.findall(r"\$\{([A-Z_]+)\}", example)
    }
    assert load_settings(config=config, flags={}, environ=environ).deployments
