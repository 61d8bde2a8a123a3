"""A stream that decides otherwise than the whole, or shows what was found, is told: an engine that leaks is found out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from safety_proxy.documents import parse
from safety_proxy.engine import Engine
from safety_proxy.events import Closed, Finish, Item, Release
from safety_proxy.harness.cases import Case, case_of
from safety_proxy.harness.runner import Runner
from safety_proxy.model import JSON, Action, Category, Decision
from safety_proxy.policy_file import load
from safety_proxy.relay import Sink
from safety_proxy.testing import ScriptedClassifier

POLICY = "version: 1\nname: p\nclassifiers: [embedded]\ninput: {}\noutput: {}\n"
BAD = {"something bad": (Category.HATE, 6)}
SAID = "word " * 60 + "something bad " + "word " * 60


def case(completion: JSON = SAID) -> Case:
    return case_of({"completion": completion, "expect": {"output": "filter"}}, "cases.jsonl", 1)


async def faults(monkeypatch: pytest.MonkeyPatch, stream: object, completion: JSON = SAID) -> tuple[str, ...]:
    """What is found of an engine whose streams are these."""
    monkeypatch.setattr(Engine, "moderate_stream", stream)
    return (await Runner(load(parse(POLICY, "p.yaml")), {"embedded": ScriptedClassifier(BAD)}).run(case(completion))).faults


async def _all(source: AsyncGenerator[Sequence[Item], None]) -> list[Item]:
    return [item async for items in source for item in items if not isinstance(item, Closed)]


async def test_an_engine_that_keeps_the_law_has_no_faults() -> None:
    policy = load(parse(POLICY, "p.yaml"))
    completions: list[JSON] = [SAID, [SAID, "fine " * 100], {"content": None, "reasoning_content": SAID}, "something bad"]
    for completion in completions:
        under_test = Runner(policy, {"embedded": ScriptedClassifier(BAD)}, cuttings=9)
        assert (await under_test.run(case(completion))).faults == ()


async def test_an_engine_that_lets_everything_pass_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def passes(_self: Engine, source: AsyncGenerator[Sequence[Item], None], sink: Sink, **_options: object) -> None:
        await sink.write([Release(item) for item in await _all(source) if not isinstance(item, Closed)])

    told = await faults(monkeypatch, passes)

    assert len(told) == 15
    assert told[0] == "output: cut into characters: ended in stop, judged as a whole in content_filter"
    assert told[1].startswith("output: cut into characters: ")
    assert "were shown that no window let pass" in told[1]
    assert (
        told[2]
        == f"output: cut into characters: {len(SAID) - 300} characters of content were shown from where something was found"
    )


async def test_an_engine_that_shows_a_part_of_what_it_found_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(_self: Engine, source: AsyncGenerator[Sequence[Item], None], sink: Sink, **_options: object) -> None:
        released, shown = 0, []
        for item in await _all(source):
            length = sum(len(segment.text) for segment in getattr(item, "segments", ()))
            if not isinstance(item, Closed) and released + length <= 305:
                released += length
                shown.append(Release(item))
        await sink.write([*shown, Finish(0, Decision(Action.FILTER))])

    told = await faults(monkeypatch, late)

    assert "output: cut into characters: 5 characters of content were shown from where something was found" in told
    assert not any("ended in" in each for each in told)


async def test_a_policy_that_opted_out_of_the_law_is_held_to_its_decisions_alone() -> None:
    policy = load(parse(POLICY.replace("output: {}", "output: {stream: {mode: asynchronous}}"), "p.yaml"))

    assert (await Runner(policy, {"embedded": ScriptedClassifier(BAD)}).run(case())).faults == ()
