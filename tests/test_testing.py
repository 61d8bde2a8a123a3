"""The stand-ins stand in: they keep the rules of what they stand for."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from safety_proxy.errors import ClassifierError
from safety_proxy.events import Chunk, Closed, End, Item, Release, Segment
from safety_proxy.model import ALLOWED, Category, Kind, Query, Span
from safety_proxy.stream import StreamFilter
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier, drive, occurs
from safety_proxy.windows import WindowPolicy
from tests.pictures import looked_at


@pytest.mark.parametrize(
    ("text", "left", "right", "found"),
    [
        ("bad", False, False, (0, 3)),
        ("bad", True, False, None),
        ("bad", False, True, None),
        ("bad bad", True, False, (4, 7)),
        ("xbadx", True, True, (1, 4)),
        ("good", False, False, None),
    ],
)
def test_a_phrase_counts_unless_it_touches_an_open_edge(
    text: str, left: bool, right: bool, found: tuple[int, int] | None
) -> None:
    assert occurs("bad", Query(text, Kind.COMPLETION, left, right)) == found


async def test_the_scripted_classifier_reports_what_its_script_says() -> None:
    classifier = ScriptedClassifier({"bad": (Category.HATE, 4)}, detections={"trick": Category.JAILBREAK})
    bad, good = await classifier.classify([Query("bad trick", Kind.USER_PROMPT), Query("fine", Kind.USER_PROMPT)])

    assert bad.severities[Category.HATE] == 4
    assert bad.detections[Category.JAILBREAK] is True
    assert bad.spans == (Span(0, 3, "hate"), Span(4, 9, "jailbreak"))
    assert good.severities[Category.HATE] == 0
    assert good.detections[Category.JAILBREAK] is False
    assert [query.text for query in classifier.asked] == ["bad trick", "fine"]
    assert classifier.reports(Kind.USER_PROMPT) == frozenset(Category)


async def test_the_scripted_classifier_fails_on_demand_and_waits_at_its_gate() -> None:
    gate = asyncio.Event()
    classifier = ScriptedClassifier(errors={"x": "timeout"}, gate=gate)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(classifier.classify([Query("y", Kind.MESSAGE)]))
        await asyncio.sleep(0)
        assert classifier.asked == []
        gate.set()
        assert len(await asking) == 1
    with pytest.raises(ClassifierError, match="timeout"):
        await classifier.classify([Query("x", Kind.MESSAGE)])
    await classifier.close()
    assert classifier.closed


def test_drive_says_when_a_filter_hangs() -> None:
    policy = WindowPolicy(4, 4, 3, 2)
    with pytest.raises(AssertionError, match="waits for nothing"):
        drive(StreamFilter(policy), [[Chunk(0, {}, (Segment("content", "a"),))]], lambda _: ALLOWED)


def test_drive_shows_what_a_client_is_shown() -> None:
    items: list[Item] = [Chunk(0, {}, (Segment("content", "abcdef"),), finished=True), Closed(complete=True)]
    shown = drive(StreamFilter(WindowPolicy(4, 4, 3, 2)), [items], lambda _: ALLOWED)

    assert [type(effect) for effect in shown] == [Release, End]


async def test_the_fake_backend_answers_and_remembers(http: aiohttp.ClientSession) -> None:
    async with FakeBackend(Answer.json({"ok": True}, 418)).running() as backend:
        async with http.post(f"{backend.url}/chat/completions", json={"a": 1}) as response:
            assert (response.status, await response.json()) == (418, {"ok": True})
        [asked] = backend.requests

        assert (asked.path, asked.body) == ("/v1/chat/completions", {"a": 1})
        assert not backend.left.is_set()


async def test_the_fake_backend_streams_waits_and_breaks_off(http: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    async with FakeBackend(Answer([b"one", gate, b"two"], abort=True)).running() as backend:
        async with http.post(f"{backend.url}/x") as response:
            assert await response.content.readany() == b"one"
            gate.set()
            assert await response.content.readany() == b"two"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.readany()


@pytest.fixture(name="http")
async def _http() -> object:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_scripted_classifier_finds_phrases_in_the_bytes_of_images() -> None:
    classifier = ScriptedClassifier({"bad": (Category.HATE, 4)}, reads_images=True)
    bad, good = await classifier.classify([looked_at("good", "bad"), looked_at("good")])

    assert (bad.severities[Category.HATE], good.severities[Category.HATE]) == (4, 0)
    assert not ScriptedClassifier().reads_images
