"""Every shipped policy does what its cases say: run through the engine that serves traffic, streamed and whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.codec import StreamCodec, StreamOptions
from safety_proxy.documents import read
from safety_proxy.engine import Engine
from safety_proxy.errors import RequestError
from safety_proxy.events import Closed, Finish, Item
from safety_proxy.jsontext import write
from safety_proxy.model import Action, Annotation, Category, Decision
from safety_proxy.policy import Policy
from safety_proxy.policy_file import load, shipped
from safety_proxy.relay import Collector, once
from safety_proxy.sse import ServerSentEvent
from safety_proxy.testing import ScriptedClassifier

CASES = Path(__file__).parent.parent / "policies" / "cases"
NAMES = {Action.ALLOW: "allow", Action.FILTER: "filter", Action.FAIL: "error"}
CHAT = ChatCompletions()


@dataclass(frozen=True)
class Case:
    policy: str
    content: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.policy}: {self.content['name']}"


def read_cases() -> Iterator[Case]:
    for path in sorted(CASES.glob("*.yaml")):
        document: dict[str, Any] = dict(read(path).content)
        for content in document["cases"]:
            yield Case(document["policy"], content)


EVERY = list(read_cases())


@cache
def policy_called(name: str) -> Policy:
    return load(read(shipped()[name]))


def classifier(case: Case) -> ScriptedClassifier:
    severities, detections, errors = {}, {}, {}
    for phrase, finding in case.content.get("verdicts", {}).items():
        if finding == "error":
            errors[phrase] = "timeout"
            continue
        for name, found in finding.items():
            if found is True:
                detections[phrase] = Category(name)
            else:
                severities[phrase] = (Category(name), found)
    return ScriptedClassifier(severities, detections=detections, errors=errors)


def engine(case: Case) -> Engine:
    policy = policy_called(case.policy)
    return Engine([policy], dict.fromkeys(policy.classifiers, classifier(case)))


async def prompt_decision(case: Case) -> Decision | str:
    asked = CHAT.read_request({"messages": case.content["messages"]})
    try:
        return (await engine(case).moderate_prompt(asked.prompt)).decision
    except RequestError as error:
        return str(error.code)


async def streamed_decision(case: Case, size: int) -> str:
    codec, text = StreamCodec(CHAT, StreamOptions()), case.content["completion"]
    deltas = [{"content": text[i : i + size]} for i in range(0, len(text), size)]
    events: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    items: list[Item] = [item for event in events for item in codec.decode(ServerSentEvent(write(event)))]
    sink = Collector()
    await engine(case).moderate_stream(once([*items, Closed(complete=True)]), sink, choices=1)
    return ended(sink.effects)


async def whole_decision(case: Case) -> str:
    choice: Any = {
        "index": 0,
        "message": {"role": "assistant", "content": case.content["completion"]},
        "finish_reason": "stop",
    }
    effects = await engine(case).moderate_answer(CHAT.read_answer({"choices": [choice]}), choices=1)
    return ended(effects)


def ended(effects: list[Any]) -> str:
    return next((NAMES[effect.decision.action] for effect in effects if isinstance(effect, Finish)), "allow")


def test_every_shipped_policy_has_cases() -> None:
    assert set(shipped()) == {case.policy for case in EVERY}


@pytest.mark.parametrize("case", EVERY, ids=str)
async def test_case(case: Case) -> None:
    expected = case.content["expect"]
    decision = await prompt_decision(case)
    assert expected["input"] == (decision if isinstance(decision, str) else NAMES[decision.action])
    for name, told in case.content.get("annotations", {}).items():
        assert isinstance(decision, Decision)
        annotation = Annotation(told["filtered"], told.get("severity"), told.get("detected"))
        assert decision.annotations[Category(name)] == annotation
    if "completion" in case.content:
        for size in (1, 7, 1000):
            assert expected["output"] == await streamed_decision(case, size)
        assert expected["output"] == await whole_decision(case)
