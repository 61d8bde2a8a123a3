"""LiteLLM's proxy with the filtering service as its guardrail, configured as docs/gateways.md says."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import load_settings
from safety_proxy.testing import Answer, FakeBackend, Request
from tests.clients.litellm_server import Server, litellm_proxy
from tests.clients.situations import BEFORE_HARM, MUMBLE, SAYS, THREATEN, TRANSLATE, last_message
from tests.server.conftest import HARM, OUTAGE, scripted
from tests.server.wire import CHAT, SAFE, Event, content, event, finishes, received, whole, words

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),  # LiteLLM takes its time to start
    pytest.mark.asyncio(loop_scope="module"),
]

PAGE: Final = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
CALL: Final = "Call the villain."
THINK: Final = "Think like the villain."
KEY: Final = "of-litellm"
POLICY: Final = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {}\n"
CONFIG: Final = f"""
policies: [policy.yaml]
service: {{policy: test, store: "sqlite://"}}
keys: [{{name: litellm, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}]
"""

# ------------------------------------------------------------------------------------------------------- what is driven


def documented() -> tuple[Event, Event]:
    """Parameters of the guardrail as the page has them: those of all of it, and those for streams that flow."""
    guardrails, flowing = re.findall(r"```yaml\n(guardrails:\n.*?|  +streaming_.*?)```", PAGE, re.DOTALL)
    yaml = YAML(typ="safe")
    return yaml.load(guardrails)["guardrails"][0], yaml.load(flowing)


def guardrail(service: str, name: str | None = None, **changed: object) -> Event:
    """The page's, which asks the service at that address; or another one that answers to *name* alone."""
    made = deepcopy(documented()[0])
    made["litellm_params"] |= {"api_base": f"{service}/integrations/litellm", **changed}
    if name is not None:
        made["guardrail_name"] = name
        made["litellm_params"]["default_on"] = False
    return made


def answer(request: Request) -> Answer:
    """The model: what it says depends on the last message. LiteLLM also asks it for what is no chat."""
    if "messages" not in request.body:
        return Answer.json({"object": "list", "data": []})
    asked, n = last_message(request.body), int(str(request.body.get("n") or 1))
    streamed = request.body.get("stream") is True
    if asked in {CALL, THINK}:
        return said_aside(asked, streamed=streamed)
    texts = [*[SAFE] * (n - 1), SAYS.get(asked, SAFE)]
    return (
        Answer.stream(*(e for i, text in enumerate(texts) for e in words(text, i)))
        if streamed
        else Answer.json(whole(*texts))
    )


def said_aside(asked: str, *, streamed: bool) -> Answer:
    """Harm in a tool call, or in the reasoning."""
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "say", "arguments": f'{{"text": "{HARM}"}}'},
    }
    delta: Event = {"tool_calls": [call]} if asked == CALL else {"content": SAFE, "reasoning_content": HARM}
    finish = "tool_calls" if asked == CALL else "stop"
    if streamed:
        return Answer.stream(event({"role": "assistant", **delta}), event({}, finish))
    told = whole(None)
    told["choices"][0] |= {"message": {"role": "assistant", "content": None, **delta}, "finish_reason": finish}
    return Answer.json(told)


@dataclass(frozen=True, slots=True)
class Setup:
    litellm: Server
    model: FakeBackend
    http: aiohttp.ClientSession

    async def ask(self, text: object, **more: object) -> tuple[int, bytes, int]:
        """Status and body of the answer, and how often the model was asked."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
        before = len(self.model.requests)
        headers = {"Authorization": f"Bearer {self.litellm.key}"}
        async with self.http.post(self.litellm.url + CHAT, json=body, headers=headers) as response:
            said = await response.read()
        return response.status, said, sum("messages" in each.body for each in self.model.requests[before:])


@asynccontextmanager
async def set_up(folder: Path, *guardrails: dict[str, Any]) -> AsyncIterator[Setup]:
    """The service, a model, and LiteLLM between them; addresses of guardrails that begin with SERVICE are the service's."""
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "proxy.yaml").write_text(CONFIG)
    settings = load_settings(config=folder / "proxy.yaml", flags={"filter_only": "true"}, environ={})
    model = FakeBackend()
    model.answer = answer
    app = create_app(settings, classifiers={"embedded": scripted()})
    async with running(app) as service, model.running(), aiohttp.ClientSession() as http:
        for each in guardrails:
            each["litellm_params"]["api_base"] = each["litellm_params"]["api_base"].replace("SERVICE", service)
        named = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": model.url, "api_key": "k"}}
        proxy = litellm_proxy({"model_list": [named], "guardrails": guardrails}, folder, SAFETY_PROXY_KEY=KEY)
        litellm = await asyncio.to_thread(proxy.__enter__)
        try:
            yield Setup(litellm, model, http)
        finally:
            await asyncio.to_thread(proxy.__exit__, None, None, None)


@pytest_asyncio.fixture(name="setup", scope="module", loop_scope="module")
async def _setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    """The guardrail as the page has it."""
    async with set_up(tmp_path_factory.mktemp("guarded"), guardrail("SERVICE")) as setup:
        yield setup


@pytest_asyncio.fixture(name="chosen", scope="module", loop_scope="module")
async def _chosen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    """Guardrails that requests choose by name."""
    _, flowing = documented()
    streams: Event = {"streaming_buffer_until_moderated": None}
    nobody = "http://127.0.0.1:1"
    guardrails = [
        guardrail("SERVICE", "flowing", **streams, **flowing),
        guardrail("SERVICE", "sampling", **streams),
        guardrail("SERVICE", "lenient", unreachable_fallback="fail_open", fail_on_error=False),
        guardrail(nobody, "unreachable"),
        guardrail("SERVICE", "misnamed", additional_provider_specific_params={"policy": "none of that name"}),
        guardrail("SERVICE", "permissive", additional_provider_specific_params={"policy": "annotate-only"}),
    ]
    async with set_up(tmp_path_factory.mktemp("chosen"), *guardrails) as setup:
        yield setup


# ------------------------------------------------------------------------------------------------------- as the page has it


@pytest.mark.parametrize("stream", [False, True])
async def test_a_harmless_chat_passes(setup: Setup, stream: bool) -> None:
    status, said, asked = await setup.ask(TRANSLATE, stream=stream)

    assert (status, asked) == (200, 1)
    assert SAFE in (content(received(said)) if stream else said.decode())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("prompt", "reason"), [(HARM, b"violence (high)"), (OUTAGE, b"timeout")])
async def test_a_prompt_that_may_not_pass_is_blocked_and_the_model_not_asked(
    setup: Setup, prompt: str, reason: bytes, stream: bool
) -> None:
    status, said, asked = await setup.ask(prompt, stream=stream)

    assert (status, asked) == (400, 0)
    assert reason in said
    assert prompt.encode() not in said


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", [{}, {"n": 2}], ids=["alone", "beside a harmless choice"])
@pytest.mark.parametrize(("prompt", "reason"), [(THREATEN, b"violence (high)"), (MUMBLE, b"timeout")])
async def test_of_a_completion_that_may_not_pass_nothing_is_shown(
    setup: Setup, prompt: str, reason: bytes, more: dict[str, object], stream: bool
) -> None:
    status, said, asked = await setup.ask(prompt, stream=stream, **more)

    assert (status, asked) == (400, 1)
    assert reason in said
    assert b"Moon" not in said
    assert SAYS[prompt].encode() not in said


@pytest.mark.parametrize("stream", [False, True])
async def test_a_harmful_tool_call_is_blocked(setup: Setup, stream: bool) -> None:
    status, said, _ = await setup.ask(CALL, stream=stream)

    assert status == 400
    assert HARM.encode() not in said


async def test_a_picture_beside_a_text_is_blocked_where_nobody_reads_pictures(setup: Setup) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    status, said, asked = await setup.ask([{"type": "text", "text": "What is this?"}, picture])

    assert (status, asked) == (400, 0)
    assert b"no configured classifier can read" in said


async def test_a_picture_alone_is_not_shown_to_guardrails(setup: Setup) -> None:
    """A limit of LiteLLM's that the page tells of, as the next one: if this fails, the page can say less."""
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}

    assert (await setup.ask([picture]))[::2] == (200, 1)


async def test_reasoning_is_not_shown_to_guardrails(setup: Setup) -> None:
    status, said, _ = await setup.ask(THINK)

    assert status == 200
    assert HARM.encode() in said


# ------------------------------------------------------------------------------------------------------- otherwise


async def test_a_stream_that_flows_shows_only_what_was_judged(chosen: Setup) -> None:
    status, said, _ = await chosen.ask(TRANSLATE, stream=True, guardrails=["flowing"])
    events = received(said)

    assert status == 200
    assert content(events) == SAFE
    assert finishes(events) == {0: ["stop"]}
    assert len(events) > 10


async def test_a_stream_that_flows_ends_before_the_harm(chosen: Setup) -> None:
    """The holdback is kept, so that not even the beginning of the harm is shown."""
    status, said, _ = await chosen.ask(THREATEN, stream=True, guardrails=["flowing"])
    *events, error = (line.removeprefix(b"data: ") for line in said.splitlines() if line.startswith(b"data: "))
    shown = content(YAML(typ="safe").load(each.decode()) for each in events)

    assert status == 200
    assert shown
    assert BEFORE_HARM.startswith(shown)
    assert b"violence (high)" in error
    assert b"finish_reason" not in said


async def test_a_stream_that_flows_shows_nothing_that_could_not_be_judged(chosen: Setup) -> None:
    status, said, _ = await chosen.ask(MUMBLE, stream=True, guardrails=["flowing"])

    assert status == 400
    assert b"timeout" in said


async def test_a_stream_that_flows_shows_tool_calls_unjudged_and_no_reasoning(chosen: Setup) -> None:
    """Why the page recommends this for plain chats alone."""
    _, called, _ = await chosen.ask(CALL, stream=True, guardrails=["flowing"])
    _, thought, _ = await chosen.ask(THINK, stream=True, guardrails=["flowing"])

    assert HARM.encode() in called
    assert content(received(thought)) == SAFE
    assert HARM.encode() not in thought


async def test_without_either_setting_litellm_shows_text_before_it_is_judged(chosen: Setup) -> None:
    """Why the page insists on one of them: if this fails, it need not."""
    _, said, _ = await chosen.ask(MUMBLE, stream=True, guardrails=["sampling"])

    assert b"outa" in said


@pytest.mark.parametrize(("prompt", "asked"), [(OUTAGE, 0), (MUMBLE, 1)])
async def test_what_could_not_be_judged_is_blocked_even_where_litellm_forgives_failures(
    chosen: Setup, prompt: str, asked: int
) -> None:
    assert (await chosen.ask(prompt, guardrails=["lenient"]))[::2] == (400, asked)


@pytest.mark.parametrize("name", ["unreachable", "misnamed"])
async def test_a_guardrail_that_cannot_answer_blocks(chosen: Setup, name: str) -> None:
    status, _, asked = await chosen.ask(TRANSLATE, guardrails=[name])

    assert status >= 400
    assert asked == 0


async def test_a_guardrail_may_name_another_policy(chosen: Setup) -> None:
    assert (await chosen.ask(THREATEN, guardrails=["permissive"]))[0] == 200
