"""An evaluation decides as the proxy does on the same request, and leaves nothing out that it does not tell of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.evaluation import read_evaluation
from safety_proxy.documents import parse
from safety_proxy.engine import Engine
from safety_proxy.events import Finish
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Action
from safety_proxy.policy import strictest
from safety_proxy.policy_file import load
from safety_proxy.server.evaluation import evaluate
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier
from tests.server.conftest import HARM, OUTAGE, Serve, scripted
from tests.server.wire import Event, post, whole

EVALUATE = "/v1/policy/evaluate"
HEAD = "version: 1\nname: test\nclassifiers: [embedded]\n"


async def ask(http: aiohttp.ClientSession, url: str, body: object) -> Event:
    status, answer = await post(http, url, body, EVALUATE)
    assert status == 200, answer
    told: Event = json.loads(answer)
    return told


WORDS = st.lists(st.sampled_from([HARM, OUTAGE, HARM[:8], HARM[8:], "fine words, ", "x" * 70, "\n", ""]), max_size=8)
TEXTS = WORDS.map("".join)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(st.builds(lambda role, text: {"role": role, "content": text}, ROLES, TEXTS), min_size=1, max_size=4)
CHOICES = st.lists(TEXTS, min_size=1, max_size=3)
POLICIES = st.sampled_from(
    [
        "",
        "input: {roles: [user], history: annotate}\noutput: {on_error: allow}\n",
        "input: {on_error: allow}\noutput: {stream: {mode: whole}}\n",
        "output: {stream: {mode: asynchronous, first_window: 10, window: 7, context: 60}}\n",
    ]
)


async def by_the_engine(engine: Engine, messages: JSON, completion: Sequence[str]) -> tuple[Action, list[Action]]:
    """What the proxy makes of the same request, and of an answer with all these choices."""
    dialect = ChatCompletions()
    prompt = dialect.read_request({"messages": messages, "n": len(completion)}).prompt
    items = dialect.read_answer(json.loads(json.dumps(whole(*completion))))
    effects = await engine.moderate_answer(items, choices=len(completion), background=engine.background(prompt, "team"))
    ended = {effect.choice: effect.decision.action for effect in effects if isinstance(effect, Finish)}
    decided = await engine.moderate_prompt(prompt, "team")
    return decided.decision.action, [ended.get(i, Action.ALLOW) for i in range(len(completion))]


@given(MESSAGES, CHOICES, POLICIES)
def test_an_evaluation_decides_as_the_proxy_does(messages: list[JSON], completion: list[JSON], rest: str) -> None:
    policy = load(parse(f"{HEAD}{rest}", "policy.yaml"))
    engine = Engine([policy], {"embedded": scripted()})
    asked = read_evaluation({"messages": messages, "completion": completion})

    async def decide() -> None:
        evaluated = await evaluate(engine, asked, "team")
        prompt, choices = await by_the_engine(engine, messages, [str(each) for each in completion])
        assert evaluated.input is not None
        assert evaluated.output is not None
        assert evaluated.input.decision.action is prompt
        assert [choice.decision.action for choice in evaluated.output.choices] == choices
        assert evaluated.decision.action is strictest([evaluated.input.decision, evaluated.output.decision]).action

    asyncio.run(decide())


@given(TEXTS)
def test_where_nothing_ends_a_choice_all_of_its_text_was_judged(text: str) -> None:
    engine = Engine([load(parse(f"{HEAD}output: {{on_error: allow}}\n", "policy.yaml"))], {"embedded": ScriptedClassifier()})

    async def judge() -> None:
        evaluated = await evaluate(engine, read_evaluation({"completion": text}))
        assert evaluated.output is not None
        gaps = map(as_object, evaluated.output.missed(engine.policies))
        assert [gap for gap in gaps if gap["what"] == "field"] == []

    asyncio.run(judge())


@pytest.mark.parametrize("said", ["fine", f"a {HARM} b", OUTAGE])
async def test_beside_a_proxy_both_decide_alike(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, said: str
) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": said}]
    hello: list[Event] = [{"role": "user", "content": "Hi"}]
    backend.answer = Answer.json(whole(said))
    async with serve(backend) as url:
        prompt = await ask(http, url, {"messages": messages})
        completion = await ask(http, url, {"messages": hello, "completion": said})
        async with http.post(url + "/v1/chat/completions", json={"messages": messages}) as response:
            assert response.headers["x-safety-proxy-decision"] == prompt["decision"]
        asked = len(backend.requests)
        async with http.post(url + "/v1/chat/completions", json={"messages": hello}) as response:
            (choice,) = (await response.json())["choices"]

    reason = completion["stages"]["output"]["choices"][0]["finish_reason"]
    assert (choice["finish_reason"], reason) in {
        ("stop", None),
        ("content_filter", "content_filter"),
        ("content_filter_error", "content_filter_error"),
    }
    assert asked == (1 if prompt["decision"] == "allow" else 0)


async def test_a_choice_without_text_is_allowed() -> None:
    engine = Engine([load(parse(HEAD, "policy.yaml"))], {"embedded": scripted()})
    evaluated = await evaluate(engine, read_evaluation({"completion": ["", {"role": "assistant", "content": None}]}))

    assert evaluated.output is not None
    assert [choice.decision.action for choice in evaluated.output.choices] == [Action.ALLOW] * 2
