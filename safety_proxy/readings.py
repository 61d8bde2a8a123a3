"""How else a text may be read: by people who see through a disguise, and by models that decode what they are given.

`readings` gives the texts that have to be judged beside the text itself. They are few and no longer than the text allows:

1. *plain*: letters as they are, without what hides or replaces them (`safety_proxy.lettering`);
2. *spelled*: words as they are meant (`safety_proxy.spelling`);
3. *decoded*: payloads in place of their codes (`safety_proxy.payloads`), up to three deep, then read as 1 and 2;
4. *rotated*: ROT13; 5. *reversed*: from its end - where words of English come out that were none before.

Each costs a call of every classifier, so ordinary text must have none. What they are depends on the text and on its edges
alone, and takes linear time.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from safety_proxy import lettering, payloads, spelling
from safety_proxy.edits import Stage, origin

MOST: Final = 5
"""Readings of a text."""
GROWTH: Final = 3
"""No reading has more than so many times the characters of its text."""
_DEEP: Final = 3

_WORDS: Final = re.compile(r"(?<![\w+/=.-])[a-z]{3,12}(?![\w+/=])")
_COMMON: Final = frozenset(
    """
    about after again all also and another any anyone are around attack away back bad because been before being best better
    blood body bomb both boy break bring build building burn but call can child children city come could country day dead death
    destroy did die does down drug each easy else end enemy even every everyone everything explosive family father feel fight
    find fire first for force friend from fuck get girl give going good great group gun had hand hang hard harm has hate have
    head help her here hide high him his home hope house how human hurt idea into its jew just keep kill killed killer kids
    kind knife know land last late learn leave left let life like line little live long look lost love made make making man
    many may mean meet men might mind money more most mother much murder must muslim name need never new night not nothing now
    nude off old once one only open order other our out over own pain part people person place plan play poison police power
    prison problem public put question rape read ready real really right room run same save say school secret see seem self
    send sex she shoot should show shut side sleep some someone something soon start state steal step still stop story street
    stupid such suicide sure system take talk teach tell than that the their them then there these they thing think this those
    thought three through time today together told tonight too top towards town try two under until use used very violence
    virus wait want war was watch water way weapon week well went were what when where which while white who whole why will
    wish with without woman women word work world would write wrong year yes you young your yourself
    """.split()  # noqa: SIM905 - a list of words is read more easily so
)
"""Common words of English, and some that harm is told with."""
_ENOUGH: Final = 2
"""Different words that must come out; one may be chance."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One other way to read a text."""

    text: str
    open_left: bool
    """It goes on before its first character."""
    open_right: bool
    """It goes on after its last character."""
    _stages: tuple[Stage, ...] = field(repr=False)
    _mirror: int | None = field(default=None, repr=False)
    """Length of the text, if it is read from its end."""

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from *start* to *end* (half-open, not empty) of the reading stand in the text.

        What was decoded together has its origin together.
        """
        if self._mirror is not None:
            return self._mirror - end, self._mirror - start
        return origin(self._stages, start, end)


def readings(text: str, *, open_left: bool = False, open_right: bool = False) -> tuple[Reading, ...]:
    """The readings of *text* beside itself: at most `MOST`, all different, each at most `GROWTH` times as long.

    The edges say whether the text goes on beyond them. Never raises.
    """
    found: dict[str, Reading] = {}
    for other, stages in _unfolded(text, open_left):
        if other != text and other and len(other) <= GROWTH * len(text):
            found.setdefault(other, Reading(other, open_left, open_right, stages))
    words = set(_WORDS.findall(text.lower()))
    if len((words & _rotated_words()) - _COMMON) >= _ENOUGH:
        other = codecs.encode(text, "rot13")
        found.setdefault(other, Reading(other, open_left, open_right, ()))
    if len((words & _reversed_words()) - _COMMON) >= _ENOUGH:
        other = text[::-1]
        found.setdefault(other, Reading(other, open_right, open_left, (), len(text)))
    found.pop(text, None)
    return tuple(found.values())[:MOST]


def _unfolded(text: str, open_left: bool) -> Iterator[tuple[str, tuple[Stage, ...]]]:
    """The plain, the spelled and the decoded reading, as far as each adds something."""
    plain, stages = _plain(text, ())
    if stages:
        yield plain, stages
    spelled, spelt = _spelled(plain, stages)
    if spelt != stages:
        yield spelled, spelt
    decoded, unpacked = text, tuple[Stage, ...]()
    for _ in range(_DEEP):
        before = unpacked
        for step in payloads.STEPS:
            decoded, stage = step(decoded, open_left)
            unpacked += (stage,) if stage else ()
        if unpacked == before:
            break
    if unpacked:
        decoded, unpacked = _plain(decoded, unpacked)
        yield _spelled(decoded, unpacked)


def _plain(text: str, stages: tuple[Stage, ...]) -> tuple[str, tuple[Stage, ...]]:
    for step in (*(() if text.isascii() else lettering.STEPS), lettering.decoded):
        text, stage = step(text)
        stages += (stage,) if stage else ()
    return text, stages


def _spelled(text: str, stages: tuple[Stage, ...]) -> tuple[str, tuple[Stage, ...]]:
    for step in spelling.STEPS:
        text, stage = step(text)
        stages += (stage,) if stage else ()
    return text, stages


@lru_cache(maxsize=1)
def _rotated_words() -> frozenset[str]:
    return frozenset(codecs.encode(word, "rot13") for word in _COMMON)


@lru_cache(maxsize=1)
def _reversed_words() -> frozenset[str]:
    return frozenset(word[::-1] for word in _COMMON)
