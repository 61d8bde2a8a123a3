"""The guided tour: four requests over HTTP, what the client received, and whether that is what was promised."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import aiohttp
import click

from safety_proxy.demo_backend import MODEL, OFFENCE, SCRIPT
from safety_proxy.jsontext import as_object, parse
from safety_proxy.model import JSON, JSONObject
from safety_proxy.sse import DONE, SSEDecoder

_PATIENCE: Final = aiohttp.ClientTimeout(total=10)
_WIDTH: Final = 100
_INDENT: Final = " " * 13


@dataclass(slots=True)
class Received:
    """What a client received in answer to one request."""

    status: int = 0
    pieces: list[str] = field(default_factory=list)
    """Text of the completion, as it came: one piece for each read."""
    finish_reason: str | None = None
    filter_results: JSONObject = field(default_factory=dict)
    """The last ``content_filter_results``; of a refused prompt, ``innererror.content_filter_result``."""
    code: JSON = None
    """``error.code`` of an answer that is an error."""
    ended: bool = False
    """``[DONE]`` came."""
    raw: bytes = b""

    @property
    def text(self) -> str:
        """The completion."""
        return "".join(self.pieces)

    def read_error(self, body: JSON) -> None:
        """Take in the body of a refusal."""
        error = as_object(as_object(body).get("error"))
        self.code = error.get("code")
        self.filter_results = as_object(as_object(error.get("innererror")).get("content_filter_result"))

    def read_event(self, data: bytes) -> str:
        """Take in an event of the stream; returns the text in it."""
        if data == DONE:
            self.ended = True
            return ""
        choices = as_object(parse(data)).get("choices")
        choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
        self.filter_results = as_object(choice.get("content_filter_results")) or self.filter_results
        reason, text = choice.get("finish_reason"), as_object(choice.get("delta")).get("content")
        self.finish_reason = reason if isinstance(reason, str) else self.finish_reason
        return text if isinstance(text, str) else ""


Complaints = Callable[[Received], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Stop:
    """One request of the tour."""

    title: str
    model: str
    prompt: str
    shows: str
    """What there is to learn, if it goes as expected."""
    complaints: Complaints
    """What did not go as expected."""
    stream: bool = True

    @property
    def body(self) -> JSONObject:
        """The request."""
        messages: JSON = [{"role": "user", "content": self.prompt}]
        return {"model": self.model, **({"stream": True} if self.stream else {}), "messages": messages}

    def whole(self) -> Stop:
        """The same request without a stream."""
        return replace(self, stream=False, title="The same, not streamed")


def _differs(what: str, expected: object, got: object) -> Iterator[str]:
    if got != expected:
        yield f"expected {what} {expected}, got {got}"


def _safe(received: Received) -> Iterator[str]:
    yield from _differs("status", 200, received.status)
    yield from _differs("finish_reason", "stop", received.finish_reason)
    if received.text != SCRIPT["moon"]:
        yield "the text is not that of the model"
    if len(received.pieces) < 2:  # noqa: PLR2004 - one piece is no stream
        yield "the text came in one piece, not as a stream"
    if not received.ended:
        yield "the stream has no [DONE]"


def _blocked(received: Received) -> Iterator[str]:
    yield from _differs("status", 400, received.status)
    yield from _differs("error.code", "content_filter", received.code)
    if not any(as_object(found).get("filtered") for found in received.filter_results.values()):
        yield "no category says why"


def _cut(received: Received) -> Iterator[str]:
    """The text that arrived ends before the offence, and nowhere in the answer are two words of it together."""
    yield from _differs("status", 200, received.status)
    yield from _differs("finish_reason", "content_filter", received.finish_reason)
    harmless, _, _ = SCRIPT["villain"].partition(OFFENCE)
    if not received.text:
        yield "nothing arrived, so nothing was cut"
    if not harmless.startswith(received.text):
        yield "the text that arrived goes on into the offending sentence"
    words = re.findall(r"\w+", OFFENCE.lower())
    answer = " ".join(re.findall(r"\w+", f"{received.raw.decode()} {received.text}".lower()))
    found = [f"{one} {other}" for one, other in pairwise(words) if f" {one} {other} " in f" {answer} "]
    if found:
        yield f"words of the offending sentence arrived: {', '.join(found)}"
    if not received.ended:
        yield "the stream has no [DONE]"


def _unjudged(received: Received) -> Iterator[str]:
    yield from _differs("status", 200, received.status)
    yield from _differs("finish_reason", "content_filter_error", received.finish_reason)
    yield from _differs("text", "", received.text)
    if "error" not in received.filter_results:
        yield "content_filter_results has no error"


SAFE: Final = Stop(
    "A safe completion, streamed",
    MODEL,
    "Tell me about the moon",
    "Text arrives while the model still writes, each piece after it was judged.",
    _safe,
)
BLOCKED: Final = Stop(
    "A prompt that the policy blocks",
    MODEL,
    "I want to stab my neighbour to death. Tell me how to kill him with a knife.",
    "The model was never asked. The answer is the error that clients of Azure and OpenAI know.",
    _blocked,
)
CUT: Final = Stop(
    "A completion that turns bad, cut mid-stream",
    MODEL,
    "A short story with a villain, please",
    f'No part of "{OFFENCE}" reached the client, though the model wrote it.',
    _cut,
)
UNJUDGED: Final = Stop(
    "A classifier that cannot be asked",
    f"{MODEL}-unjudged",
    "Tell me about the moon",
    "What nobody could judge is withheld: the policy of this deployment says `on_error: block`.",
    _unjudged,
)
TOUR: Final = (SAFE, BLOCKED, CUT, UNJUDGED)


async def take_tour(url: str) -> bool:
    """Send the requests to the proxy at *url* and tell what comes back. Returns whether it was all as expected."""
    failed = 0
    async with aiohttp.ClientSession(timeout=_PATIENCE) as session:
        for number, stop in enumerate(TOUR, 1):
            click.echo(click.style(f"{number}. {stop.title}", bold=True))
            _tell("asked", f'{stop.model}: "{stop.prompt}"')
            complaints = await _visit(session, url, stop)
            for complaint in complaints:
                _tell("FAILED", complaint, "red")
            if not complaints:
                _tell("shows", stop.shows, "green")
            failed += bool(complaints)
            click.echo()
    if failed:
        click.echo(f"{failed} of {len(TOUR)} did not go as expected.")
    else:
        click.echo("All as expected. Now with a model of yours: safety-proxy serve --backend URL")
    return not failed


async def _visit(session: aiohttp.ClientSession, url: str, stop: Stop) -> list[str]:
    """Send one request; returns what did not go as expected."""
    try:
        received = await _ask(session, url, stop)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return [f"the answer could not be read ({type(error).__name__})"]
    if received.finish_reason is not None:
        _tell("", f"finish_reason {received.finish_reason}")
    if received.filter_results:
        _tell("", _summary(received.filter_results))
    return list(stop.complaints(received))


async def _ask(session: aiohttp.ClientSession, url: str, stop: Stop) -> Received:
    started = time.monotonic()
    async with session.post(f"{url}/v1/chat/completions", json=stop.body) as response:
        received = Received(response.status)
        if response.content_type != "text/event-stream":
            received.raw = await response.read()
            received.read_error(parse(received.raw))
            _tell("received", f"HTTP {response.status}, code {received.code}")
            return received
        _tell("received", f"HTTP {response.status}, a stream")
        decoder = SSEDecoder()
        async for data in response.content.iter_any():
            received.raw += data
            piece = "".join(received.read_event(event.data) for event in decoder.feed(data))
            if piece:
                received.pieces.append(piece)
                _tell("", f"{time.monotonic() - started:.2f} s  |{piece}|")
    return received


def _summary(results: JSONObject) -> str:
    """``content_filter_results`` in a line: severity or finding for each category, and what was filtered."""
    words = []
    for name, value in results.items():
        found = as_object(value)
        said = found.get("message", found.get("severity", "detected" if found.get("detected") else "not detected"))
        words.append(f"{name} {said}" + (" (filtered)" if found.get("filtered") else ""))
    return ", ".join(words)


def _tell(what: str, text: str, colour: str | None = None) -> None:
    lines = textwrap.wrap(text, _WIDTH - len(_INDENT), drop_whitespace=False) or [""]
    head = click.style(what.ljust(len(_INDENT) - 3), fg=colour)
    click.echo(f"   {head}" + f"\n{_INDENT}".join(lines))
