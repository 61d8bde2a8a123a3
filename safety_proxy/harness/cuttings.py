"""A completion as the stream of a model, cut in many ways: what a policy decides must not depend on any of them.

Each `Cutting` is the bytes of one stream, in the pieces that a connection brings. Pure: the same seed gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias

from safety_proxy.dialects.base import Dialect
from safety_proxy.jsontext import as_object, write
from safety_proxy.model import JSON, JSONObject
from safety_proxy.sse import DONE, encode

Pieces: TypeAlias = Callable[[str, Random], list[str]]
"""Cuts a text; the pieces laid end to end are the text."""

_CALLS: Final = "tool_calls"
_TOGETHER: Final = 8
"""Events that one read brings, where cutting is not hostile."""
_MOST: Final = 12
"""Longest piece of a hostile cutting, in characters."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """One stream."""

    name: str
    """How it was cut, with the seed where that matters."""
    reads: tuple[bytes, ...]


def _characters(text: str, _random: Random) -> list[str]:
    return list(text)


def _tokens(text: str, _random: Random) -> list[str]:
    """About as models do: short words whole, longer ones in parts, each with the blank before it."""
    return re.findall(r"\s?\S{1,5}|\s", text)


def _lines(text: str, _random: Random) -> list[str]:
    return text.splitlines(keepends=True)


def _whole(text: str, _random: Random) -> list[str]:
    return [text]


def _hostile(text: str, random: Random) -> list[str]:
    """Pieces of any length, empty ones among them."""
    pieces: list[str] = []
    start = 0
    while start < len(text):
        length = random.choice((0, 1, 1, 2, 3, random.randint(4, _MOST)))
        pieces.append(text[start : start + length])
        start += length
    return pieces


KINDS: Final[Mapping[str, Pieces]] = MappingProxyType(
    {"characters": _characters, "tokens": _tokens, "lines": _lines, "whole": _whole, "hostile": _hostile}
)
"""The ways of cutting, in the order in which they are tried."""


def cuttings(dialect: Dialect, said: Sequence[JSON], *, count: int, seed: int = 0) -> Iterator[Cutting]:
    """*count* streams of the choices *said* (strings or messages): each kind once, then hostile ones of other seeds."""
    names = list(KINDS)
    for number in range(count):
        name = names[number] if number < len(names) else "hostile"
        random = Random(f"{seed}:{number}")  # noqa: S311 - the same streams for the same seed are the point
        choices = [_events(dialect, index, each, KINDS[name], random) for index, each in enumerate(said)]
        if name == "hostile":
            yield Cutting(f"hostile {seed}:{number}", tuple(_shattered(_mixed(choices, random), random)))
        else:
            turns = [event for turn in zip_longest(*choices) for event in turn if event is not None]
            events = [*map(encode, map(write, turns)), encode(DONE)]
            # So many come with one read as they do from a quick model; a task for each would take most of the time.
            yield Cutting(name, tuple(b"".join(events[i : i + _TOGETHER]) for i in range(0, len(events), _TOGETHER)))


# -------------------------------------------------------------------------------------------------------------- events


def _events(dialect: Dialect, index: int, said: JSON, pieces: Pieces, random: Random) -> list[JSONObject]:
    """The events of one choice, the last of them with its end."""
    key = dialect.delta_key
    deltas: list[JSON] = []
    if isinstance(said, dict):
        deltas += _deltas(said, pieces, random)
    elif key == "text":
        deltas += pieces(str(said), random)
    else:
        deltas.append({"role": "assistant"})
        deltas += [{"content": piece} for piece in pieces(str(said), random)]
    last: JSON = "" if key == "text" else {}
    ends = [*((delta, None) for delta in deltas), (last, "stop")]
    return [_event(dialect, {"index": index, key: delta, "finish_reason": finish}) for delta, finish in ends]


def _deltas(message: JSONObject, pieces: Pieces, random: Random) -> Iterator[JSONObject]:
    """A message in pieces: first what is no text, then each text, then its calls."""
    texts = {key: value for key, value in message.items() if isinstance(value, str) and key != "role"}
    calls = message.get(_CALLS)
    rest = {
        key: value for key, value in message.items() if key not in texts and not (key == _CALLS and isinstance(calls, list))
    }
    yield {"role": "assistant", **rest}
    for key, text in texts.items():
        for piece in pieces(text, random):
            yield {key: piece}
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        fields = as_object(call)
        function = as_object(fields.get("function"))
        arguments = function.get("arguments")
        opening: JSONObject = {**fields, "index": index}
        if function:
            opening["function"] = {**function, **({"arguments": ""} if isinstance(arguments, str) else {})}
        yield {_CALLS: [opening]}
        for piece in pieces(arguments, random) if isinstance(arguments, str) else ():
            yield {_CALLS: [{"index": index, "function": {"arguments": piece}}]}


def _event(dialect: Dialect, choice: JSONObject) -> JSONObject:
    envelope: JSONObject = {"id": "case", "object": dialect.stream_object, "created": 0, "model": "case"}
    return {**envelope, "choices": [choice]}


# -------------------------------------------------------------------------------------------------------------- hostile


def _mixed(choices: Sequence[Sequence[JSONObject]], random: Random) -> Iterator[JSONObject]:
    """The events of all choices in any order, each choice's own in order."""
    waiting = [list(reversed(each)) for each in choices]
    while left := [each for each in waiting if each]:
        yield random.choice(left).pop()


def _shattered(events: Iterator[JSONObject], random: Random) -> Iterator[bytes]:
    """The bytes cut anywhere, within characters and line ends too; some lines end in CRLF."""
    sent = b"".join((*(_line_ends(encode(write(event)), random) for event in events), encode(DONE)))
    start = 0
    while start < len(sent):
        length = random.choice((1, 2, 3, random.randint(4, 64), random.randint(64, 512)))
        yield sent[start : start + length]
        start += length


def _line_ends(event: bytes, random: Random) -> bytes:
    return event.replace(b"\n", b"\r\n") if random.random() < 1 / 4 else event
