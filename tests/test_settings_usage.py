"""Quotas, prices and readers of the metrics, as the configuration file has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.settings import Settings, load_settings
from safety_proxy.settings_file import DeploymentSettings, FileShape, expand
from safety_proxy.settings_usage import MetricsKey, QuotaShape

DIGEST = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


def deployment(entry: str, **environ: str) -> DeploymentSettings:
    document = expand(parse(f"deployments: {{d: {{backend: b, {entry}}}}}", "proxy.yaml"), environ)
    return validate(FileShape, document).deployments["d"]


def mistake(entry: str) -> str:
    with pytest.raises(ConfigError) as caught:
        deployment(entry)
    return str(caught.value)


def settings(tmp_path: Path, config: str) -> Settings:
    (tmp_path / "proxy.yaml").write_text(config)
    return load_settings(config=tmp_path / "proxy.yaml", flags={"backend": "http://127.0.0.1:9"}, environ={})


def test_azure_is_a_thousand_requests_and_four_hundred_thousand_tokens_a_minute() -> None:
    limits = deployment("limits: azure").limits
    assert limits == QuotaShape(requests_per_minute=1_000, tokens_per_minute=400_000)


def test_limits_may_be_written_one_by_one_or_not_at_all() -> None:
    assert deployment("limits: {requests_per_minute: 60}").limits == QuotaShape(requests_per_minute=60)
    limits = deployment('limits: {tokens_per_minute: "${TPM}"}', TPM="9000").limits
    assert limits == QuotaShape(tokens_per_minute=9000)
    assert deployment("policy: default").limits is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("limits: openai", "deployments.d.limits: must be `azure`, or have `requests_per_minute` or `tokens_per_minute`"),
        ("limits: {}", "deployments.d.limits: has neither `requests_per_minute` nor `tokens_per_minute`"),
        ("limits: {requests_per_minute: 0}", "deployments.d.limits.requests_per_minute: "),
        ("limits: {requests: 1}", "deployments.d.limits.requests: "),
        ("price: {prompt: -1}", "deployments.d.price.prompt: "),
        ("price: {prompt: cheap}", "deployments.d.price.prompt: "),
        ("price: {currency: dollars}", "deployments.d.price.currency: "),
    ],
)
def test_a_mistake_is_told_with_its_field(entry: str, message: str) -> None:
    assert message in mistake(entry)


def test_a_price_is_of_a_thousand_tokens_in_dollars_unless_said_otherwise() -> None:
    price = deployment('price: {prompt: 1, completion: "${PRICE}"}', PRICE="0.016").price
    assert price is not None
    assert (price.prompt, price.completion, price.currency) == (1.0, 0.016, "USD")


def test_metrics_are_open_where_everybody_may_call_and_else_off(tmp_path: Path) -> None:
    keys = f"keys: [{{name: a, sha256: {DIGEST}}}]\n"
    assert settings(tmp_path, "{}").metrics == "open"
    assert settings(tmp_path, keys).metrics == "off"
    assert settings(tmp_path, f"{keys}metrics: open").metrics == "open"
    assert settings(tmp_path, f"metrics: {{sha256: {DIGEST}}}").metrics == MetricsKey(sha256=DIGEST)


def test_metrics_that_are_neither_open_nor_off_nor_a_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metrics"):
        settings(tmp_path, "metrics: public")
