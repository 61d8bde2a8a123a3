"""A verdict as it lies in a store that others can write to, too: compact JSON, read strictly.

::

    {"v": 1, "k": "9f86d0...", "s": {"violence": 4}, "d": {"jailbreak": false}, "b": {"names": true},
     "p": [[0, 5, "violence", 1.0]], "x": {"toxicity": 0.7}}

``v`` is the version, ``k`` the beginning of the key (an answer that was meant for another question is found out by it), then
come severities, detections, blocklists, spans and scores. Failures have no place in it: they are never kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import orjson

from safety_proxy.model import HARMS, Category, Span, Verdict

_VERSION: Final = 1
_FIELDS: Final = {"v", "k", "s", "d", "b", "p", "x"}
_SEVERITIES: Final = range(8)
_KEY: Final = 16
"""Bytes of a key that are written along."""

_N = TypeVar("_N", bound=str)
_T = TypeVar("_T")


class _OddError(ValueError):
    """It is not what `write` makes."""


def write(key: bytes, verdict: Verdict) -> bytes | None:
    """*verdict*, which is kept under *key*, as JSON; None if it has failures or cannot be written without loss."""
    document = {
        "v": _VERSION,
        "k": key[:_KEY].hex(),
        "s": {category.value: severity for category, severity in verdict.severities.items()},
        "d": {category.value: found for category, found in verdict.detections.items()},
        "b": dict(verdict.blocklists),
        "p": [[span.start, span.end, str(span.label), float(span.weight)] for span in verdict.spans],
        "x": {name: float(score) for name, score in verdict.scores.items()},
    }
    try:
        data = orjson.dumps(document)
    except orjson.JSONEncodeError:  # a name with a lone surrogate
        return None
    return data if read(key, data) == verdict else None


def read(key: bytes, data: bytes) -> Verdict | None:
    """The verdict that was written under *key* as *data*; None if that is not what `write` makes. Never raises."""
    try:
        return _verdict(key[:_KEY].hex(), orjson.loads(data))
    except (orjson.JSONDecodeError, _OddError):
        return None


def _verdict(key: str, document: object) -> Verdict:
    if not isinstance(document, dict) or document.keys() != _FIELDS:
        raise _OddError
    if type(document["v"]) is not int or document["v"] != _VERSION or document["k"] != key:
        raise _OddError
    spans = document["p"]
    if not isinstance(spans, list):
        raise _OddError
    return Verdict(
        severities=_table(document["s"], _harm, _severity),
        detections=_table(document["d"], _other, _truth),
        blocklists=_table(document["b"], str, _truth),
        spans=tuple(map(_span, spans)),
        scores=_table(document["x"], str, _score),
    )


def _table(value: object, name_of: Callable[[str], _N], value_of: Callable[[object], _T]) -> dict[_N, _T]:
    if not isinstance(value, dict):
        raise _OddError
    return {name_of(name): value_of(each) for name, each in value.items()}


def _category(name: str) -> Category:
    try:
        return Category(name)
    except ValueError:
        raise _OddError from None


def _harm(name: str) -> Category:
    category = _category(name)
    if category not in HARMS:
        raise _OddError
    return category


def _other(name: str) -> Category:
    category = _category(name)
    if category in HARMS:
        raise _OddError
    return category


def _severity(value: object) -> int:
    if type(value) is not int or value not in _SEVERITIES:
        raise _OddError
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _OddError
    return value


def _score(value: object) -> float:
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise _OddError
    return value


def _span(value: object) -> Span:
    match value:
        case [int(start), int(end), str(label), float(weight)] if 0 <= start <= end:
            if type(start) is int and type(end) is int:
                return Span(start, end, label, weight)
    raise _OddError
