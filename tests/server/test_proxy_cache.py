"""What has been judged is not judged again: old turns of a conversation cost nothing."""

from __future__ import annotations

from collections import Counter

import aiohttp

from safety_proxy.model import Kind
from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import asks, post, whole

TURNS = 50


def conversation(turns: int, harm: int | None = None) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": "You are a helpful assistant for people who water plants."}]
    for turn in range(turns):
        text = f"Question {turn}: " + ("how often do I water the fern? " * 20 if turn % 2 else "and the cactus?")
        messages.append({"role": "user", "content": HARM if turn == harm else text})
        messages.append({"role": "assistant", "content": f"Answer {turn}: once a week. " * 20})
    return messages[:-1]


async def test_in_a_conversation_of_fifty_turns_each_text_is_judged_once(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("once a week"))
    classifier = scripted()
    async with serve(backend, classifier=classifier) as url:
        for turns in range(1, TURNS + 1):
            status, _ = await post(http, url, {"model": "m", "messages": conversation(turns)})
            assert status == 200
    judged = Counter((query.text, query.kind) for query in classifier.asked if query.kind is not Kind.COMPLETION)
    said = {message["content"] for message in conversation(TURNS)}
    assert said <= {text for text, _ in judged}
    assert max(judged.values()) == 1
    # Beside the texts themselves only the seams that a turn adds: four at most for each of its two borders.
    assert len(judged) < len(said) + 8 * TURNS


async def test_metrics_tell_what_was_kept(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.json(whole("once a week"))
    async with serve(backend) as url:
        for _ in range(3):
            await post(http, url, asks("hello"))
        async with http.get(url + "/metrics") as response:
            metrics = await response.text()
    assert 'safety_proxy_cache_lookups_total{classifier="scripted",result="hit"}' in metrics
    assert 'safety_proxy_cache_lookups_total{classifier="scripted",result="miss"}' in metrics
    assert "safety_proxy_cache_entries " in metrics
    assert "safety_proxy_cache_bytes " in metrics


async def test_a_verdict_that_was_kept_blocks_as_the_first_one_did(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    classifier = scripted()
    async with serve(backend, classifier=classifier) as url:
        statuses = [(await post(http, url, asks(HARM)))[0] for _ in range(3)]
    assert statuses == [400] * 3
    assert [query.text for query in classifier.asked].count(HARM) == 1


async def test_a_failure_is_not_kept(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    classifier = scripted()
    async with serve(backend, classifier=classifier) as url:
        statuses = [(await post(http, url, asks(OUTAGE)))[0] for _ in range(2)]
    assert statuses == [503] * 2
    assert [query.text for query in classifier.asked].count(OUTAGE) == 2


async def test_without_a_cache_everything_is_judged_anew(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("x"))
    classifier = scripted()
    async with serve(backend, classifier=classifier, config="cache: off\n") as url:
        for _ in range(2):
            await post(http, url, asks("hello"))
    assert Counter(query.text for query in classifier.asked)["hello"] == 2


KEYS = """\
cache: {{shared: {shared}}}
keys:
  - {{name: a, sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}}
  - {{name: b, sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9}}
"""
"""SHA-256 of foo and bar."""


async def test_callers_share_verdicts_only_if_the_configuration_says_so(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("x"))
    asked = {}
    for shared in ("false", "true"):
        classifier = scripted()
        async with serve(backend, classifier=classifier, config=KEYS.format(shared=shared)) as url:
            for key in ("foo", "bar", "foo"):
                status, _ = await post(http, url, asks("hello"), **{"api-key": key})
                assert status == 200
        asked[shared] = Counter(query.text for query in classifier.asked)["hello"]
    assert asked == {"false": 2, "true": 1}
