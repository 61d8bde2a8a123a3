"""The situations that every client is put into, and what it has to see: one table for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from safety_proxy.model import JSON, JSONObject
from safety_proxy.testing import Answer, Request
from tests.server.conftest import HARM, OUTAGE
from tests.server.wire import SAFE, event, whole, words

SYSTEM: Final = "You are a helpful assistant that translates English to Italian."
TRANSLATE: Final = "Translate the following sentence from English to Italian: I love programming."
THREATEN: Final = "Translate what the villain says."
MUMBLE: Final = "Translate what nobody understands."
BREAK_OFF: Final = "Translate until the connection breaks."

BEFORE_HARM: Final = SAFE[:333]
"""Longer than the first windows, so that a stream has shown something when the harm comes."""
BROKEN: Final = SAFE[:200]
SAYS: Final = {TRANSLATE: SAFE, THREATEN: BEFORE_HARM + HARM + SAFE, MUMBLE: OUTAGE}
USAGE: Final[JSONObject] = {"prompt_tokens": 7, "completion_tokens": 16, "total_tokens": 23}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client made of an answer. A script in another process prints it as JSON."""

    text: str = ""
    finish: str | None = None
    """The finish reason that the caller is shown."""
    status: int | None = None
    """The HTTP status, if an error was raised."""
    code: str | None = None
    """The error's code, if an error was raised."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A question, and what has to be seen of the answer."""

    name: str
    asks: str
    expected: Seen
    streamed: bool = False
    cut: bool = False
    """A beginning of the expected text is enough, if it is one; how much is the stream's windows' matter."""

    def check(self, seen: Seen) -> None:
        """Assert that *seen* is what has to be seen."""
        if self.cut:
            assert seen.text
            assert self.expected.text.startswith(seen.text)
            seen = Seen(self.expected.text, seen.finish, seen.status, seen.code)
        assert seen == self.expected, self.name


BLOCKED: Final = Seen(status=400, code="content_filter")
SITUATIONS: Final = (
    Situation("plain", TRANSLATE, Seen(SAFE, "stop")),
    Situation("streamed", TRANSLATE, Seen(SAFE, "stop"), streamed=True),
    Situation("blocked prompt", HARM, BLOCKED),
    Situation("blocked prompt, streamed", HARM, BLOCKED, streamed=True),
    Situation("filtered completion", THREATEN, Seen("", "content_filter")),
    Situation("filtered completion, streamed", THREATEN, Seen(BEFORE_HARM, "content_filter"), streamed=True, cut=True),
    Situation("classifier failure", MUMBLE, Seen("", "content_filter_error")),
    Situation("classifier failure, streamed", MUMBLE, Seen("", "content_filter_error"), streamed=True),
    Situation("classifier failure on the prompt", OUTAGE, Seen(status=503, code="content_filter_error")),
)
SCRIPTED: Final = {each.name: {"asks": each.asks, "streamed": each.streamed} for each in SITUATIONS}
"""What a script in another process needs to know."""


def answer(request: Request) -> Answer:
    """The model: what it says depends on the last message."""
    asked = last_message(request.body)
    if asked == BREAK_OFF:
        return Answer.stream(*words(BROKEN)[:-1], done=False)
    text = SAYS[asked]
    if request.body.get("stream") is not True:
        return Answer.json({**whole(text), "usage": USAGE})
    usage = {**event({}), "choices": [], "usage": USAGE}
    return Answer.stream(*words(text), *([usage] if request.body.get("stream_options") else []))


def last_message(body: Mapping[str, JSON]) -> str:
    messages: Any = body["messages"]
    return str(messages[-1]["content"])


def check_all(told: Mapping[str, Mapping[str, Any]], *, instead: Mapping[str, Seen] | None = None) -> None:
    """Assert that a script saw in every situation what it had to, or what this client makes of it *instead*."""
    assert set(told) == {each.name for each in SITUATIONS}
    for each in SITUATIONS:
        replace(each, expected=(instead or {}).get(each.name, each.expected)).check(Seen(**told[each.name]))
