"""Claims about the classifiers of the configuration file."""

from __future__ import annotations

from typing import Any

import pytest

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.model import Category
from safety_proxy.settings_classifiers import (
    AzureSettings,
    BlocklistSettings,
    GuardSettings,
    HTTPSettings,
    OpenAIModerationSettings,
    PromptGuardSettings,
    RemoteSettings,
)
from safety_proxy.settings_file import FileShape, expand

SECRET = "sk-top-secret"
GUARDS = ("llama_guard", "qwen3_guard", "shield_gemma", "granite_guardian")


def classifier(entry: str) -> Any:  # noqa: ANN401 - each test knows the type that it reads
    return validate(FileShape, expand(parse(f"classifiers:\n  a: {entry}", "p.yaml"), {})).classifiers["a"]


def mistake(entry: str) -> str:
    with pytest.raises(ConfigError) as caught:
        classifier(entry)
    assert SECRET not in str(caught.value)
    return str(caught.value).removeprefix("p.yaml:2: classifiers.a.").removeprefix("p.yaml:2: classifiers.a: ")


def test_services_are_relied_on_in_the_documented_way_unless_something_else_is_written() -> None:
    each = classifier("{type: llama_guard, url: 'http://h/v1', model: m}")
    assert isinstance(each, RemoteSettings)
    assert (each.timeout, each.concurrency, each.rate, each.retries, each.hedge, each.fallback) == (
        2,
        32,
        None,
        1,
        None,
        None,
    )
    assert (each.breaker.failures, each.breaker.probe) == (5, 5)


def test_how_a_service_is_relied_on_can_be_written() -> None:
    each = classifier(
        "{type: http, url: 'http://h', reports: [hate], timeout: 500ms, concurrency: 4, rate: {requests: 10, per: 1s}, "
        "retries: 0, breaker: {failures: 3, probe: 1s}, hedge: 100ms, fallback: embedded}"
    )
    assert (each.timeout, each.concurrency, each.retries, each.hedge, each.fallback) == (0.5, 4, 0, 0.1, "embedded")
    assert (each.rate.requests, each.rate.per, each.breaker.failures, each.breaker.probe) == (10, 1, 3, 1)


def test_azure_takes_a_thousand_requests_in_ten_seconds() -> None:
    each = classifier("{type: azure_content_safety, endpoint: 'https://h', key: k}")
    assert isinstance(each, AzureSettings)
    assert each.rate is not None
    assert (each.rate.requests, each.rate.per) == (1000, 10)


@pytest.mark.parametrize("credential", ["", ", key: k, entra: {}"])
def test_azure_needs_one_credential(credential: str) -> None:
    text = f"{{type: azure_content_safety, endpoint: 'https://h'{credential}}}"
    assert mistake(text) == "needs a `key` or `entra`, and not both"


def test_entra_is_that_of_the_public_cloud_unless_another_is_written() -> None:
    public = classifier("{type: azure_content_safety, endpoint: 'https://h', entra: {}}").entra
    assert (public.authority, public.audience) == (
        "https://login.microsoftonline.com",
        "https://cognitiveservices.azure.com",
    )
    other = classifier(
        "{type: azure_content_safety, endpoint: 'https://h', entra: {client_id: x, authority: 'https://login.microsoftonline.us'}}"
    ).entra
    assert (other.client_id, other.authority) == ("x", "https://login.microsoftonline.us")


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_needs_a_server_and_a_model(name: str) -> None:
    assert mistake(f"{{type: {name}, url: 'http://h'}}") == "model: is required"
    assert mistake(f"{{type: {name}, model: m}}") == "url: is required"
    each = classifier(f"{{type: {name}, url: 'http://h/v1', model: m, key: {SECRET}}}")
    assert isinstance(each, GuardSettings)
    assert (each.severity, each.hazards) == (6, {})
    assert SECRET not in repr(each)


@pytest.mark.parametrize(
    ("written", "row"),
    [
        ("violence", {Category.VIOLENCE: None}),
        ("[violence, sexual]", {Category.VIOLENCE: None, Category.SEXUAL: None}),
        ("{violence: 4}", {Category.VIOLENCE: 4}),
        ("[]", {}),
        ("{}", {}),
    ],
)
def test_rows_of_hazards_are_categories_with_or_without_severity(written: str, row: dict[Category, int | None]) -> None:
    each = classifier(f"{{type: llama_guard, url: 'http://h', model: m, hazards: {{S1: {written}}}}}")
    assert each.hazards == {"S1": row}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{type: llama_guard, url: 'http://h', model: m, hazards: {S1: war}}", "hazards.S1"),
        ("{type: llama_guard, url: 'http://h', model: m, hazards: {S1: {hate: 8}}}", "hazards.S1.hate: must be at most 7"),
        ("{type: llama_guard, url: 'http://h', model: m, variant: '2'}", "variant: must be"),
        ("{type: llama_guard, url: 'http://h', model: m, severity: high}", "severity: must be a whole number"),
        ("{type: llama_guard, url: 'http://h', model: m, retries: 6}", "retries: must be at most 5"),
        ("{type: llama_guard, url: 'http://h', model: m, hedge: 0s}", "hedge: must be more than 0"),
        ("{type: llama_guard, url: 'http://h', model: m, rate: 10}", "rate: must be a mapping"),
        ("{type: qwen3_guard, url: 'http://h', model: m, mode: lax}", "mode: must be `strict`, `loose` or `graded`"),
        ("{type: granite_guardian, url: 'http://h', model: m, version: '5'}", "version: must be"),
        ("{type: openai_moderation, cutoffs: {low: .5, medium: .4}}", "cutoffs: must rise from low to high"),
        ("{type: openai_moderation, cutoffs: {low: 0}}", "cutoffs: must rise from low to high, and low must be more than 0"),
        ("{type: openai_moderation, cutoffs: {high: 2}}", "cutoffs.high: must be at most 1"),
        ("{type: prompt_guard, url: 'http://h', api: score}", "api: must be `classify` or `predict`"),
        ("{type: http, url: 'http://h', reports: []}", "reports: must have at least 1 item"),
        ("{type: http, url: 'http://h', reports: [spam]}", "reports[0]: must be one of: hate, sexual"),
        ("{type: http, url: 'http://h', reports: [hate], limit: 5, overlap: 5}", "has an overlap that is not less"),
        ("{type: http, url: 'http://h', reports: [jailbreak], images: true}", "reads images, but reports no harm"),
        ("{type: http, url: 'http://h', reports: [hate], key: k, headers: {Api-Key: k}}", "has a key and a header"),
        ("{type: azure_content_safety, endpoint: 'https://h', key: k, checks: [taste]}", "checks[0]: must be"),
        (
            "{type: azure_content_safety, endpoint: 'https://h', key: k, blocklists: ['a b']}",
            "blocklists[0]: must have the form",
        ),
    ],
)
def test_mistakes_are_told_with_their_field(entry: str, expected: str) -> None:
    assert mistake(entry).startswith(expected)


def test_openai_and_prompt_guard_have_models_of_their_own() -> None:
    openai, guard = classifier("{type: openai_moderation}"), classifier("{type: prompt_guard, url: 'http://h'}")
    assert isinstance(openai, OpenAIModerationSettings)
    assert (openai.url, openai.model) == ("https://api.openai.com/v1", "omni-moderation-latest")
    assert (openai.cutoffs.low, openai.cutoffs.medium, openai.cutoffs.high) == (0.2, 0.5, 0.8)
    assert isinstance(guard, PromptGuardSettings)
    assert (guard.api, guard.cutoff) == ("classify", 0.5)


def test_a_webhook_says_what_it_reports() -> None:
    each = classifier("{type: http, url: 'http://h', reports: [hate, jailbreak], conversation: true, limit: 9, overlap: 3}")
    assert isinstance(each, HTTPSettings)
    assert each.reports == [Category.HATE, Category.JAILBREAK]
    assert (each.conversation, each.images, each.limit, each.overlap) == (True, False, 9, 3)


def test_lists_of_terms_may_have_exceptions() -> None:
    each = classifier("{type: blocklist, lists: [{name: x, terms: [killer], exceptions: [killer app]}]}")
    assert isinstance(each, BlocklistSettings)
    (only,) = each.blocklists
    assert (only.terms, only.exceptions) == (("killer",), ("killer app",))
