"""From YAML text to plain values, with the line of each: the YAML behind `safety_proxy.documents`.

What is read is the part of YAML 1.2 (core schema, yaml.org/spec/1.2.2 section 10.3) that maps to JSON, so that ``off``,
``on``, ``yes`` and ``no`` are words and only ``true`` and ``false`` are booleans. Anchors, aliases, tags, directives,
duplicate keys and a second document are refused: each of them makes a file mean something other than what a reader sees,
and aliases can make a small file expand to a huge one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, JSONObject

DEEPEST: Final = 50
"""Most collections inside each other. Our own files need six."""
LONGEST_KEY: Final = 64
"""Most characters of a key that an error shows."""
LONGEST_NUMBER: Final = 20
"""Most characters of a whole number: what 64 bits need. (Python takes seconds over a hundred thousand digits.)"""

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands: keys and indexes from the top, such as ``("output", "blocklists", 0, "name")``."""


def dotted(place: Place) -> str:
    """*place* as people write it: ``output.blocklists[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in place).removeprefix(".")


def _shown(key: str) -> str:
    return key if key.isprintable() and len(key) <= LONGEST_KEY else ascii(key[:LONGEST_KEY])


def compose(text: str, file: str) -> tuple[JSONObject, dict[Place, int]]:
    """The one mapping in *text*, and the line (from 1) of each of its keys and list items; ``()`` is the mapping itself.

    Raises `ConfigError` with *file* and line for anything else. Values are not quoted in it.
    """
    try:
        return _Reader(YAML(typ="safe", pure=True).parse(text), file).document()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError("is not valid YAML: a control character", file=file, line=line) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What the parser cites is one character, or a tag handle, which may be part of a secret somebody did not quote.
        problem = re.sub(r"'[^']{4,}'", "something else", error.problem or error.context or "")
        raise ConfigError(f"is not valid YAML: {problem}", file=file, line=mark and mark.line + 1) from None
    except (YAMLError, ValueError, OverflowError):
        # Escapes such as "\UFFFFFFFF" escape the parser's own errors.
        raise ConfigError("is not valid YAML", file=file) from None


class _Reader:
    """Builds the content from the parser's events, so that nothing is built of what is refused."""

    def __init__(self, events: Iterator[Event], file: str) -> None:
        self._events, self._file = events, file
        self._lines: dict[Place, int] = {}

    def document(self) -> tuple[JSONObject, dict[Place, int]]:
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise ConfigError("is empty", file=self._file)
        if isinstance(start, DocumentStartEvent) and (start.version not in {None, (1, 2)} or start.tags):
            raise self._error(start, "directives are not supported; this is YAML 1.2")
        top = next(self._events)
        content = self._value(top, ())
        if content is None:
            raise ConfigError("is empty", file=self._file)
        if not isinstance(content, dict):
            raise self._error(top, "must be a mapping (key: value) at the top")
        self._lines[()] = top.start_mark.line + 1
        next(self._events)
        after = next(self._events)
        if not isinstance(after, StreamEndEvent):
            raise self._error(after, "holds a second document; write one file for each")
        return content, self._lines

    def _error(self, event: Event, message: str, place: Place = ()) -> ConfigError:
        return ConfigError(message, file=self._file, line=event.start_mark.line + 1, field=dotted(place) or None)

    def _value(self, event: Event, place: Place) -> JSON:
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor is not None):
            raise self._error(event, "anchors and aliases (& and *) are not supported; quote a value that begins so", place)
        if getattr(event, "tag", None) is not None:
            raise self._error(event, "tags (!) are not supported; quote a value that begins so", place)
        if len(place) >= DEEPEST and not isinstance(event, ScalarEvent):
            raise self._error(event, f"is nested more than {DEEPEST} levels deep")
        if isinstance(event, MappingStartEvent):
            return self._mapping(place)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, place)
        return self._sequence(place)  # the one kind of event left where a value stands

    def _mapping(self, place: Place) -> JSONObject:
        content: JSONObject = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._value(event, place) if isinstance(event, ScalarEvent | AliasEvent) else None
            if not isinstance(key, str):
                raise self._error(event, "a key must be text; put it in quotes", place)
            if key in content:
                raise self._error(event, "is written twice", (*place, key))
            self._lines[*place, key] = event.start_mark.line + 1
            content[key] = self._value(next(self._events), (*place, key))
        return content

    def _sequence(self, place: Place) -> list[JSON]:
        content: list[JSON] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            here = (*place, len(content))
            self._lines[here] = event.start_mark.line + 1
            content.append(self._value(event, here))
        return content

    def _scalar(self, event: ScalarEvent, place: Place) -> JSON:
        try:  # pairs of escapes, as JSON writers make them, are joined
            text = str(event.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._error(event, "holds half a surrogate pair, which is no character", place) from None
        if not event.implicit[0]:
            return text
        try:
            return _plain(text)
        except ValueError:
            raise self._error(event, "is a number out of range; put it in quotes if it is text", place) from None


_CONSTANTS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def _plain(text: str) -> JSON:
    """What an unquoted scalar means in the core schema. ``.inf`` and ``.nan`` are words: JSON knows no such numbers."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > LONGEST_NUMBER:
            raise ValueError
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    return text
