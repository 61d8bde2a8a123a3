"""Evaluations over the wire, and that they decide as the proxy does."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from safety_proxy.dialects.evaluation import MAX_COMPLETION
from safety_proxy.model import Category, Query, Verdict
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.pictures import data_url, png
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import SAFE, Event, post

EVALUATE = "/v1/policy/evaluate"
HEAD = "version: 1\nname: test\nclassifiers: [embedded]\n"

Start = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(name="start")
def _start(serve: Serve, backend: FakeBackend) -> Start:
    """Start a filtering service without models: ``async with start(policy=..., classifier=...) as url``."""

    def start(**options: object) -> AbstractAsyncContextManager[str]:
        return serve(backend, flags={"filter_only": "true", "policy": "test"}, **options)

    return start


async def ask(http: aiohttp.ClientSession, url: str, body: object, **headers: str) -> Event:
    status, answer = await post(http, url, body, EVALUATE, **headers)
    assert status == 200, answer
    told: Event = json.loads(answer)
    return told


async def refused(http: aiohttp.ClientSession, url: str, body: object) -> tuple[int, str | None, str | None]:
    """Status, code and param."""
    status, answer = await post(http, url, body, EVALUATE)
    error = json.loads(answer)["error"]
    return status, error["code"], error["param"]


# -------------------------------------------------------------------------------------------------------------- one


async def test_a_filtered_prompt_is_a_good_answer_that_says_why(start: Start, http: aiohttp.ClientSession) -> None:
    body = {"id": "7", "text": f"I will {HARM}"}
    async with start() as url, http.post(url + EVALUATE, json=body) as response:
        assert response.status == 200
        assert response.headers["x-safety-proxy-decision"] == "block"
        assert response.headers["x-safety-proxy-policy"].startswith("test@")
        written = await response.text()

    told = json.loads(written)
    (text,) = told["stages"]["input"]["texts"]
    assert (told["id"], told["object"], told["decision"]) == ("7", "policy.evaluation", "block")
    assert told["policy"].startswith("test@")
    assert [name.partition("@")[0] for name in told["classifiers"]] == ["scripted"]
    assert [*told["stages"]] == ["input"]
    assert told["stages"]["input"]["categories"]["violence"] == {
        "filtered": True,
        "severity": 6,
        "label": "high",
        "threshold": "medium",
    }
    assert text["field"] == "text"
    assert text["spans"] == [
        {"start": 7, "end": 7 + len(HARM), "label": "violence", "classifier": "embedded", "weight": 1.0}
    ]
    assert text["verdicts"]["embedded"]["severities"]["violence"] == 6
    assert {"stage": "input", "what": "category", "name": "indirect_attack", "reason": "not_applicable"} in told[
        "not_evaluated"
    ]
    assert HARM not in written


async def test_a_violation_that_is_spread_over_turns_is_found_in_their_seam(
    start: Start, http: aiohttp.ClientSession
) -> None:
    messages = [{"role": "user", "content": HARM[:8]}, {"role": "user", "content": HARM[8:]}]
    async with start() as url:
        told = await ask(http, url, {"messages": messages})

    texts = told["stages"]["input"]["texts"]
    assert [text["decision"] for text in texts] == ["allow", "allow", "block", "allow"]
    assert (texts[2]["field"], texts[2]["start"], texts[2]["end"]) == (
        "messages[0].content to messages[1].content",
        None,
        None,
    )
    assert [(span["start"], span["end"]) for span in texts[2]["spans"]] == [(0, len(HARM))]


async def test_each_choice_of_a_completion_is_told_with_its_windows(start: Start, http: aiohttp.ClientSession) -> None:
    said = SAFE[:200] + HARM + SAFE[:300]
    completion = [said, {"role": "assistant", "content": "Fine."}, {"content": OUTAGE}]
    async with start() as url:
        told = await ask(http, url, {"completion": completion})

    output = told["stages"]["output"]
    assert told["decision"] == output["decision"] == "block"
    assert [
        (choice["index"], choice["decision"], choice["finish_reason"], choice["error"]) for choice in output["choices"]
    ] == [
        (0, "block", "content_filter", None),
        (1, "allow", None, None),
        (2, "error", "content_filter_error", "timeout"),
    ]
    found = {(span["start"], span["end"]) for text in output["texts"] if text["choice"] == 0 for span in text["spans"]}
    assert found == {(200, 200 + len(HARM))}
    assert [(text["start"], text["end"], text["channel"]) for text in output["texts"] if text["choice"] == 1] == [
        (0, 5, "content")
    ]
    assert {"stage": "output", "what": "classifier", "name": "embedded", "reason": "timeout"} in told["not_evaluated"]


async def test_an_allowed_choice_tells_what_was_found_below_the_threshold(start: Start, http: aiohttp.ClientSession) -> None:
    async with start(classifier=ScriptedClassifier({"darn": (Category.HATE, 3)})) as url:
        told = await ask(http, url, {"completion": SAFE[:200] + " darn " + SAFE[:200]})

    assert told["decision"] == "allow"
    for stage in (told["stages"]["output"], told["stages"]["output"]["choices"][0]):
        assert stage["categories"]["hate"] == {"filtered": False, "severity": 3, "label": "low", "threshold": "medium"}


class Slow(ScriptedClassifier):
    """Never answers on texts that hold the word."""

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any("never" in query.text for query in queries):
            await asyncio.Event().wait()
        return await super().classify(queries)


async def test_text_behind_the_end_of_a_choice_is_told_as_not_evaluated(start: Start, http: aiohttp.ClientSession) -> None:
    said = HARM + " " + "x" * 300 + "never" + "x" * 400
    async with start(classifier=Slow({HARM: (Category.VIOLENCE, 6)})) as url:
        told = await ask(http, url, {"completion": said})

    gaps = [gap for gap in told["not_evaluated"] if gap["what"] == "field"]
    assert [(gap["name"], gap["choice"], gap["reason"]) for gap in gaps] == [("content", 0, "ended")] * len(gaps)
    assert any(gap["start"] <= said.index("never") < gap["end"] for gap in gaps)


async def test_tool_calls_are_judged_as_they_stand_and_as_a_parser_reads_them(
    start: Start, http: aiohttp.ClientSession
) -> None:
    escaped = json.dumps({"note": HARM}).replace("k", "\\u006b")
    call = {"id": "c", "type": "function", "function": {"name": "mail", "arguments": escaped}}
    async with start() as url:
        told = await ask(http, url, {"completion": {"role": "assistant", "content": None, "tool_calls": [call]}})

    texts = told["stages"]["output"]["texts"]
    assert told["decision"] == "block"
    assert {text["channel"] for text in texts} == {"tool_call:0.name", "tool_call:0.arguments"}
    assert [(text["start"], text["end"]) for text in texts if text["channel"].endswith("arguments")] == [
        (0, len(escaped)),
        (None, None),
        (None, None),
    ]


async def test_both_stages_are_evaluated_although_the_first_is_filtered(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        told = await ask(http, url, {"prompt": [HARM, "fine"], "completion": ["fine", "fine"]})

    assert [*told["stages"]] == ["input", "output"]
    assert (told["stages"]["input"]["decision"], told["stages"]["output"]["decision"]) == ("block", "allow")
    assert told["stages"]["output"]["texts"][0]["channel"] == "text"


async def test_a_completion_is_judged_with_the_conversation_that_it_answers(
    start: Start, http: aiohttp.ClientSession
) -> None:
    classifier = scripted(reads_conversation=True)
    async with start(policy=f"{HEAD}conversation: all\n", classifier=classifier) as url:
        await ask(http, url, {"text": "question", "completion": "answer"})

    (asked,) = (query for query in classifier.asked if query.text == "answer")
    assert [(turn.role, turn.text) for turn in asked.conversation] == [("user", "question")]


async def test_what_the_policy_lets_pass_unread_is_told(start: Start, http: aiohttp.ClientSession) -> None:
    policy = f"{HEAD}input: {{roles: [user], unreadable: allow}}\n"
    image = {"type": "image_url", "image_url": {"url": data_url(png())}}
    remote = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/cat.png"}}
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [image, remote]}]
    async with start(policy=policy) as url:
        told = await ask(http, url, {"messages": messages})

    assert told["decision"] == "allow"
    assert {(gap["name"], gap["reason"]) for gap in told["not_evaluated"] if gap["what"] == "field"} == {
        ("messages[0].content", "role"),
        ("messages[1].content[0]", "unreadable"),
        ("messages[1].content[1]", "unreadable"),
    }


async def test_another_policy_may_be_named_and_the_head_names_it_too(start: Start, http: aiohttp.ClientSession) -> None:
    body = {"text": HARM, "policy": "annotate-only"}
    async with start() as url, http.post(url + EVALUATE, json=body) as response:
        told = await response.json()
        assert response.headers["x-safety-proxy-policy"] == told["policy"]

    assert told["policy"].startswith("annotate-only@")
    assert told["decision"] == "allow"
    assert told["stages"]["input"]["categories"]["violence"]["threshold"] == "never"


async def test_the_policy_of_the_key_is_the_default(start: Start, http: aiohttp.ClientSession) -> None:
    config = f"keys: [{{name: team, sha256: {hashlib.sha256(b'lax-key').hexdigest()}, policy: annotate-only}}]\n"
    async with start(config=config) as url:
        told = await ask(http, url, {"text": HARM}, **{"api-key": "lax-key"})
        other = await ask(http, url, {"text": HARM, "policy": "test"}, **{"api-key": "lax-key"})
        status, _ = await post(http, url, {"text": HARM}, EVALUATE)

    assert told["policy"].startswith("annotate-only@")
    assert other["policy"].startswith("test@")
    assert status == 401


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ([], 400, None, None),
        ({}, 400, None, "text"),
        ({"text": "a", "policy": "nobody's"}, 404, "policy_not_found", "policy"),
        ({"text": "a", "policy": "azure-default"}, 400, "policy_unusable", "policy"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file"}]}]},
            400,
            "unsupported_content",
            "messages[0].content[0]",
        ),
        ({"completion": "x" * (MAX_COMPLETION + 1)}, 413, "completion_too_long", "completion"),
        ({"messages": [{"role": "user", "content": "a"}] * 5}, 413, "prompt_too_long", None),
    ],
)
async def test_what_cannot_be_evaluated_is_refused(
    start: Start, http: aiohttp.ClientSession, body: object, status: int, code: str | None, param: str | None
) -> None:
    async with start(config="limits: {judgements: 4}\n") as url:
        assert await refused(http, url, body) == (status, code, param)


# ---------------------------------------------------------------------------------------------------------- several


async def test_several_evaluations_are_answered_in_order_and_a_wrong_one_does_not_spoil_the_others(
    start: Start, http: aiohttp.ClientSession
) -> None:
    batch = [
        {"id": "a", "text": HARM},
        {"id": "b", "messages": [{"role": "user"}]},
        {"id": "c", "text": "fine", "policy": "nobody's"},
        7,
        {"completion": "fine", "policy": "strict"},
    ]
    async with start() as url, http.post(url + EVALUATE, json={"evaluations": batch}) as response:
        assert response.status == 200
        assert "x-safety-proxy-decision" not in response.headers
        told = (await response.json())["results"]

    assert [each["id"] for each in told] == ["a", "b", "c", None, None]
    assert [each.get("decision") for each in told] == ["block", None, None, None, "allow"]
    assert told[4]["policy"].startswith("strict@")
    assert [{*each} for each in told[1:4]] == [{"id", "error"}] * 3
    assert [(each["error"]["type"], each["error"]["code"], each["error"]["param"]) for each in told[1:4]] == [
        ("invalid_request_error", None, "evaluations[1].messages[0].content"),
        ("not_found_error", "policy_not_found", "evaluations[2].policy"),
        ("invalid_request_error", None, "evaluations[3]"),
    ]


class Crowded(ScriptedClassifier):
    """Answers about texts with a number once the gate is open; tells when four calls wait there."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.four, self.gate = asyncio.Event(), asyncio.Event()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any(query.text.startswith("number") for query in queries):
            self.waiting += 1
            if self.waiting == 4:
                self.four.set()
            await self.gate.wait()
        return await super().classify(queries)


async def test_no_more_than_four_evaluations_are_judged_at_a_time(start: Start, http: aiohttp.ClientSession) -> None:
    classifier = Crowded()
    batch = {"evaluations": [{"text": f"number {i}"} for i in range(30)]}
    async with start(classifier=classifier) as url, asyncio.TaskGroup() as group:
        asking = group.create_task(ask(http, url, batch))
        await classifier.four.wait()
        await ask(http, url, {"text": "fine"})  # is served meanwhile, and takes turns in which a fifth could have begun
        assert classifier.waiting == 4
        classifier.gate.set()
        told = await asking

    assert [each["decision"] for each in told["results"]] == ["allow"] * 30


@pytest.mark.parametrize("batch", [[], [{}] * 101, "text", None])
async def test_a_batch_has_one_to_a_hundred_evaluations(start: Start, http: aiohttp.ClientSession, batch: object) -> None:
    async with start() as url:
        assert await refused(http, url, {"evaluations": batch}) == (400, None, "evaluations")


class Waiting(ScriptedClassifier):
    """Answers about one text when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any(query.text == "wait" for query in queries):
            self.begun.set()
            await self.gate.wait()
        return await super().classify(queries)


async def test_above_the_limit_for_requests_callers_are_asked_to_come_back(
    start: Start, http: aiohttp.ClientSession
) -> None:
    classifier = Waiting()
    async with start(classifier=classifier, config="limits: {requests: 1}\n") as url, asyncio.TaskGroup() as group:
        first = group.create_task(post(http, url, {"text": "wait"}, EVALUATE))
        await classifier.begun.wait()
        assert await refused(http, url, {"text": "fine"}) == (503, "overloaded", None)
        classifier.gate.set()
        assert (await first)[0] == 200
