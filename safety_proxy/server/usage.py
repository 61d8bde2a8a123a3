"""How many tokens: what a request will need, and what a backend says that it used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from safety_proxy.dialects.base import CompletionRequest
from safety_proxy.errors import BackendError
from safety_proxy.jsontext import as_object, parse_lenient
from safety_proxy.model import JSON
from safety_proxy.sse import SSEDecoder

MAX_TOKENS: Final = 16
"""Tokens that a choice is counted for when a request does not say: the default of Azure's serverless API."""
_MOST: Final = 2**40
"""A number beyond it is somebody's mistake."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request used."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        """Of both."""
        return self.prompt + self.completion


def estimate_tokens(asked: CompletionRequest) -> int:
    """What a request is counted for at arrival: ceil(characters / 4) + max_tokens for each choice."""
    limits = (_number(asked.body.get(name)) for name in ("max_completion_tokens", "max_tokens"))
    longest = next((limit for limit in limits if limit is not None), MAX_TOKENS)
    return of_characters(prompt_length(asked)) + longest * asked.prompt.choices


def prompt_length(asked: CompletionRequest) -> int:
    """Characters of a request's texts."""
    return sum(len(text.query.text) for text in asked.prompt.texts)


def of_characters(characters: int) -> int:
    """Tokens that a text is taken for: a quarter of its characters, rounded up."""
    return -(-characters // 4)


def read_usage(told: JSON) -> Usage | None:
    """A backend's ``usage``. None if it says nothing that can be counted."""
    fields = as_object(told)
    prompt, completion, total = (_number(fields.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if total is None and prompt is None and completion is None:
        return None
    if prompt is None:
        prompt = max(0, (total or 0) - (completion or 0))
    if completion is None:
        completion = max(0, (total or 0) - prompt)
    return Usage(prompt, completion)


def _number(value: JSON) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


class UsageReader:
    """Finds the usage in an answer whose bytes nobody else reads: an event stream, or a whole one.

    Nothing is found in a whole answer, or behind an event of a stream, of more than *limit* bytes.
    """

    def __init__(self, limit: int, *, stream: bool) -> None:
        self._decoder = SSEDecoder(limit) if stream else None
        self._pieces: list[bytes] = []
        self._room = limit
        self._found: JSON = None

    def feed(self, data: bytes) -> None:
        """More of the answer. Never raises."""
        if self._decoder is None:
            self._room -= len(data)
            if self._room >= 0:
                self._pieces.append(data)
            return
        try:
            events = self._decoder.feed(data)
        except BackendError:
            return
        for event in events:
            if b'"usage"' in event.data:
                self._found = _usage_in(event.data) or self._found

    @property
    def usage(self) -> JSON:
        """What was found; None if nothing was."""
        if self._decoder is not None:
            return self._found
        return _usage_in(b"".join(self._pieces)) if self._room >= 0 else None


def _usage_in(document: bytes) -> JSON:
    try:
        return as_object(parse_lenient(document)).get("usage")
    except ValueError:
        return None
