"""Claims about the tour: it notices when what it shows is not so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from safety_proxy import demo_backend
from safety_proxy.classifiers.embedded import EmbeddedClassifier
from safety_proxy.demo_backend import OFFENCE, SCRIPT, create_backend
from safety_proxy.demo_tour import BLOCKED, CUT, SAFE, TOUR, UNJUDGED, Received, Stop, take_tour
from safety_proxy.jsontext import write
from safety_proxy.model import HARMS, Category, JSONObject, Kind, Query, Severity
from safety_proxy.policy import StreamRules
from safety_proxy.server.run import running

HARMLESS = SCRIPT["villain"].partition(OFFENCE)[0]
FILTERED: JSONObject = {"violence": {"filtered": True, "severity": "high"}}
UNDECIDED: JSONObject = {"error": {"code": "content_filter_error", "message": "No decision"}}

GOOD = {
    SAFE: Received(200, [SCRIPT["moon"][:50], SCRIPT["moon"][50:]], "stop", ended=True),
    BLOCKED: Received(400, filter_results=FILTERED, code="content_filter"),
    CUT: Received(200, [HARMLESS[:100]], "content_filter", FILTERED, ended=True),
    UNJUDGED: Received(200, [], "content_filter_error", UNDECIDED, ended=True),
}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script speaks faster than a model, but still word by word."""
    monkeypatch.setattr(demo_backend, "_PAUSE", 0.002)


@pytest.fixture
async def bare_model() -> AsyncIterator[str]:
    """The scripted model without a proxy: nothing is filtered."""
    async with running(create_backend(), host="127.0.0.1", port=0) as url:
        yield url


def test_the_tour_has_no_complaints_about_what_was_promised() -> None:
    assert {stop.title: list(stop.complaints(GOOD[stop])) for stop in TOUR} == {stop.title: [] for stop in TOUR}


@pytest.mark.parametrize(
    ("stop", "received", "complaint"),
    [
        (SAFE, replace(GOOD[SAFE], status=500), "expected status 200, got 500"),
        (SAFE, replace(GOOD[SAFE], finish_reason=None), "expected finish_reason stop, got None"),
        (SAFE, replace(GOOD[SAFE], pieces=["The", "Moon"]), "the text is not that of the model"),
        (SAFE, replace(GOOD[SAFE], pieces=[SCRIPT["moon"]]), "the text came in one piece, not as a stream"),
        (SAFE, replace(GOOD[SAFE], ended=False), "the stream has no [DONE]"),
        (BLOCKED, replace(GOOD[BLOCKED], status=503), "expected status 400, got 503"),
        (BLOCKED, replace(GOOD[BLOCKED], code=None), "expected error.code content_filter, got None"),
        (BLOCKED, replace(GOOD[BLOCKED], filter_results={}), "no category says why"),
        (CUT, replace(GOOD[CUT], status=400), "expected status 200, got 400"),
        (CUT, replace(GOOD[CUT], finish_reason="stop"), "expected finish_reason content_filter, got stop"),
        (CUT, replace(GOOD[CUT], pieces=[]), "nothing arrived, so nothing was cut"),
        (CUT, replace(GOOD[CUT], pieces=[HARMLESS, "To"]), "the text that arrived goes on into the offending sentence"),
        (CUT, replace(GOOD[CUT], raw=b'{"top": "THROAT  and"}'), "words of the offending sentence arrived: throat and"),
        (CUT, replace(GOOD[CUT], ended=False), "the stream has no [DONE]"),
        (UNJUDGED, replace(GOOD[UNJUDGED], status=503), "expected status 200, got 503"),
        (UNJUDGED, replace(GOOD[UNJUDGED], finish_reason="stop"), "expected finish_reason content_filter_error, got stop"),
        (UNJUDGED, replace(GOOD[UNJUDGED], pieces=["The"]), "expected text , got The"),
        (UNJUDGED, replace(GOOD[UNJUDGED], filter_results={}), "content_filter_results has no error"),
    ],
)
def test_what_is_not_as_promised_is_complained_about(stop: Stop, received: Received, complaint: str) -> None:
    assert list(stop.complaints(received)) == [complaint]


@pytest.mark.parametrize("length", range(1, len(OFFENCE) + 1))
def test_any_beginning_of_the_offence_is_noticed(length: int) -> None:
    leaked = replace(GOOD[CUT], pieces=[HARMLESS, OFFENCE[:length]])
    assert "the text that arrived goes on into the offending sentence" in list(CUT.complaints(leaked))


async def test_a_model_without_a_proxy_fails_the_tour(bare_model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await take_tour(bare_model) is False
    told = capsys.readouterr().out
    assert "FAILED    expected status 400, got 200" in told
    assert "FAILED    expected finish_reason content_filter, got stop" in told
    assert "FAILED    expected finish_reason content_filter_error, got stop" in told
    assert told.endswith("\n3 of 4 did not go as expected.\n")


async def test_a_server_that_is_not_there_is_a_complaint_and_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(web.Application(), host="127.0.0.1", port=0) as url:
        pass
    assert await take_tour(url) is False
    assert "FAILED    the answer could not be read (ClientConnectorError)" in capsys.readouterr().out


async def test_an_answer_that_is_no_json_is_a_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(web.Application(), host="127.0.0.1", port=0) as url:
        assert await take_tour(url) is False
    assert "FAILED    the answer could not be read (ValueError)" in capsys.readouterr().out


def test_events_without_choices_or_text_are_read_as_well() -> None:
    received = Received(200)
    assert received.read_event(write({"choices": [], "usage": {}})) == ""
    assert received.read_event(write({"choices": [{"delta": {"content": None}, "finish_reason": None}]})) == ""
    assert received.read_event(write({"choices": [{"delta": {"content": "a"}, "content_filter_results": FILTERED}]})) == "a"
    assert received.read_event(write({"choices": [{"delta": {}, "finish_reason": "stop"}]})) == ""
    assert received.read_event(b"[DONE]") == ""
    assert received == Received(200, [], "stop", FILTERED, ended=True)


# ------------------------------------------------------------------------------------- the embedded model and the script


def test_the_offence_fits_into_the_default_holdback() -> None:
    """Up to that length, no part of it is ever released."""
    assert len(OFFENCE) <= StreamRules().holdback


@pytest.mark.parametrize("text", [*SCRIPT.values(), *(stop.prompt for stop in TOUR)])
def test_the_embedded_model_knows_the_harmful_texts_of_the_demo_from_the_others(text: str) -> None:
    verdict = EmbeddedClassifier().classify_now([Query(text, Kind.USER_PROMPT)])[0]
    found = {harm for harm in HARMS if verdict.severities[harm] >= Severity.MEDIUM}
    assert found == ({Category.VIOLENCE} if OFFENCE in text or text == BLOCKED.prompt else set())
    assert verdict.detections == {Category.JAILBREAK: False}
