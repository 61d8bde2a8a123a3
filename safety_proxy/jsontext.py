"""JSON as it comes from outside: read strictly from clients, leniently from backends, and walked for its strings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import orjson

from safety_proxy.model import JSON, JSONObject

MAX_DEPTH: Final = 100
"""Deepest nesting taken. orjson writes 254 levels at most, and a recursive walk must stay inside Python's own limit."""

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
            value = json.loads(data.decode("utf-8-sig", "replace"), parse_constant=_refuse, parse_int=_to_number)
            value = orjson.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False, allow_nan=False)))
        except (ValueError, RecursionError):
            raise ValueError("not valid JSON") from None
    _limit_depth(data, value)
    return value


def _refuse(_constant: str) -> float:
    raise ValueError("NaN and Infinity are no JSON")


def _to_number(digits: str) -> int | float:
    """Digits as orjson reads them: integers of more than 64 bits become floats."""
    return int(digits) if len(digits) < 19 else float(digits)  # noqa: PLR2004 - 10**18 fits into 64 bits


def _limit_depth(data: bytes, value: JSON) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level: list[JSON] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [e for v in level for e in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def strings(value: JSON) -> Iterator[str]:
    """Every string of a JSON value, keys included, in document order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from strings(element)
    elif isinstance(value, dict):
        for key, element in value.items():
            yield key
            yield from strings(element)


def as_object(value: JSON) -> JSONObject:
    """*value* if it is an object, else an empty one: for fields that backends leave out, or set to null."""
    return value if isinstance(value, dict) else {}


def write(value: JSON) -> bytes:
    """One line of UTF-8 without blanks."""
    return orjson.dumps(value)
