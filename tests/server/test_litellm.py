"""LiteLLM's generic guardrail API, over sockets: prompts and completions pass or are blocked, never by an error."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import pytest

from safety_proxy.model import Query, Verdict
from safety_proxy.server.litellm import PATH
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.pictures import data_url, png
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import Event, post

ALONE: Final = {"filter_only": "true", "policy": "test"}
BLOCKED: Final = "BLOCKED"


def policy(*, input: str = "{}", output: str = "{}", name: str = "test") -> str:  # noqa: A002 - the side's name
    return f"version: 1\nname: {name}\nclassifiers: [embedded]\ninput: {input}\noutput: {output}\n"


CONFIG: Final = 'service: {policy: test, store: "sqlite://"}\n'


def keys(**policies: str | None) -> str:
    """Keys by name, which is also what is presented, each with its policy."""
    lines = [
        f"- {{name: {name}, sha256: {hashlib.sha256(name.encode()).hexdigest()}{f', policy: {held}' if held else ''}}}"
        for name, held in policies.items()
    ]
    return "keys:\n" + "\n".join(lines) + "\n"


class Guarded:
    """A service, and the questions of LiteLLM's proxy."""

    def __init__(self, serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
        self._serve, self._backend, self._http = serve, backend, http
        self.headers: dict[str, str] = {}

    async def post(
        self, body: object, *, config: str = CONFIG, key: str = "", **options: object
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer; its head is left in `headers`."""
        presented = {"x-api-key": key} if key else {}
        async with (
            self._serve(self._backend, config=config, flags=ALONE, **options) as url,
            self._http.post(url + PATH, json=body, headers=presented) as response,
        ):
            self.headers = dict(response.headers)
            return response.status, await response.json()

    async def prompt(self, *texts: str, more: Event | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        """The answer on a user's message for each text."""
        messages = [{"role": "user", "content": text} for text in texts]
        return await self._judged({"input_type": "request", "structured_messages": messages, "texts": texts}, more, options)

    async def completion(self, *texts: str, more: Event | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        """The answer on what a model said."""
        return await self._judged({"input_type": "response", "texts": texts}, more, options)

    async def _judged(self, body: Event, more: Event | None, options: dict[str, Any]) -> dict[str, Any]:
        status, answer = await self.post({**body, **(more or {})}, **options)
        assert status == 200, answer
        return answer


@pytest.fixture(name="guarded")
def _guarded(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> Guarded:
    return Guarded(serve, backend, http)


# ------------------------------------------------------------------------------------------------------- decisions


async def test_what_is_harmless_passes(guarded: Guarded) -> None:
    assert await guarded.prompt("hello") == {"action": "NONE"}
    assert guarded.headers["x-safety-proxy-decision"] == "allow"
    assert guarded.headers["x-safety-proxy-policy"].startswith("test@")

    assert (await guarded.completion("hello"))["action"] == "NONE"


async def test_a_harmful_prompt_is_blocked_and_the_reason_is_no_text_of_it(guarded: Guarded) -> None:
    told = {"action": BLOCKED, "blocked_reason": "the prompt was filtered: violence (high)"}

    assert await guarded.prompt(f"tell me how to {HARM}") == told
    assert guarded.headers["x-safety-proxy-decision"] == "block"


async def test_a_phrase_that_is_cut_by_the_border_of_two_messages_is_seen(guarded: Guarded) -> None:
    assert (await guarded.prompt(HARM[:9], HARM[9:]))["action"] == BLOCKED


async def test_a_harmful_completion_is_blocked_though_its_parts_are_harmless(guarded: Guarded) -> None:
    assert (await guarded.completion(HARM))["blocked_reason"] == "the completion was filtered: violence (high)"
    assert (await guarded.completion("hello", HARM))["action"] == BLOCKED
    assert (await guarded.completion(HARM[:9], HARM[9:]))["action"] == BLOCKED


@pytest.mark.parametrize("arguments", [json.dumps({"text": HARM}), json.dumps({"text": HARM}).replace("k", "\\u006b")])
async def test_a_harmful_tool_call_is_blocked(guarded: Guarded, arguments: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "say", "arguments": arguments}}

    assert (await guarded.completion(more={"tool_calls": [call]}))["action"] == BLOCKED
    assert (await guarded.prompt("hello", more={"tool_calls": [call]}))["action"] == BLOCKED


async def test_input_and_output_rules_are_told_apart(guarded: Guarded) -> None:
    lenient = policy(output="{violence: {block_at: never}}")

    assert (await guarded.prompt(HARM, policy=lenient))["action"] == BLOCKED
    assert (await guarded.completion(HARM, policy=lenient))["action"] == "NONE"


async def test_roles_decide_which_rules_hold(guarded: Guarded) -> None:
    messages = [{"role": "system", "content": HARM}, {"role": "user", "content": "hello"}]
    more = {"structured_messages": messages, "texts": [HARM, "hello"]}

    assert (await guarded.prompt(more=more))["action"] == BLOCKED
    assert (await guarded.prompt(more=more, policy=policy(input="{roles: [user]}")))["action"] == "NONE"


# ------------------------------------------------------------------------------------------------------- no verdict


async def test_what_could_not_be_judged_is_blocked_with_status_200(guarded: Guarded) -> None:
    """LiteLLM may be told to forgive failures of a guardrail, and 503 is one."""
    told = "could not be judged (timeout), and the policy does not let it pass unjudged"

    assert await guarded.prompt(OUTAGE) == {"action": BLOCKED, "blocked_reason": f"the prompt {told}"}
    assert guarded.headers["x-safety-proxy-decision"] == "error"
    assert (await guarded.completion(OUTAGE))["blocked_reason"] == f"the completion {told}"


async def test_what_could_not_be_judged_passes_where_the_policy_says_so(guarded: Guarded) -> None:
    lenient = policy(input="{on_error: allow}", output="{on_error: allow}")

    assert (await guarded.prompt(OUTAGE, policy=lenient))["action"] == "NONE"
    assert (await guarded.completion(OUTAGE, policy=lenient))["action"] == "NONE"


@pytest.mark.parametrize("images", [["https://example.org/cat.png"], [data_url(png())], ["no address"]])
async def test_an_image_that_nobody_reads_is_blocked_unless_the_policy_lets_it_pass(
    guarded: Guarded, images: list[str]
) -> None:
    lenient = policy(input="{unreadable: allow}")

    refused = await guarded.prompt("hello", more={"images": images})
    assert refused["action"] == BLOCKED
    assert refused["blocked_reason"] == "'images[0]' holds content that no configured classifier can read"
    assert (await guarded.prompt("hello", more={"images": images}, policy=lenient))["action"] == "NONE"


async def test_an_image_is_judged_by_a_classifier_that_reads_images(guarded: Guarded) -> None:
    harmful, harmless = (data_url(png(shows)) for shows in (HARM, "a cat"))

    for image, action in ((harmful, BLOCKED), (harmless, "NONE")):
        answer = await guarded.prompt("hello", more={"images": [image]}, classifier=scripted(reads_images=True))
        assert answer["action"] == action


async def test_messages_that_make_no_sense_are_blocked(guarded: Guarded) -> None:
    assert (await guarded.prompt("hello", more={"structured_messages": [{"role": 7}]}))["action"] == BLOCKED


async def test_a_prompt_that_is_too_long_to_be_judged_is_blocked(guarded: Guarded) -> None:
    answer = await guarded.prompt("one", "two", config=f"{CONFIG}limits: {{judgements: 1}}\n")

    assert answer == {"action": BLOCKED, "blocked_reason": "the prompt is too long to be judged"}


async def test_a_question_too_many_is_blocked(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    body = {"input_type": "request", "texts": ["hello"]}
    slow = Signalling(gate)
    async with serve(backend, config=f"{CONFIG}limits: {{requests: 1}}\n", flags=ALONE, classifier=slow) as url:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(post(http, url, body, PATH))
            await slow.busy.wait()
            status, refused = await post(http, url, body, PATH)
            gate.set()

    assert (status, json.loads(refused)["action"]) == (200, BLOCKED)
    assert json.loads(first.result()[1]) == {"action": "NONE"}


class Signalling(ScriptedClassifier):
    """Says that it was asked for a text, and waits."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__(gate=gate)
        self.busy = asyncio.Event()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any(query.text == "hello" for query in queries):
            self.busy.set()
        return await super().classify(queries)


# ------------------------------------------------------------------------------------------------------- policies and keys


def named(name: str) -> Event:
    return {"additional_provider_specific_params": {"policy": name}}


async def test_a_policy_may_be_named(guarded: Guarded) -> None:
    assert (await guarded.prompt(HARM, more=named("annotate-only")))["action"] == "NONE"
    assert guarded.headers["x-safety-proxy-policy"].startswith("annotate-only@")
    assert (await guarded.completion(HARM, more=named("annotate-only")))["action"] == "NONE"


async def test_a_policy_that_is_none_is_an_error(guarded: Guarded) -> None:
    status, answer = await guarded.post({"input_type": "request", "texts": ["hello"], **named("none")})

    assert (status, answer["error"]["code"]) == (404, "policy_not_found")
    assert answer["error"]["param"] == "additional_provider_specific_params.policy"


async def test_a_key_stands_in_x_api_key_and_brings_its_policy(guarded: Guarded) -> None:
    config = CONFIG + keys(free="annotate-only", plain=None)

    assert (await guarded.prompt(HARM, config=config, key="free"))["action"] == "NONE"
    assert (await guarded.prompt(HARM, config=config, key="plain"))["action"] == BLOCKED
    status, answer = await guarded.post({"input_type": "request", "texts": ["hello"]}, config=config, key="none")
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_a_policy_that_is_named_cannot_loosen_that_of_the_key(guarded: Guarded) -> None:
    config = CONFIG + keys(held="test", free="annotate-only", plain=None)

    assert (await guarded.prompt(HARM, config=config, key="held", more=named("annotate-only")))["action"] == BLOCKED
    assert guarded.headers["x-safety-proxy-policy"].startswith("annotate-only@")
    assert "+test@" in guarded.headers["x-safety-proxy-policy"]
    assert (await guarded.prompt(HARM, config=config, key="free", more=named("test")))["action"] == BLOCKED
    assert (await guarded.prompt(HARM, config=config, key="plain", more=named("annotate-only")))["action"] == "NONE"


async def test_keys_share_no_verdicts(guarded: Guarded) -> None:
    classifier = scripted()
    await guarded.completion("hello", config=CONFIG + keys(one=None), key="one", classifier=classifier)

    assert {query.tenant for query in classifier.asked if query.text == "hello"} == {"one"}


# ------------------------------------------------------------------------------------------------------- streams


async def test_a_completion_is_answered_with_what_a_stream_has_to_hold_back(guarded: Guarded) -> None:
    text = "The Moon is far away. " * 9
    rules = "{{stream: {{mode: {mode}, holdback: 70, context: 90}}}}"

    buffered = await guarded.completion(text, "short", policy=policy(output=rules.format(mode="buffered")))
    assert buffered["stream_holdback_chars"] == [70, 5]
    whole = await guarded.completion(text, "short", policy=policy(output=rules.format(mode="whole")))
    assert whole["stream_holdback_chars"] == [len(text), 5]
    assert "stream_holdback_chars" not in await guarded.prompt(text)


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("body", "field"),
    [([], None), ({"texts": ["hello"]}, "input_type"), ({"input_type": "request"}, "texts")],
)
async def test_a_malformed_question_is_400(guarded: Guarded, body: object, field: str | None) -> None:
    status, answer = await guarded.post(body)

    assert (status, answer["error"]["param"]) == (400, field)
    assert answer["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_no_json_is_400(serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    async with serve(backend, config=CONFIG, flags=ALONE) as url, http.post(url + PATH, data=b"{") as response:
        assert response.status == 400


async def test_no_backend_is_asked(guarded: Guarded, backend: FakeBackend) -> None:
    await guarded.prompt("hello")
    await guarded.completion("hello")

    assert backend.requests == []
