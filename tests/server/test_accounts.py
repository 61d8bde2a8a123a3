"""Quotas over HTTP: who is let in, what the head says, and what is counted for whom."""

from __future__ import annotations

import asyncio
import hashlib
import json

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from safety_proxy.server.accounts import duration
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import CHAT, SAFE, Event, asks, event, post, whole, words


class Clock:
    """Eleven and a half seconds before the end of a minute, until it is set."""

    now = 1_700_000_088.5

    def __call__(self) -> float:
        return self.now


def config(limits: str = "{requests_per_minute: 3, tokens_per_minute: 1000}", *, more: str = "") -> str:
    return (
        "backends: {one: {url: 'BACKEND'}}\n"
        f"deployments:\n  m: {{backend: one, policy: test, limits: {limits}{more}}}\n"
        "  free: {backend: one, policy: test}\n"
        f"  raw: {{backend: one, policy: off, limits: {limits}{more}}}\n"
    )


async def ask(http: aiohttp.ClientSession, url: str, path: str = CHAT, **more: object) -> tuple[int, dict[str, str], Event]:
    async with http.post(url + path, json={**asks("12345678"), "max_tokens": 10, **more}) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = await response.read()
        return response.status, headers, json.loads(body) if not more.get("stream") else {}


def limits(headers: dict[str, str]) -> dict[str, str]:
    return {n.removeprefix("x-ratelimit-"): v for n, v in headers.items() if n.startswith("x-ratelimit-")}


async def counted(http: aiohttp.ClientSession, url: str, name: str) -> dict[tuple[str, ...], float]:
    """A metric by the values of its labels, in the order of their names."""
    async with http.get(f"{url}/metrics") as response:
        text = await response.text()
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if sample.name == f"safety_proxy_{name}"]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in samples}


async def test_a_request_too_many_is_429_and_never_reaches_the_backend(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    clock = Clock()
    async with serve(backend, config=config(), flags={}, clock=clock) as url:
        remaining = [limits((await ask(http, url))[1])["remaining-requests"] for _ in range(3)]
        status, headers, body = await ask(http, url)
        clock.now += 12
        again, _, _ = await ask(http, url)

    assert remaining == ["2", "1", "0"]
    assert status == 429
    assert body["error"] == {
        "message": "the deployment's limit of 3 requests a minute is reached; retry in 12 s",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("12", "11500")
    assert limits(headers) == {
        "limit-requests": "3",
        "limit-tokens": "1000",
        "remaining-requests": "0",
        "remaining-tokens": "991",
        "reset-requests": "11.5s",
        "reset-tokens": "11.5s",
    }
    assert again == 200
    assert len(backend.requests) == 4


async def test_azures_limits_are_a_thousand_requests_and_four_hundred_thousand_tokens(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend, config=config("azure"), flags={}, clock=Clock()) as url:
        _, headers, _ = await ask(http, url, messages=[{"role": "user", "content": HARM}])

    assert (limits(headers)["limit-requests"], limits(headers)["limit-tokens"]) == ("1000", "400000")


@pytest.mark.slow
async def test_request_1001_of_a_minute_is_refused(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend, config=config("azure"), flags={}, clock=Clock()) as url:
        statuses = [(await post(http, url, asks()))[0] for _ in range(1001)]

    assert statuses == [200] * 1000 + [429]


async def test_routes_of_azure_count_in_seconds(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        _, headers, _ = await ask(http, url, "/chat/completions")

    assert limits(headers)["reset-requests"] == "12"


async def test_tokens_are_estimated_at_arrival_and_corrected_by_usage(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    """8 characters and 10 tokens make 12; the backend says 3."""
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        _, first, _ = await ask(http, url)
        _, second, _ = await ask(http, url, n=3)

    assert limits(first)["remaining-tokens"] == "988"
    assert limits(second)["remaining-tokens"] == str(1000 - 3 - 32)


async def test_a_stream_is_corrected_by_its_last_usage_and_without_one_not_at_all(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 96, "total_tokens": 100}}
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        backend.answer = Answer.stream(*words("Hi"), usage)
        _, first, _ = await ask(http, url, stream=True)
        backend.answer = Answer.stream(*words("Hi"))
        _, second, _ = await ask(http, url, stream=True)
        _, third, _ = await ask(http, url, stream=True)

    left = [limits(headers)["remaining-tokens"] for headers in (first, second, third)]
    assert left == ["988", "888", "876"]


async def test_too_many_tokens_are_refused_and_the_limit_is_named(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("Hi"))
    async with serve(backend, config=config("{tokens_per_minute: 500}"), flags={}, clock=Clock()) as url:
        await ask(http, url, stream=True, max_tokens=400)
        status, headers, body = await ask(http, url, max_tokens=400)
        smaller, _, _ = await ask(http, url, stream=True, max_tokens=90)
        hopeless, never, other = await ask(http, url, max_tokens=4000)

    assert (status, smaller, hopeless) == (429, 200, 429)
    assert body["error"]["message"] == "the deployment's limit of 500 tokens a minute is reached; retry in 12 s"
    assert set(limits(headers)) == {"limit-tokens", "remaining-tokens", "reset-tokens"}
    assert other["error"]["message"].startswith("the request asks for more tokens than")
    assert ("retry-after" in never, never["x-should-retry"]) == (False, "false")


async def test_the_backends_own_figures_are_shown_only_where_there_are_none_of_ours(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    own = {"Content-Type": "application/json", "x-ratelimit-limit-tokens": "77", "x-ratelimit-remaining-tokens": "76"}
    backend.answer = Answer(Answer.json(whole("Hi")).pieces, headers=own)
    async with serve(backend, config=config("{requests_per_minute: 9}"), flags={}, clock=Clock()) as url:
        _, limited, _ = await ask(http, url)
        _, free, _ = await ask(http, url, model="free")
        _, raw, _ = await ask(http, url, model="raw")

    assert limits(free) == {"limit-tokens": "77", "remaining-tokens": "76"}
    for ours in (limited, raw):
        assert limits(ours) == {"limit-requests": "9", "remaining-requests": "8", "reset-requests": "11.5s"}


@pytest.mark.parametrize(("text", "status"), [(HARM, 400), (OUTAGE, 503)])
async def test_a_request_that_ends_early_counts_and_is_told_how_the_quota_stands(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, text: str, status: int
) -> None:
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        seen, headers, _ = await ask(http, url, messages=[{"role": "user", "content": text}])

    assert seen == status
    assert limits(headers)["remaining-requests"] == "2"


async def test_a_deployment_that_opted_out_has_its_quota_corrected_too(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    usage = {**event({}), "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 96, "total_tokens": 100}}
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        backend.answer = Answer.stream(*words("Hi"), usage)
        await ask(http, url, model="raw", stream=True)
        backend.answer = Answer.json(whole("Hi"))
        await ask(http, url, model="raw")
        tokens = await counted(http, url, "tokens_total")
        _, headers, _ = await ask(http, url, model="raw")

    assert limits(headers)["remaining-tokens"] == str(1000 - 100 - 3 - 12)
    assert tokens == {("reported", "raw", "", "prompt"): 5, ("reported", "raw", "", "completion"): 98}


async def test_the_openai_client_raises_a_rate_limit_error_with_the_headers(serve: Serve, backend: FakeBackend) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with (
        serve(backend, config=config("{requests_per_minute: 1}"), flags={}, clock=Clock()) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
    ):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])

    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert caught.value.response.headers["retry-after-ms"] == "11500"
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


# ------------------------------------------------------------------------------------------------------- counters

KEYS = f"""keys:
  - {{name: team-a, sha256: "{hashlib.sha256(b"a").hexdigest()}"}}
  - {{name: team-b, sha256: "{hashlib.sha256(b"b").hexdigest()}"}}
metrics: open
"""
PRICE = ", price: {prompt: 5, completion: 10, currency: EUR}"


async def test_tokens_and_cost_are_counted_for_each_deployment_and_key(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend, config=config(more=PRICE) + KEYS, flags={}, clock=Clock()) as url:
        for key in ("a", "a", "b"):
            await post(http, url, asks(), **{"api-key": key})
        tokens = await counted(http, url, "tokens_total")
        cost = await counted(http, url, "cost_total")

    assert tokens == {
        ("reported", "m", "team-a", "prompt"): 2,
        ("reported", "m", "team-a", "completion"): 4,
        ("reported", "m", "team-b", "prompt"): 1,
        ("reported", "m", "team-b", "completion"): 2,
    }
    assert cost == {("EUR", "m", "team-a"): pytest.approx(0.05), ("EUR", "m", "team-b"): pytest.approx(0.025)}


async def test_what_the_backend_does_not_tell_is_estimated_and_a_filtered_prompt_is_paid_for(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words("x" * 41))
    async with serve(backend, config=config(more=PRICE), flags={}, clock=Clock()) as url:
        await ask(http, url, stream=True)
        before = await counted(http, url, "tokens_total")
        await ask(http, url, messages=[{"role": "user", "content": HARM}])
        await ask(http, url, messages=[{"role": "user", "content": OUTAGE}])
        after = await counted(http, url, "tokens_total")

    assert before == {("estimated", "m", "", "prompt"): 2, ("estimated", "m", "", "completion"): 11}
    assert after == {("estimated", "m", "", "prompt"): 2 + -(-len(HARM) // 4), ("estimated", "m", "", "completion"): 11}


async def test_a_client_that_leaves_pays_for_what_the_backend_wrote(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([*Answer.stream(*words(SAFE)).pieces[:-2], asyncio.Event()])
    async with serve(backend, config=config("azure"), flags={}, clock=Clock()) as url, asyncio.timeout(10):
        async with http.post(url + CHAT, json=asks(stream=True)) as response:
            await response.content.readany()
        await backend.left.wait()
        requests: dict[tuple[str, ...], float] = {}
        while not requests:  # it is counted once the server has noticed
            seen = await counted(http, url, "requests_total")
            requests = {labels: n for labels, n in seen.items() if labels[0] == "m"}
        tokens = await counted(http, url, "tokens_total")

    assert requests == {("m", "chat_completions", CHAT, "left"): 1}
    assert tokens["estimated", "m", "", "completion"] > 0


async def test_refusals_are_counted_by_limit(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serve(backend, config=config(), flags={}, clock=Clock()) as url:
        await ask(http, url, max_tokens=4000)
        assert await counted(http, url, "quota_refusals_total") == {("m", "tokens"): 1}


async def test_the_time_to_the_first_text_is_counted_once_for_each_stream_that_showed_any(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with serve(backend, config=config("azure"), flags={}, clock=Clock()) as url:
        for text in (SAFE, HARM):
            backend.answer = Answer.stream(*words(text))
            await ask(http, url, stream=True)
        first = await counted(http, url, "first_text_seconds_count")
        held = await counted(http, url, "first_text_held_seconds_count")

    assert first == held == {("m",): 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0115, "12ms"), (1, "1s"), (1.5, "1.5s"), (0.9999, "1s"), (59.64, "59.64s"), (60, "1m0s"), (360, "6m0s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
