"""Logprobs: tokens that repeat the text of their event, and tokens that the model did not choose.

There are two shapes, lists of entries (OpenAI's chat completions) and parallel arrays (its older text completions, and
the serverless Llama API also in chat); both are read at either endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from safety_proxy.dialects.reading import Reading
from safety_proxy.model import JSON

_TOKEN_ID: Final = re.compile(r"token_id:\d+")
"""How vLLM writes a token of which the client wants to know the number only (``return_tokens_as_token_ids``)."""
_BYTES: Final = frozenset(range(256))


def read_logprobs(reading: Reading, logprobs: JSON) -> None:
    """Compare the tokens with the text that *reading* has; collect the alternatives."""
    if not isinstance(logprobs, dict):
        reading.unknown(logprobs)
        return
    for key, value in logprobs.items():
        if key in {"content", "refusal"} and isinstance(value, list):
            _read_entries(reading, value)
        elif key == "tokens" and isinstance(value, list):
            reading.echo("logprobs", "".join(token for token in value if isinstance(token, str)), beside=True)
            reading.unknown([token for token in value if not isinstance(token, str)])
        elif key == "top_logprobs" and isinstance(value, list):
            _read_maps(reading, value, logprobs.get("tokens"))
        else:
            reading.other(key, value)


def _read_entries(reading: Reading, entries: Sequence[JSON]) -> None:
    """``content`` and ``refusal``: objects with ``token``, ``bytes`` and ``top_logprobs``."""
    tokens: list[str] = []
    raw: list[bytes] = []
    for entry in entries:
        if not isinstance(entry, dict):
            reading.unknown(entry)
            continue
        token = entry.get("token")
        number = token if isinstance(token, str) and _TOKEN_ID.fullmatch(token) else None
        for key, value in entry.items():
            if key == "token" and isinstance(value, str):
                tokens += [] if number else [value]
            elif key == "bytes" and isinstance(value, list):
                read = _read_bytes(reading, value)
                raw += [] if number and read == number.encode() else [read]
            elif key == "top_logprobs" and isinstance(value, list):
                _read_alternatives(reading, value, token)
            else:
                reading.other(key, value)
    reading.echo("logprobs", "".join(tokens), beside=True)
    reading.echo("logprobs.bytes", b"".join(raw), beside=True)


def _read_alternatives(reading: Reading, entries: Iterable[JSON], chosen: JSON) -> None:
    """What else one token could have been: entries of the same shape."""
    for entry in entries:
        if not isinstance(entry, dict):
            reading.unknown(entry)
            continue
        text = entry.get("token")
        for key, value in entry.items():
            if key == "token" and isinstance(value, str):
                if value not in (chosen, "") and not _TOKEN_ID.fullmatch(value):
                    reading.alternatives.append(value)
            elif key == "bytes" and isinstance(value, list):
                raw = _read_bytes(reading, value).decode("utf-8", "replace")
                if raw not in (text, chosen, ""):
                    reading.alternatives.append(raw)
            else:
                reading.other(key, value)


def _read_maps(reading: Reading, maps: Iterable[JSON], tokens: JSON) -> None:
    """The same for parallel arrays: objects that map tokens to numbers. Null with ``echo``, for the first token."""
    chosen = {token for token in tokens if isinstance(token, str)} if isinstance(tokens, list) else set()
    for alternatives in maps:
        if isinstance(alternatives, dict):
            reading.alternatives += [token for token in alternatives if token not in chosen]
            reading.unknown(list(alternatives.values()))
        else:
            reading.unknown(alternatives)


def _read_bytes(reading: Reading, values: Sequence[JSON]) -> bytes:
    """A ``bytes`` array. 107.0 counts as a byte, as it does in JavaScript; other numbers cannot be read by anybody."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        reading.unknown([value for value in values if not isinstance(value, int | float)])
    return bytes(int(number) for number in numbers if number in _BYTES)
