"""How else a text may be read: by people who see through a disguise, and by models that decode what they are given.

`readings` gives the texts that have to be judged beside the text itself:

1. *plain*: letters as they are, without what hides or replaces them (`safety_proxy.lettering`, `safety_proxy.escapes`);
2. *spelled*: words as they are meant (`safety_proxy.spelling`);
3. *decoded*: payloads in place of their codes (`safety_proxy.payloads`), up to three deep, then read as 1 and 2;
4. *rotated*, ROT13, and 5. *reversed*, from its end: where words of English come out that were none (`safety_proxy.words`).

Each costs a call of every classifier, so ordinary text must have none. What they are depends on the text and on its edges
alone, and takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from safety_proxy import escapes, lettering, payloads, spelling, words
from safety_proxy.edits import Edges, Stage, origin

MOST: Final = 5
"""Readings of a text."""
GROWTH: Final = 1
"""No reading has more than so many times the characters of its text; so all together have at most five times as many."""
_SIGN: Final = re.compile(r"[0-9@$!]")
"""What most prose has none of, but leet and digits of bytes have."""
_DEEP: Final = 3
"""Codes within codes that are decoded."""

_Told = TypeVar("_Told")


class _Made(NamedTuple):
    """A text, and how it was made of the one that was sent."""

    text: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One other way to read a text."""

    text: str
    open_left: bool
    """It goes on before its first character."""
    open_right: bool
    """It goes on after its last character."""
    _stages: tuple[Stage, ...] = field(repr=False)
    _is_reversed: bool = field(default=False, repr=False)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from *start* to *end* (half-open, not empty) of the reading stand in the text.

        What was decoded together has its origin together.
        """
        if self._is_reversed:
            start, end = len(self.text) - end, len(self.text) - start
        return origin(self._stages, start, end)


def readings(text: str, *, open_left: bool = False, open_right: bool = False) -> tuple[Reading, ...]:
    """The readings of *text* beside itself: at most `MOST`, all different, each at most `GROWTH` times as long.

    Mostly there is none. The edges say whether the text goes on beyond them. Any string will do: never raises.
    """
    parts = text.split()
    if _is_ordinary(text, parts):
        return ()
    found: dict[str, Reading] = {}
    for reading in _all(text, Edges(open_left, open_right)):
        if reading.text != text and 0 < len(reading.text) <= GROWTH * len(text):
            found.setdefault(reading.text, reading)
    return tuple(found.values())


def _is_ordinary(text: str, parts: list[str]) -> bool:
    """Whether *text*, which blanks part into *parts*, has no other reading for sure. Much quicker than to look for them."""
    return not (
        lettering.may_be_disguised(text)
        or escapes.may_hold_any(text)
        or (_SIGN.search(text) is not None and (spelling.may_be_leet(text) or payloads.may_hold_digits(text)))
        or spelling.may_be_apart(text, list(map(len, parts)))
        or spelling.may_be_drawn_out(text)
        or payloads.may_hold_base64(text, parts)
        or words.may_be_cipher(parts)
    )


def _all(text: str, edges: Edges) -> Iterator[Reading]:
    """The readings in order; some may be the same as others, or as the text."""
    plain = _plain(_Made(text, ()), edges)
    yield Reading(plain.text, *edges, plain.stages)
    spelled = _taken(spelling.STEPS, plain, edges)
    yield Reading(spelled.text, *edges, spelled.stages)
    decoded = plain
    for _ in range(_DEEP):
        before = decoded
        decoded = _taken(payloads.STEPS, before, edges.left)
        if decoded == before:
            break
    if decoded != plain:
        decoded = _taken(spelling.STEPS, _plain(decoded, edges), edges)
        yield Reading(decoded.text, *edges, decoded.stages)
    if words.may_be_cipher(plain.text.split()):
        if words.is_rotated(plain.text):
            yield Reading(words.rotated(plain.text), *edges, plain.stages)
        if words.is_reversed(plain.text):
            yield Reading(plain.text[::-1], edges.right, edges.left, plain.stages, _is_reversed=True)


def _plain(made: _Made, edges: Edges) -> _Made:
    if lettering.may_be_disguised(made.text):
        made = _taken(lettering.STEPS, made, edges)
    return _taken((escapes.decoded,), made, edges) if escapes.may_hold_any(made.text) else made


def _taken(steps: Iterable[Callable[[str, _Told], tuple[str, Stage]]], made: _Made, told: _Told) -> _Made:
    """What all *steps* make of it, which are *told* of the edges."""
    text, stages = made
    for step in steps:
        text, stage = step(text, told)
        stages += (stage,) if stage else ()
    return _Made(text, stages)
