"""JSON as it comes from outside: read strictly from clients, leniently from backends, and walked for its strings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

import orjson

from safety_proxy.model import JSON, JSONObject

MAX_DEPTH: Final = 100
"""Deepest nesting taken. orjson writes 254 levels at most, and a recursive walk must stay inside Python's own limit."""

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([\"\\/bfnrt]))")
_LETTERS: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def parse(data: bytes) -> JSON:
    """Read one JSON value as RFC 8259 has it.

    Raises ValueError, without any of the text, for invalid UTF-8, a byte order mark, lone surrogates, NaN and Infinity,
    and nesting deeper than `MAX_DEPTH`. Of duplicate keys the last counts: what is moderated is what is sent on.
    """
    try:
        value: JSON = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not valid JSON at line {error.lineno}, column {error.colno}") from None
    _limit_depth(data, value)
    return value


def parse_lenient(data: bytes) -> JSON:
    """Read one JSON value of a backend: bytes that are no UTF-8 and lone surrogates become U+FFFD.

    Models cut characters in two, and the halves come in two events; that must not end a stream. Raises ValueError.
    """
    try:
        value: JSON = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(data.decode("utf-8-sig", "replace"))
            value = orjson.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False, allow_nan=False)))
        except (ValueError, RecursionError):
            raise ValueError("not valid JSON") from None
    _limit_depth(data, value)
    return value


def _limit_depth(data: bytes, value: JSON) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level: list[JSON] = [value]
    for _ in range(MAX_DEPTH):
        inner = [e for v in level for e in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())]
        level = [e for e in inner if isinstance(e, dict | list)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def strings(value: JSON) -> Iterator[str]:
    """Every string of a JSON value, keys included, in document order. Linear in the value, however deep it is."""
    opened: list[Iterator[JSON]] = [iter((value,))]
    while opened:
        for element in opened[-1]:
            if isinstance(element, str):
                yield element
            elif isinstance(element, list):
                opened.append(iter(element))
                break
            elif isinstance(element, dict):
                opened.append(chain.from_iterable(element.items()))
                break
        else:
            opened.pop()


def unescape(text: str) -> str:
    r"""*text* with the escapes of JSON's strings replaced by what they stand for: ``\u006b`` becomes ``k``.

    Meant for JSON inside a string, such as a tool's arguments; works as well where it is cut off or broken, and sees the
    values that a parser drops because a later one has the same key. Halves of surrogate pairs that stand alone become
    U+FFFD.
    """
    if "\\" not in text:
        return text
    units = _ESCAPE.sub(_escaped, text).encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "replace")


def _escaped(match: re.Match[str]) -> str:
    digits, letter = match.groups()
    return _LETTERS[letter] if digits is None else chr(int(digits, 16))


def as_object(value: JSON) -> JSONObject:
    """*value* if it is an object, else an empty one: for fields that backends leave out, or set to null."""
    return value if isinstance(value, dict) else {}


def write(value: JSON) -> bytes:
    """One line of UTF-8 without blanks."""
    return orjson.dumps(value)
