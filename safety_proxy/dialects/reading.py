"""Reading a choice of the backend: what of it is text, what is known to say nothing, and what nobody knows.

Nothing is passed by: a field lands in a channel, in `Reading.strings`, or is a number or metadata of known shape.
(Logprobs have a page of their own, `safety_proxy.dialects.logprobs`.)
"""

from __future__ import annotations

import codecs
from typing import Final

from safety_proxy.dialects.vocabulary import METADATA_SHAPE, VOCABULARY, says_something
from safety_proxy.events import Chunk, Segment
from safety_proxy.jsontext import as_object, strings
from safety_proxy.model import JSON, JSONObject

_PART_TEXTS: Final = frozenset({"text", "refusal", "thinking", "summary"})
"""Where a part of a text that comes in parts may have its text."""
_REMEMBERED: Final = 200
"""Characters of an echo that are repeated where it first says something else than the text."""


class Echo:
    """A field that repeats the text of its events, such as tokens do, followed through the events of a choice.

    As long as it repeats, it says nothing new. From the first event in which it does not, it is a channel of its own, which
    begins with what it said just before.
    """

    __slots__ = ("_apart", "_decoder", "_tail")

    def __init__(self) -> None:
        self._apart = False
        self._tail = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, data: bytes) -> str:
        """UTF-8 whose characters may be cut by the ends of events."""
        return self._decoder.decode(data)

    def news(self, text: str, said: frozenset[str]) -> str:
        """What *text* adds to what its event *said* in each channel."""
        if self._apart or text not in said:
            text, self._tail, self._apart = self._tail + text, "", True
            return text
        self._tail = (self._tail + text)[-_REMEMBERED:]
        return ""


class Reading:
    """Collects what one choice of one event says. *echoes* are the choice's own, by channel, and outlive the event."""

    __slots__ = ("_echoes", "alternatives", "finished", "segments", "strings")

    def __init__(self, echoes: dict[str, Echo] | None = None) -> None:
        self._echoes = {} if echoes is None else echoes
        self.segments: list[Segment] = []
        self.strings: list[str] = []
        self.alternatives: list[str] = []
        self.finished = False

    def chunk(self, index: int, payload: JSONObject) -> Chunk:
        """All that was read, as the filter takes it."""
        strings = tuple(self.strings) if self.strings else ()
        alternatives = tuple(self.alternatives) if self.alternatives else ()
        return Chunk(index, payload, tuple(self.segments), self.finished, strings, alternatives)

    def text(self, channel: str, value: JSON) -> None:
        """A field that holds visible text: a string, nothing, a part, or an array of parts."""
        if isinstance(value, str):
            if value:
                self.segments.append(Segment(channel, value))
        elif isinstance(value, list):
            for part in value:
                self.text(channel, part)
        elif isinstance(value, dict):
            for key, field in value.items():
                if key in _PART_TEXTS:
                    self.text(channel, field)
                else:
                    self.other(key, field)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.segments.append(Segment(channel, str(value)))

    def stray(self, name: str, value: JSON) -> None:
        """Text of another format, such as ``text`` in a chat: a channel of its own, whatever stands in it."""
        if isinstance(value, dict):
            for key, field in value.items():
                if key == "role":
                    self.metadata(field)
                else:
                    self.other(key, None)
                    self.text(name, field)
        else:
            self.text(name, value)

    def echo(self, channel: str, value: JSON | bytes, *, beside: bool = False) -> None:
        """A field that may repeat the text that was read before: a text, or UTF-8. *beside*: it is no visible text."""
        echo = self._echoes.get(channel)
        if echo is None:
            echo = self._echoes[channel] = Echo()
        if isinstance(value, bytes):
            text = echo.decode(value)
        else:
            own = Reading()
            own.text(channel, value)
            self.strings += own.strings
            text = "".join(segment.text for segment in own.segments)
        news = echo.news(text, self.said()) if text else ""
        if news:
            self.segments.append(Segment(channel, news, beside=beside))

    def call(self, channel: str, value: JSON) -> None:
        """A part of a tool call, which waits for the end of its choice; arguments that are no string are laid out."""
        text = value if isinstance(value, str) else "\n".join(strings(value))
        self.segments.append(Segment(channel, text, whole=True))

    def hold(self) -> None:
        """The event carries something that must wait for the end of its choice."""
        self.segments.append(Segment("held", "", whole=True))

    def metadata(self, value: JSON) -> None:
        """An id, a role, a model's name: passes in its known shape, counts as unknown in any other."""
        if isinstance(value, str) and METADATA_SHAPE.fullmatch(value):
            return
        self.unknown(value)

    def finish(self, reason: JSON) -> None:
        """The ``finish_reason``; null and the empty string mean that the choice goes on."""
        if reason is not None and reason != "":
            self.finished = True
            self.unknown(reason)

    def unknown(self, value: JSON) -> None:
        """A value that nobody knows: every string in it is judged by itself."""
        if value is None or value.__class__ is int or value.__class__ is bool:
            return
        self.strings.extend(text for text in strings(value) if says_something(text))

    def other(self, key: str, value: JSON) -> None:
        """A field that nobody knows, its key included."""
        if says_something(key):
            self.strings.append(key)
        self.unknown(value)

    def said(self) -> frozenset[str]:
        """What was read so far of each channel."""
        texts: dict[str, str] = {}
        for segment in self.segments:
            texts[segment.channel] = texts.get(segment.channel, "") + segment.text
        return frozenset(texts.values())


def figures(value: JSON) -> JSONObject:
    """The numbers of a ``usage`` object, under the names that the formats know: what may be shown without a judge."""
    found: JSONObject = {}
    for key, inner in as_object(value).items():
        if key in VOCABULARY:
            if isinstance(inner, dict):
                found[key] = figures(inner)
            elif isinstance(inner, int | float) and not isinstance(inner, bool):
                found[key] = inner
    return found
