"""Claims about which classifiers there are, and whom they may lean on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.settings import Settings, load_settings
from safety_proxy.settings_classifiers import AzureSettings, EmbeddedSettings, LlamaGuardSettings

SECRET = "sk-top-secret"
BASIC = """\
backends: {llama: {url: "http://llama/v1"}}
deployments: {a: {backend: llama, policy: strict}}
"""
GUARD = "{type: llama_guard, url: 'http://h', model: m"
AZURE = "{type: azure_content_safety, endpoint: 'https://h', key: k"

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


def azure_policy(tmp_path: Path, classifier: str = "azure_content_safety", rules: str = "") -> str:
    write_policy(tmp_path / "own.yaml", "own", f"classifiers: [embedded, {classifier}]\n{rules}")
    return "policies: [own.yaml]\n" + BASIC.replace("policy: strict", "policy: own")


def test_a_classifier_named_like_its_type_needs_no_entry(load: Load, tmp_path: Path) -> None:
    environ = {"CONTENT_SAFETY_ENDPOINT": "https://h", "CONTENT_SAFETY_KEY": SECRET}
    settings = load(azure_policy(tmp_path), environ)
    azure = settings.classifiers["azure_content_safety"]
    assert isinstance(azure, AzureSettings)
    assert (azure.endpoint, azure.key and azure.key.get_secret_value(), azure.timeout) == ("https://h", SECRET, 2.0)
    assert isinstance(settings.classifiers["embedded"], EmbeddedSettings)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CONTENT_SAFETY_ENDPOINT": "https://h"},
        {"CONTENT_SAFETY_KEY": SECRET},
        {"CONTENT_SAFETY_ENDPOINT": SECRET, "CONTENT_SAFETY_KEY": SECRET},
    ],
)
def test_azure_without_endpoint_or_key_is_told_at_the_policy(
    mistake: Callable[..., str], tmp_path: Path, environ: dict[str, str]
) -> None:
    told = mistake(azure_policy(tmp_path), environ)
    assert told.startswith("own.yaml:3: classifiers[1]: needs an endpoint and a key: set CONTENT_SAFETY_ENDPOINT and")


def test_an_entry_comes_before_the_environment(load: Load, tmp_path: Path) -> None:
    entry = "classifiers: {azure_content_safety: {type: azure_content_safety, endpoint: 'https://own', key: k}}\n"
    azure = load(entry + azure_policy(tmp_path)).classifiers["azure_content_safety"]
    assert isinstance(azure, AzureSettings)
    assert azure.endpoint == "https://own"


def test_policies_that_nobody_uses_need_no_classifiers(load: Load) -> None:
    assert "azure_content_safety" not in load().classifiers


def test_a_classifier_that_nobody_knows_is_told_at_the_policy(mistake: Callable[..., str], tmp_path: Path) -> None:
    expected = "own.yaml:3: classifiers[1]: no classifier is called `embeded`; did you mean `embedded`?"
    assert mistake(azure_policy(tmp_path, "embeded")) == expected


@pytest.mark.parametrize(
    "lists",
    ["[{name: a, patterns: ['(']}]", "[{name: a, terms: [x]}, {name: a, terms: [y]}]", "[{name: a, terms: [' ']}]"],
)
def test_blocklists_that_cannot_be_searched_are_told(mistake: Callable[..., str], lists: str) -> None:
    entry = f"classifiers: {{words: {{type: blocklist, lists: {lists}}}}}\n"
    assert mistake(entry + BASIC).startswith("proxy.yaml:1: classifiers.words.lists: a")


def test_classifiers_of_the_file_are_kept(load: Load) -> None:
    entry = "classifiers: {words: {type: blocklist, lists: [{name: a, terms: [x]}]}}\n"
    assert set(load(entry + BASIC).classifiers) == {"words", "embedded"}


# ------------------------------------------------------------------------------------------------------------ fallbacks


def test_the_embedded_classifier_stands_in_without_an_entry(load: Load) -> None:
    settings = load(f"classifiers: {{guard: {GUARD}, fallback: embedded}}}}\n" + BASIC)
    guard = settings.classifiers["guard"]
    assert isinstance(guard, LlamaGuardSettings)
    assert guard.fallback == "embedded"
    assert isinstance(settings.classifiers["embedded"], EmbeddedSettings)


@pytest.mark.parametrize(
    ("classifiers", "expected"),
    [
        (f"{{a: {GUARD}, fallback: azur}}, azure: {AZURE}}}}}", "no classifier is called `azur`; did you mean `azure`?"),
        (f"{{a: {GUARD}, fallback: a}}}}", "has a fallback itself; a classifier that stands in cannot"),
        (f"{{a: {GUARD}, fallback: b}}, b: {GUARD}, fallback: embedded}}}}", "has a fallback itself; a classifier that"),
        (
            f"{{a: {GUARD}, fallback: b}}, b: {{type: blocklist, lists: [{{name: x, terms: [y]}}]}}}}",
            "is a blocklist, which",
        ),
    ],
)
def test_who_stands_in_is_there_and_stands_alone(mistake: Callable[..., str], classifiers: str, expected: str) -> None:
    told = mistake(f"classifiers: {classifiers}\n" + BASIC)
    assert told.startswith(f"proxy.yaml:1: classifiers.a.fallback: {expected}")


# ---------------------------------------------------------------------------------------------------------- azure's checks


def checks(settings: Settings) -> list[str] | None:
    azure = settings.classifiers["azure"]
    assert isinstance(azure, AzureSettings)
    return None if azure.checks is None else list(azure.checks)


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ("", ["harms", "shields"]),
        ("output: {protected_material_text: {action: block}}\n", ["harms", "shields", "protected_material_text"]),
        ("output: {protected_material_code: {action: annotate}}\n", ["harms", "shields", "protected_material_code"]),
    ],
)
def test_azure_is_asked_for_what_policies_have_rules_for(load: Load, tmp_path: Path, rule: str, asked: list[str]) -> None:
    config = azure_policy(tmp_path, "azure", rule)
    assert checks(load(f"classifiers: {{azure: {AZURE}}}}}\n" + config)) == asked


def test_what_is_written_for_azure_holds(load: Load, tmp_path: Path) -> None:
    config = azure_policy(tmp_path, "azure", "output: {protected_material_text: {action: block}}\n")
    assert checks(load(f"classifiers: {{azure: {AZURE}, checks: [harms]}}}}\n" + config)) == ["harms"]
