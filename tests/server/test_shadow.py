"""Policies on trial: what is told of them, and that no request ever notices one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from safety_proxy import policy_file
from safety_proxy.documents import parse
from safety_proxy.engine import Engine
from safety_proxy.events import Chunk, Frame, Segment
from safety_proxy.model import Category, Query, Verdict
from safety_proxy.server.app import create_app
from safety_proxy.server.ledger import Ledger
from safety_proxy.server.meters import Meters
from safety_proxy.server.run import running
from safety_proxy.server.shadow import LONGEST, Shadow, Shadows, _pieces
from safety_proxy.settings import load_settings
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier
from tests.server.conftest import HARM, OUTAGE, scripted
from tests.server.wire import CHAT, SAFE, asks, content, finishes, post, received, stream, whole, words

RUDE = "you silly goose"
"""What only the policy on trial takes for something."""
POLICY = "version: 1\nname: {name}\nclassifiers: [{classifier}]\ninput: {{}}\noutput: {{}}\n"
CONFIG = """
policies: [enforced.yaml, trial.yaml]
classifiers: {embedded: {type: embedded}, other: {type: embedded}}
backends: {one: {url: 'BACKEND'}}
deployments: {m: {backend: one, policy: enforced, shadow: trial}}
default_deployment: m
audit: {content: none}
"""

Line = dict[str, Any]


@dataclass
class Trial:
    """A proxy with a policy on trial."""

    url: str
    folder: Path
    http: aiohttp.ClientSession

    def lines(self) -> list[Line]:
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]

    async def counted(self) -> dict[tuple[str, str, str], float]:
        """By stage, what was enforced, and what the shadow would have done."""
        async with self.http.get(f"{self.url}/metrics") as response:
            text = await response.text()
        found = [
            s for f in text_string_to_metric_families(text) for s in f.samples if s.name.endswith("shadow_decisions_total")
        ]
        return {(s.labels["stage"], s.labels["enforced"], s.labels["shadow"]): s.value for s in found}

    async def decided(self, shadows: int) -> list[Line]:
        """The lines, once so many shadows have had their say."""
        while sum(n for (stage, _, _), n in (await self.counted()).items() if stage == "input") < shadows:
            pass
        while len(lines := await asyncio.to_thread(self.lines)) < shadows:  # the thread that writes
            pass
        return lines


Start = Callable[..., AbstractAsyncContextManager[Trial]]


@pytest.fixture(name="start")
def _start(tmp_path: Path, backend: FakeBackend, http: aiohttp.ClientSession) -> Start:
    @asynccontextmanager
    async def start(
        other: ScriptedClassifier | None = None,
        *,
        config: str = CONFIG,
        mine: ScriptedClassifier | None = None,
        enforced: str = POLICY.format(name="enforced", classifier="embedded"),
        trial: str = POLICY.format(name="trial", classifier="other"),
    ) -> AsyncIterator[Trial]:
        (tmp_path / "enforced.yaml").write_text(enforced)
        (tmp_path / "trial.yaml").write_text(trial)
        (tmp_path / "proxy.yaml").write_text(config.replace("BACKEND", backend.url))
        settings = load_settings(config=tmp_path / "proxy.yaml", flags={}, environ={})
        classifiers = {"embedded": mine or scripted(), "other": other or judge()}
        async with running(create_app(settings, classifiers=classifiers)) as url:
            yield Trial(url, tmp_path, http)

    return start


def judge(gate: asyncio.Event | None = None, errors: Mapping[str, str] | None = None) -> ScriptedClassifier:
    return ScriptedClassifier({RUDE: (Category.HATE, 6)}, gate=gate, errors=errors, name="other")


# ------------------------------------------------------------------------------------------------------------- latency


async def test_a_stream_ends_while_its_shadow_still_waits(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    backend.answer = Answer.stream(*words(SAFE))
    async with start(judge(gate)) as proxy:
        events = await stream(http, proxy.url)
        assert (content(events), finishes(events)) == (SAFE, {0: ["stop"]})
        assert (await post(http, proxy.url, asks(HARM)))[0] == 400
        assert await proxy.counted() == {}
        assert proxy.lines() == []
        gate.set()
        await proxy.decided(2)
        assert await proxy.counted() == {
            ("input", "allow", "allow"): 1,
            ("output", "allow", "allow"): 1,
            ("input", "block", "allow"): 1,
        }


async def test_nothing_of_an_answer_depends_on_the_shadow(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(f"{SAFE} {RUDE}"))
    async with start(judge()) as proxy:
        with_shadow = await stream(http, proxy.url)
    async with start(judge(), config=CONFIG.replace(", shadow: trial", "")) as proxy:
        without = await stream(http, proxy.url)
    assert with_shadow == without


# ----------------------------------------------------------------------------------------------------------- decisions


async def test_what_the_shadow_would_have_done_is_told_beside_what_was_done(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    async with start() as proxy:
        backend.answer = Answer.stream(*words(f"{SAFE} {RUDE}"))
        await stream(http, proxy.url)
        backend.answer = Answer.json(whole("Hi", RUDE))
        await post(http, proxy.url, asks(RUDE, n=2))
        in_one, streamed = sorted(await proxy.decided(2), key=lambda line: line["stream"])
        assert await proxy.counted() == {
            ("input", "allow", "allow"): 1,
            ("input", "allow", "block"): 1,
            ("output", "allow", "block"): 2,
        }
    assert (streamed["decision"], streamed["shadow"]["decision"]) == ("allow", "block")
    assert streamed["shadow"]["policy"].startswith("trial@")
    assert streamed["shadow"]["output"]["choices"][0]["categories"]["hate"]["filtered"] is True
    choices = in_one["shadow"]["output"]["choices"]
    assert [(choice["finish_reason"], choice["decision"]) for choice in choices] == [
        ("stop", "allow"),
        ("content_filter", "block"),
    ]
    assert in_one["shadow"]["input"]["decision"] == "block"


async def test_the_shadow_judges_what_was_withheld_too(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    """In one read, so that the backend is not stopped before it arrives."""
    backend.answer = Answer.json(whole(f"{HARM} {SAFE} {RUDE}"))
    async with start() as proxy:
        await post(http, proxy.url, asks())
        (line,) = await proxy.decided(1)
    assert line["output"]["choices"][0]["categories"]["hate"]["filtered"] is False
    assert line["shadow"]["output"]["choices"][0]["categories"]["hate"]["filtered"] is True


async def test_a_prompt_that_the_shadow_could_not_read_counts_as_an_error(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(
        {"object": "text_completion", "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]}
    )
    lenient = POLICY.format(name="enforced", classifier="embedded").replace("input: {}", "input: {unreadable: allow}")
    async with start(enforced=lenient) as proxy:
        await post(http, proxy.url, {"prompt": [1, 2]}, path="/v1/completions")
        (line,) = await proxy.decided(1)
    assert (line["decision"], line["shadow"]["decision"]) == ("allow", "error")
    assert line["shadow"]["input"]["error"] == "unsupported_content"


async def test_a_key_with_a_policy_of_its_own_has_it_on_trial_too(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    digest = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
    config = f"{CONFIG}keys: [{{name: a, sha256: {digest}, policy: strict}}]\nmetrics: open\n"
    async with start(config=config) as proxy:
        await post(http, proxy.url, asks(), **{"api-key": "password"})
        (line,) = await proxy.decided(1)
    assert [part.partition("@")[0] for part in line["shadow"]["policy"].split("+")] == ["trial", "strict"]


async def test_the_same_texts_cost_nothing_where_verdicts_are_kept(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    mine = scripted()
    backend.answer = Answer.stream(*words(SAFE))
    trial = POLICY.format(name="trial", classifier="embedded").replace("output: {}", "output: {hate: {block_at: high}}")
    async with start(mine=mine, trial=trial) as proxy:
        await stream(http, proxy.url)
        asked = len(mine.asked)
        await proxy.decided(1)
    assert len(mine.asked) == asked


# ------------------------------------------------------------------------------------------------------------- failures


class Broken(ScriptedClassifier):
    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        if any("hello" in query.text for query in queries):
            raise ZeroDivisionError(HARM)
        return await super().classify(queries)


async def test_a_shadow_whose_classifier_fails_touches_nothing(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.stream(*words(SAFE))
    async with start(Broken(name="other")) as proxy:
        assert finishes(await stream(http, proxy.url)) == {0: ["stop"]}
        (line,) = await proxy.decided(1)
    assert (line["decision"], line["shadow"]["decision"], line["shadow"]["input"]["error"]) == ("allow", "error", "internal")


async def test_a_mistake_in_a_shadow_is_logged_and_touches_nothing(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError(HARM)

    monkeypatch.setattr("safety_proxy.server.shadow._again", fail)
    backend.answer = Answer.stream(*words(SAFE))
    with structlog.testing.capture_logs() as told:
        async with start() as proxy:
            assert finishes(await stream(http, proxy.url)) == {0: ["stop"]}
            (line,) = await proxy.decided(1)
            assert await proxy.counted() == {
                ("input", "allow", "not_evaluated"): 1,
                ("output", "allow", "not_evaluated"): 1,
            }
    assert line["shadow"] == {"policy": line["shadow"]["policy"], "decision": None, "input": None, "output": None}
    assert {"stage": "shadow", "what": "stage", "name": "shadow", "reason": "internal"} in line["not_evaluated"]
    assert [each["error"] for each in told if each["event"] == "shadow.failed"] == ["ZeroDivisionError"]


async def test_beyond_so_many_shadows_requests_have_none(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_proxy.server.shadow.Shadows.__init__.__kwdefaults__", {"room": 1, "at_once": 1})
    gate = asyncio.Event()
    backend.answer = Answer.json(whole("Hi"))
    async with start(judge(gate)) as proxy:
        await post(http, proxy.url, asks("one"))
        await post(http, proxy.url, asks("two"))
        (skipped,) = await proxy.decided(1)
        assert {"stage": "shadow", "what": "stage", "name": "shadow", "reason": "overloaded"} in skipped["not_evaluated"]
        gate.set()
        await proxy.decided(2)
        await post(http, proxy.url, asks("three"))
        lines = await proxy.decided(3)
        assert [line["shadow"]["decision"] for line in lines] == [None, "allow", "allow"]


async def test_a_completion_that_is_too_long_is_not_judged_by_the_shadow(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_proxy.server.shadow.LONGEST", 100)
    backend.answer = Answer.stream(*words(SAFE))
    async with start() as proxy:
        await stream(http, proxy.url)
        (line,) = await proxy.decided(1)
    assert LONGEST > 100
    assert {"stage": "shadow", "what": "stage", "name": "shadow", "reason": "too_long"} in line["not_evaluated"]


async def test_a_client_that_leaves_has_its_prompt_judged_and_no_completion(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer([*Answer.stream(*words(SAFE)[:-1], done=False).pieces, asyncio.Event()])
    async with start() as proxy:
        response = await http.post(proxy.url + CHAT, json=asks(stream=True))
        await response.content.readany()
        response.close()
        await backend.left.wait()
        (line,) = await proxy.decided(1)
        assert await proxy.counted() == {("input", "allow", "allow"): 1}
    assert (line["shadow"]["decision"], line["shadow"]["output"]) == ("allow", None)


async def test_a_request_that_nobody_judged_leaves_its_place() -> None:
    shadows = Shadows(Meters(Ledger().rows[0]), room=1)
    engine = Engine([policy_file.load(parse(POLICY.format(name="trial", classifier="other"), "p"))], {"other": judge()})
    first, second = shadows.open(engine, "m"), shadows.open(engine, "m")
    assert (first.refused, second.refused) == (None, "overloaded")
    shadows.leave(second)
    assert shadows.open(engine, "m").refused == "overloaded"
    shadows.leave(first)
    assert shadows.open(engine, "m").refused is None
    await shadows.close()


async def test_what_still_waits_at_the_end_is_given_up_without_a_word(
    start: Start, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    async with start(judge(asyncio.Event())) as proxy:
        for text in ("one", "two", "three", "four", "five", "six"):
            await post(http, proxy.url, asks(text))
    lines = proxy.lines()
    assert [line["shadow"]["decision"] for line in lines] == [None] * 6
    assert all(line["not_evaluated"][-1]["reason"] == "stopped" for line in lines)


async def test_a_shadow_needs_no_audit_log(start: Start, backend: FakeBackend, http: aiohttp.ClientSession) -> None:
    backend.answer = Answer.json(whole(OUTAGE, RUDE))
    async with start(config=CONFIG.replace("audit: {content: none}", "")) as proxy:
        assert received((await post(http, proxy.url, asks(n=2, stream=True)))[1])
        while ("output", "block") not in {(stage, shadow) for stage, _, shadow in await proxy.counted()}:
            pass
    assert not (proxy.folder / "audit.jsonl").exists()


# --------------------------------------------------------------------------------------------------------------- pieces


def test_chunks_of_words_are_kept_as_few_and_say_the_same() -> None:
    engine = Engine([policy_file.load(parse(POLICY.format(name="trial", classifier="other"), "p"))], {"other": judge()})
    shadow = Shadow(engine, "m")
    for number in range(250):
        shadow.arrived([Chunk(number % 2, {}, (Segment("content", f"{number} "),))])
    call = Chunk(0, {"x": HARM}, (Segment("tool_call:0.name", "f", whole=True),), finished=True)
    shadow.arrived([Chunk(0, {}, (Segment("reasoning", "so"),)), Frame({}), call])
    kept = shadow.completion()
    assert len(kept) == 6
    assert kept[-2].segments == call.segments or kept[-1].segments == call.segments
    for choice in (0, 1):
        said = [segment.text for chunk in kept if chunk.choice == choice for segment in chunk.segments]
        assert "".join(said) == "".join(f"{n} " for n in range(choice, 250, 2)) + ("so" + "f") * (choice == 0)
    assert HARM not in str(kept)


def test_a_long_chunk_is_fed_in_pieces_that_say_the_same() -> None:
    chunk = Chunk(0, {}, (Segment("reasoning", "a" * 2500), Segment("content", "b" * 10)), finished=True, strings=("x",))
    pieces = [*_pieces(chunk)]
    assert [len(piece.segments) for piece in pieces] == [1, 1, 1, 1, 0]
    assert "".join(segment.text for piece in pieces for segment in piece.segments) == "a" * 2500 + "b" * 10
    assert [piece.finished for piece in pieces] == [False, False, False, False, True]
    assert pieces[-1].strings == ("x",)


@pytest.mark.parametrize("segment", [Segment("content", "a"), Segment("tool_call:0.arguments", "a" * 2500, whole=True)])
def test_a_short_chunk_or_one_that_is_judged_as_a_whole_stays_as_it_is(segment: Segment) -> None:
    chunk = Chunk(0, {}, (segment,), finished=True)
    assert [*_pieces(chunk)] == [chunk]
