"""`/metrics`: what Prometheus reads, and what nobody can get into it."""

from __future__ import annotations

import hashlib
import re

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from safety_proxy.server.meters import METRICS
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import CHAT, SAFE, asks, post, stream, whole, words

CONFIG = """
backends: {one: {url: 'BACKEND'}}
deployments:
  m: {backend: one, policy: test, limits: azure, price: {prompt: 1}}
  n: {backend: one, policy: test, limits: {requests_per_minute: 5}}
default_deployment: m
"""
SHOWN = {metric.name for metric in METRICS} | {
    "safety_proxy_build_info",
    "safety_proxy_quota_limit",
    "safety_proxy_quota_remaining",
    "safety_proxy_metrics_lost",
}


async def families(http: aiohttp.ClientSession, url: str) -> dict[str, Family]:
    async with http.get(f"{url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(await response.text())}


def samples(families: dict[str, Family], name: str, suffix: str = "") -> dict[tuple[str, ...], float]:
    """By the values of their labels, in the order of the labels' names."""
    found = [sample for sample in families[name].samples if sample.name == name + suffix]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


async def test_prometheus_reads_every_metric_and_no_other(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend, config=CONFIG, flags={}) as url:
        before = await families(http, url)
        backend.answer = Answer.stream(*words(SAFE))
        await stream(http, url)
        after = await families(http, url)

    assert set(before) == set(after) == SHOWN
    expected = {metric.name: {*metric.labels, *(("le",) if metric.buckets else ())} for metric in METRICS}
    for name, labels in expected.items():
        assert {label for sample in after[name].samples for label in sample.labels} <= labels
        assert after[name].documentation


async def test_requests_and_decisions_are_counted_by_configured_names(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend, config=CONFIG, flags={}) as url:
        backend.answer = Answer.json(whole("Hi", HARM))
        await post(http, url, asks(n=2))
        await post(http, url, asks(HARM))
        await post(http, url, asks(OUTAGE))
        await post(http, url, asks(), path="/v1/strange")
        seen = await families(http, url)

    assert samples(seen, "safety_proxy_requests", "_total") == {
        ("m", "chat_completions", CHAT, "2xx"): 1,
        ("m", "chat_completions", CHAT, "4xx"): 1,
        ("m", "chat_completions", CHAT, "5xx"): 1,
        ("", "", "none", "4xx"): 1,
    }
    decisions = samples(seen, "safety_proxy_decisions", "_total")
    assert {(stage, decision): amount for (decision, _, _, _, stage), amount in decisions.items()} == {
        ("prompt", "allow"): 1,
        ("prompt", "content_filter"): 1,
        ("prompt", "content_filter_error"): 1,
        ("completion", "content_filter"): 1,
    }
    assert all(re.fullmatch(r"test@[0-9a-f]{12}", labels[3]) for labels in decisions)
    assert samples(seen, "safety_proxy_request_duration_seconds", "_count")[CHAT,] == 3


async def test_classifiers_are_timed_and_their_failures_counted(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend, config=CONFIG, flags={}) as url:
        backend.answer = Answer.json(whole("Hi"))
        await post(http, url, asks())
        await post(http, url, asks(OUTAGE))
        seen = await families(http, url)

    assert samples(seen, "safety_proxy_classifier_errors", "_total") == {("scripted", "timeout"): 1}
    assert samples(seen, "safety_proxy_classifier_seconds", "_count") == {("scripted",): 3}
    buckets = [s.value for s in seen["safety_proxy_classifier_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3


async def test_what_is_open_and_what_is_left_of_a_quota_are_shown(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    async with serve(backend, config=CONFIG, flags={}, clock=lambda: 1_700_000_088.5) as url:
        backend.answer = Answer.json(whole("Hi"))
        await post(http, url, {**asks(), "model": "n"})
        seen = await families(http, url)

    assert samples(seen, "safety_proxy_open_requests") == samples(seen, "safety_proxy_open_streams") == {(): 0}
    assert samples(seen, "safety_proxy_quota_limit") == {
        ("m", "requests"): 1000,
        ("m", "tokens"): 400_000,
        ("n", "requests"): 5,
    }
    assert samples(seen, "safety_proxy_quota_remaining")["n", "requests"] == 4


async def test_nothing_that_a_client_or_backend_says_becomes_a_label(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json({**whole("a hidden answer"), "model": "hidden"})
    async with serve(backend, config=CONFIG, flags={}) as url:
        for i in range(3):
            await post(http, url, {**asks("a hidden question"), "model": f"hidden-{i}"}, **{"api-key": "hidden"})
            await post(http, url, asks(), path=f"/hidden/{i}")
            await post(http, url, asks(), **{"azureml-model-deployment": f"hidden-{i}"})
            await post(http, url, asks(), **{"x-request-id": f"hidden-{i}"})
        async with http.get(f"{url}/metrics") as response:
            text = await response.text()

    assert "hidden" not in text
    assert 'deployment="m"' in text


DIGEST = hashlib.sha256(b"reader").hexdigest()
OTHER = hashlib.sha256(b"caller").hexdigest()


@pytest.mark.parametrize(
    ("written", "key", "status"),
    [
        ("", "", 403),
        ("", "caller", 403),
        ("metrics: open", "", 200),
        ("metrics: off", "reader", 403),
        (f"metrics: {{sha256: {DIGEST}}}", "reader", 200),
        (f"metrics: {{sha256: {DIGEST}}}", "caller", 401),
        (f"metrics: {{sha256: {DIGEST}}}", "", 401),
    ],
)
async def test_where_there_are_keys_the_metrics_are_for_those_who_were_named(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, written: str, key: str, status: int
) -> None:
    config = f"{CONFIG}keys: [{{name: k, sha256: {OTHER}}}]\n{written}\n"
    async with (
        serve(backend, config=config, flags={}) as url,
        http.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}) as response,
    ):
        assert response.status == status
        assert ("safety_proxy_" in await response.text()) is (status == 200)


async def test_a_key_that_may_see_the_metrics_may_not_call(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    config = f"{CONFIG}keys: [{{name: k, sha256: {OTHER}}}]\nmetrics: {{sha256: {DIGEST}}}\n"
    async with serve(backend, config=config, flags={}) as url:
        status, _ = await post(http, url, asks(), **{"api-key": "reader"})

    assert status == 401
