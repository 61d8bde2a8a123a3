"""What a line of the audit log tells of a request, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, OUTAGE, Serve
from tests.server.wire import CHAT, SAFE, asks, event, finishes, post, stream, whole, words

FULL = "audit: {content: full}\n"
KEY = hashlib.sha256(b"sk-1").hexdigest()
PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
DEPLOYMENTS = """
backends: {one: {url: 'BACKEND'}}
deployments: {m: {backend: one, policy: test}, raw: {backend: one, policy: off}}
default_deployment: m
"""

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in (path / "audit.jsonl").read_text().splitlines()]


def one(path: Path) -> Line:
    (line,) = read(path)
    return line


def gaps(line: Line) -> list[tuple[str, ...]]:
    return [tuple(gap.values()) for gap in line["not_evaluated"]]


async def test_a_whole_answer_is_told_with_every_decision(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json(whole("Hi", HARM))
    config = f"{FULL}keys: [{{name: team-a, sha256: {KEY}}}]\n"
    async with serve(backend, config=config, clock=lambda: 1_700_000_000.25) as url:
        status, _ = await post(http, url, asks("hello", n=2), **{"x-request-id": "abc-1", "api-key": "sk-1"})
        assert status == 200
    line = one(tmp_path)
    assert re.fullmatch(r"test@[0-9a-f]{12}", line.pop("policy"))
    assert [re.fullmatch(r"scripted@[0-9a-f]{12}", name) is not None for name in line.pop("classifiers")] == [True]
    violence = line["output"]["choices"][1].pop("categories")["violence"]
    assert violence == {"filtered": True, "severity": 6, "label": "high", "threshold": "medium"}
    assert line["output"]["choices"][0].pop("categories")["violence"]["filtered"] is False
    assert line["input"].pop("categories")["hate"]["severity"] == 0
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "abc-1",
        "route": CHAT,
        "deployment": "default",
        "key": "team-a",
        "dialect": "chat_completions",
        "stream": False,
        "decision": "block",
        "input": {"decision": "allow", "blocklists": {}, "error": None},
        "output": {
            "choices": [
                {"index": 0, "finish_reason": "stop", "decision": "allow", "blocklists": {}, "error": None},
                {"index": 1, "finish_reason": "content_filter", "decision": "block", "blocklists": {}, "error": None},
            ]
        },
        "not_evaluated": [],
        "shadow": None,
        "content": {
            "form": "full",
            "request": {"model": "m", "messages": [{"role": "user", "content": "hello"}], "n": 2},
            "completion": [{"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": HARM}],
        },
    }


async def test_a_stream_is_told_as_the_backend_sent_it_what_was_withheld_included(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.stream(*words(f"{SAFE}so {HARM} and"))
    async with serve(backend, config=FULL) as url:
        assert finishes(await stream(http, url)) == {0: ["content_filter"]}
    line = one(tmp_path)
    assert line["content"]["request"]["stream"] is True
    (message,) = line["content"]["completion"]
    assert message["content"].startswith(f"{SAFE}so {HARM}")
    assert line["output"]["choices"][0]["finish_reason"] == "content_filter"
    assert line["decision"] == "block"


async def test_tool_calls_of_a_stream_are_put_together(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    def call(**function: str) -> Line:
        return event({"tool_calls": [{"index": 0, "function": function}]})

    first = event(
        {"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f"}}]}
    )
    backend.answer = Answer.stream(first, call(arguments='{"a"'), call(arguments=": 1}"), event({}, "tool_calls"))
    async with serve(backend, config=FULL) as url:
        await stream(http, url)
    line = one(tmp_path)
    assert line["content"]["completion"] == [
        {
            "role": "assistant",
            "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        }
    ]
    assert line["output"]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_filtered_prompt_has_no_output_and_the_line_says_why(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with serve(backend, config="audit: {}\n") as url:
        await post(http, url, asks(HARM))
        await post(http, url, asks(OUTAGE))
    blocked, undecided = read(tmp_path)
    assert (blocked["decision"], blocked["output"]) == ("block", None)
    assert gaps(blocked) == [("output", "stage", "output", "prompt_blocked")]
    assert (undecided["decision"], undecided["input"]["error"], undecided["output"]) == ("error", "timeout", None)
    assert ("input", "classifier", "embedded", "timeout") in gaps(undecided)
    assert gaps(undecided)[-1] == ("output", "stage", "output", "prompt_undecided")


async def test_a_prompt_that_nobody_can_read_is_told_as_an_error(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with serve(backend, config=FULL) as url:
        status, _ = await post(http, url, {"prompt": [1, 2]}, path="/v1/completions")
        assert status == 400
    line = one(tmp_path)
    assert (line["decision"], line["input"]["error"]) == ("error", "unsupported_content")
    assert gaps(line) == [("output", "stage", "output", "prompt_undecided")]
    assert line["content"]["request"] == {"prompt": [1, 2]}


async def test_a_deployment_that_opted_out_is_told_as_not_evaluated(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json(whole(HARM))
    async with serve(backend, config=f"{DEPLOYMENTS}{FULL}", flags={}) as url:
        await post(http, url, {**asks(HARM), "model": "raw"})
    line = one(tmp_path)
    assert (line["policy"], line["classifiers"], line["decision"]) == ("off", [], "allow")
    assert (line["input"], line["output"], line["content"]["completion"]) == (None, None, None)
    assert gaps(line) == [("input", "stage", "input", "policy_off"), ("output", "stage", "output", "policy_off")]


async def test_a_backend_that_fails_is_told_beside_the_prompts_decision(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with serve(backend, config="audit: {}\n") as url:
        backend.answer = Answer.json({"error": {"message": HARM, "code": "my_own_code"}}, 500)
        await post(http, url, asks())
        backend.answer = Answer([*Answer.stream(*words("Hi")[:-1], done=False).pieces], abort=True)
        await post(http, url, asks(stream=True))
    refused, broken = read(tmp_path)
    assert (refused["decision"], refused["output"]) == ("allow", None)
    assert gaps(refused) == [("output", "stage", "output", "backend_failed")]
    assert broken["output"]["choices"][0]["finish_reason"] == "error"
    assert gaps(broken) == [("output", "stage", "output", "backend_disconnected")]


async def test_a_client_that_leaves_is_told_with_what_was_decided_until_then(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    never = asyncio.Event()
    pieces = Answer.stream(*words(SAFE)[:-1], done=False).pieces
    backend.answer = Answer([*pieces, never])
    async with serve(backend, config="audit: {}\n") as url:
        response = await http.post(url + CHAT, json=asks(stream=True))
        await response.content.readany()
        response.close()
        await backend.left.wait()
    line = one(tmp_path)
    assert ("output", "stage", "output", "client_left") in gaps(line)
    assert (line["decision"], line["output"]["choices"][0]["finish_reason"]) == ("allow", None)


async def test_embeddings_are_told_too(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json({"object": "list", "data": [{"embedding": [0.5], "index": 0}], "model": "m"})
    async with serve(backend, config="audit: {}\n") as url:
        await post(http, url, {"input": "hello", "model": "m"}, path="/v1/embeddings")
        await post(http, url, {"input": HARM, "model": "m"}, path="/v1/embeddings")
    passed, blocked = read(tmp_path)
    assert [(line["dialect"], line["decision"]) for line in (passed, blocked)] == [
        ("embeddings", "allow"),
        ("embeddings", "block"),
    ]
    assert passed["output"]["choices"][0]["decision"] == "allow"
    assert passed["not_evaluated"] == []
    assert blocked["output"] is None


async def test_a_reply_in_one_piece_to_a_request_for_a_stream_is_told(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with serve(backend, config=FULL) as url:
        await stream(http, url)
    line = one(tmp_path)
    assert line["content"]["completion"] == [{"role": "assistant", "content": "Hi"}]
    assert line["output"]["choices"][0]["finish_reason"] == "stop"


async def test_a_classifier_that_failed_on_a_completion_is_told(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {on_error: allow}\noutput: {on_error: allow}\n"
    backend.answer = Answer.stream(*words(OUTAGE))
    async with serve(backend, config="audit: {}\n", policy=policy) as url:
        await stream(http, url)
    line = one(tmp_path)
    assert (line["decision"], line["output"]["choices"][0]["error"]) == ("allow", "timeout")
    assert ("output", "classifier", "embedded", "timeout") in gaps(line)


async def test_texts_that_the_policy_leaves_out_are_told(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {roles: [user]}\noutput: {}\n"
    backend.answer = Answer.json(whole("Hi"))
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    async with serve(backend, config="audit: {}\n", policy=policy) as url:
        await post(http, url, {"model": "m", "messages": messages})
    assert gaps(one(tmp_path)) == [("input", "field", "messages[0].content", "role")]


# -------------------------------------------------------------------------------------------------------------- content

SECRETS = ("zebra", "quokka", "walrus", "ocelot", "narwhal", "lemur")


@pytest.mark.parametrize("content", ["none", "hash"])
async def test_no_word_of_a_prompt_or_completion_is_in_the_file(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path, content: str
) -> None:
    """Wherever it stands: in texts, in names of fields that the client or the backend made up, in errors."""
    policy = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {roles: [user]}\noutput: {}\n"
    body = {
        "messages": [
            {"role": "system", "content": "zebra", "walrus": "ocelot"},
            {"role": "user", "content": f"quokka {'{}'}", "walrus": "ocelot"},
            {"role": "lemur", "content": "narwhal"},
        ],
        "walrus": {"ocelot": "narwhal"},
        "tools": [{"type": "function", "function": {"name": "lemur"}}],
        "metadata": {"zebra.quokka": "walrus"},
        "model": "lemur",
    }
    async with serve(backend, config=f"audit: {{content: {content}}}\n", policy=policy) as url:
        backend.answer = Answer.stream(*words("zebra quokka")[:-1], event({"walrus": "ocelot"}, "lemur", zebra="narwhal"))
        await post(http, url, {**body, "stream": True})
        backend.answer = Answer.json(whole(f"zebra {HARM}", walrus="ocelot"))
        await post(http, url, body)
        await post(http, url, {**body, "messages": [{"role": "user", "content": f"{HARM} lemur"}]})
        await post(http, url, {**body, "messages": [{"role": "user", "content": f"{OUTAGE} lemur"}]})
        backend.answer = Answer.json({"error": {"message": "zebra", "code": "quokka", "type": "walrus"}}, 400)
        await post(http, url, body)
        await post(http, url, {"input": "narwhal", "walrus": "ocelot"}, path="/v1/embeddings")
    written = (tmp_path / "audit.jsonl").read_text()
    assert len(written.splitlines()) == 6
    assert [word for word in (*SECRETS, HARM, OUTAGE) if word in written] == []
    assert ('"content"' in written) == (content == "hash")


async def test_a_hash_is_that_of_the_text_and_with_a_secret_that_of_both(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.stream(*words("Hi there"))
    async with serve(backend, config="audit: {}\n") as url:
        await post(http, url, asks("hello", stream=True))
    async with serve(backend, config="audit: {secret: 'sixteen letters!'}\n") as url:
        await post(http, url, asks("hello", stream=True))
    plain, keyed = (line["content"] for line in read(tmp_path))
    digest = hashlib.sha256(b"hello").hexdigest()
    assert plain["request"] == [{"field": "messages[0].content", "role": "user", "characters": 5, "sha256": digest}]
    assert plain["completion"] == [{"content": {"characters": 8, "sha256": hashlib.sha256(b"Hi there").hexdigest()}}]
    assert keyed["request"][0]["hmac_sha256"] == hmac_of("hello")
    assert keyed["completion"][0]["content"]["hmac_sha256"] == hmac_of("Hi there")


def hmac_of(text: str) -> str:
    return hmac.new(b"sixteen letters!", text.encode(), "sha256").hexdigest()


async def test_masked_texts_lack_what_was_found_and_what_tells_who_somebody_is(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    backend.answer = Answer.json(whole(f"Call 555-0199, then {HARM}."))
    async with serve(backend, config="audit: {content: redacted}\n") as url:
        await post(http, url, asks("I am jo@example.org, born 1990"))
    content = one(tmp_path)["content"]
    assert content["request"]["messages"] == [{"role": "user", "content": "I am [email] born [number]"}]
    assert content["completion"] == [{"role": "assistant", "content": "Call [number]-[number], then [violence]."}]


# -------------------------------------------------------------------------------------------------------- documentation


def paths(value: object, prefix: str = "") -> set[str]:
    """Every field of a line as the documentation writes it."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, inner in value.items():
            found |= {prefix + key} | paths(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for inner in value:
            found |= paths(inner, f"{prefix[:-1]}[].")
    return found


async def test_the_documentation_has_every_field_and_no_other(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """But for what stands under the names of categories, lists and fields, which are told where they come from."""
    documented = set(
        re.findall(r"^\| `([^`]+)` \|", PAGE.read_text().partition("## The line")[2].partition("\n## ")[0], re.MULTILINE)
    )
    backend.answer = Answer.json(whole("Hi"))
    config = f"{DEPLOYMENTS.replace('policy: test}', 'policy: test, shadow: strict}')}{FULL}"
    async with serve(backend, config=config, flags={}) as url:
        await post(http, url, asks("hello"))
        await post(http, url, asks(OUTAGE))
    written = set().union(*map(paths, read(tmp_path)))
    inner = re.compile(
        r"(.*\.?(categories|blocklists)\..*)|(content\.(request|completion)(\[\])?\..*)|shadow\.(input|output)\..*"
    )
    assert {name for name in written if inner.fullmatch(name) is None} == documented
