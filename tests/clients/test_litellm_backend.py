"""LiteLLM's proxy as a backend: a server that is not ours, which streams real chunks without a model."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from safety_proxy.testing import FakeBackend
from tests.clients.litellm_environment import BIN, MISSING, PYTHON, VARIABLES
from tests.clients.situations import BEFORE_HARM
from tests.server.conftest import HARM, Serve
from tests.server.wire import CHAT, SAFE, Event, content, finishes, plain, received

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # it takes its time to start

CONFIG = """
backends: {litellm: {url: BACKEND, key: "${LITELLM}"}}
deployments: {all: {backend: litellm, policy: test}}
default_deployment: all
"""


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    key: str


@pytest.fixture(name="litellm", scope="module")
def _litellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    assert PYTHON.exists(), MISSING
    says = {"moon": SAFE, "villain": BEFORE_HARM + HARM + SAFE}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "k", "mock_response": text}}
        for name, text in says.items()
    ]
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    config.write_text(json.dumps({"model_list": models}))
    key = f"sk-{secrets.token_hex(32)}"
    where = ["--host", "127.0.0.1", "--port", "0"]
    command = [str(BIN / "litellm"), "--config", str(config), *where, "--telemetry", "False"]
    with subprocess.Popen(  # noqa: S603 - installed by our own Makefile
        command, env=VARIABLES | {"LITELLM_MASTER_KEY": key}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"Uvicorn running on (http://\S+)", line):
                    yield Server(f"{found[1]}/v1", key)
                    break
            else:
                pytest.fail(f"LiteLLM's proxy did not start:\n{''.join(said)}")
        finally:
            process.terminate()
            process.communicate()


def asks(model: str, **more: object) -> Event:
    return {"model": model, "messages": [{"role": "user", "content": "How far is the Moon?"}], **more}


def alike(event: Event) -> Event:
    """Without what differs from answer to answer."""
    return {key: value for key, value in event.items() if key not in {"id", "created"}}


async def both(serve: Serve, litellm: Server, body: Event) -> tuple[bytes, bytes]:
    """The answer of LiteLLM itself, and the same through the proxy."""
    backend = FakeBackend()
    backend.url = litellm.url
    headers = {"Authorization": f"Bearer {litellm.key}"}
    async with (
        serve(backend, config=CONFIG.replace("${LITELLM}", litellm.key), flags={}) as url,
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(litellm.url + CHAT.removeprefix("/v1"), json=body, headers=headers) as direct,
        http.post(url + CHAT, json=body) as proxied,
    ):
        return await direct.read(), await proxied.read()


async def test_a_stream_arrives_event_for_event_with_its_usage(serve: Serve, litellm: Server) -> None:
    body = asks("moon", stream=True, stream_options={"include_usage": True})
    direct, proxied = await both(serve, litellm, body)

    *events, usage = map(alike, plain(received(proxied)))
    *sent, sent_usage = map(alike, received(direct))
    assert events == sent
    assert content(events) == SAFE
    assert sent_usage["choices"] == [{"index": 0, "delta": {}}], "of a choice that is over, so it is left out"
    assert usage == {**sent_usage, "choices": []}
    assert usage["usage"]["total_tokens"] > 0


async def test_a_whole_answer_arrives_field_for_field(serve: Serve, litellm: Server) -> None:
    direct, proxied = await both(serve, litellm, asks("moon", n=2))

    [answer] = plain([json.loads(proxied)])
    assert alike(answer) == alike(json.loads(direct))
    assert [choice["message"]["content"] for choice in answer["choices"]] == [SAFE, SAFE]


@pytest.mark.parametrize("n", [1, 2])
async def test_a_harmful_stream_is_cut_in_every_choice(serve: Serve, litellm: Server, n: int) -> None:
    direct, proxied = await both(serve, litellm, asks("villain", stream=True, n=n))

    assert HARM in content(received(direct))
    events = received(proxied)
    assert finishes(events) == {index: ["content_filter"] for index in range(n)}
    for index in range(n):
        assert content(events, index)
        assert BEFORE_HARM.startswith(content(events, index))


async def test_a_harmful_answer_is_withheld(serve: Serve, litellm: Server) -> None:
    _, proxied = await both(serve, litellm, asks("villain"))

    [choice] = json.loads(proxied)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "content_filter")


async def test_a_choice_that_the_backend_never_ends_does_not_end_in_stop(serve: Serve, litellm: Server) -> None:
    """Of two mocked choices LiteLLM ends only the first; what the other said is shown."""
    direct, proxied = await both(serve, litellm, asks("moon", stream=True, n=2))

    assert finishes(received(direct)) == {0: ["stop"]}
    events = received(proxied)
    assert finishes(events) == {0: ["stop"], 1: ["error"]}
    assert [content(events, index) for index in (0, 1)] == [SAFE, SAFE]
