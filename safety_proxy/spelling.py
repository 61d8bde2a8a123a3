"""Words in disguise: letters set apart, digits and signs for letters, letters drawn out.

What ordinary text has of these - names of parts, versions, identifiers, addresses, initials - is left alone where it can be
told apart; where it cannot, the other reading is read for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from string import ascii_letters
from typing import Final

from safety_proxy.edits import Draft, Stage, substituted

_LETTER: Final = r"[^\W\d_]"
_APART: Final = re.compile(rf"(?<![^\W_]){_LETTER}(?P<joint>[ .\-_*·|/~+]){_LETTER}(?:(?P=joint){_LETTER})*(?![^\W_])")
"""Single letters with the same joint between."""
_GAP: Final = re.compile(r"\s{1,4}")
_LOOKED_AT: Final = 2_000
"""Words that are looked at to tell a habit."""
_FEWEST: Final = 4
"""Letters that must stand apart in one word; three may be initials."""

_LEET: Final = str.maketrans("013457@$!", "oieastasi")
_LOOSE: Final = str.maketrans("0134578@$!", "oieastbasi")
_TOKEN: Final = re.compile(r"""(?<![\w@$.:/=#%&\\+'"{-])[A-Za-z0-9@$!]{2,20}(?![\w@$:/=#%&\\+'"-]|\.\w)""")
_SIGN: Final = re.compile(r"[0-9@$!]")
_INNER: Final = re.compile(r"[A-Za-z][013457@$!]{1,4}(?=[A-Za-z])")
_LED: Final = re.compile(r"[@$][a-z]{2,4}")
"""@ss, and few names or variables."""
_SPELT_AS_WORDS: Final = re.compile(r"[A-Z]?[^A-Z]*|[^a-z]*")
_ORDINARY: Final = re.compile(r"[A-Za-z]\d+[A-Za-z]|.*[269].*|[0-9a-fA-F]{6,}|0x.*|[A-Za-z]{3,}@[A-Za-z]{3,}")
"""i18n and b2b; digits that stand for no letter; identifiers in hexadecimal; half an address."""
_LOOSELY_ORDINARY: Final = re.compile(r"\d{4,}|.*[269].*|0x.*")
_FEWEST_LETTERS: Final = 2
_MANY_DIGITS: Final = 5
_HABIT: Final = 2
"""So many words with digits or signs within, and the others are read alike: "4774ck 7h3 h4rb0ur 47 d4wn"."""

_TRIPLES: Final = tuple(3 * letter for letter in ascii_letters)
_DRAWN: Final = re.compile(rf"({_LETTER})\1\1")
_WORD: Final = re.compile(rf"(?<![\w+/=\\-]){_LETTER}{{4,60}}(?![\w+/=])")
_HEX: Final = re.compile(r"[uU]?[0-9a-fA-F]+")
_RUN: Final = re.compile(r"(.)\1{2,}")
_VARIETY: Final = 3
"""Different letters that a drawn-out word has; "hmmm", "www" and "III" have fewer."""
_DOUBLED: Final = frozenset("lsfzLSFZ")
"""Consonants that English words end in twice."""


def joined(text: str) -> tuple[str, Stage]:
    """With the words that letters set apart make; a wider gap, or another joint, parts them."""
    draft = Draft()
    end = 0
    for first, *rest in _groups(text):
        for match in (first, *rest):
            draft.keep(text[end : match.start()])
            letters = match[0][::2]
            draft.replace(letters, len(match[0]))
            end = match.end()
    if end == 0:
        return text, ()
    draft.keep(text[end:])
    return draft.finished()


def _groups(text: str) -> Iterator[list[re.Match[str]]]:
    """Words of letters apart that stand beside each other, if one of them is long enough to be meant."""
    group: list[re.Match[str]] = []
    for match in _APART.finditer(text):
        if group and not _GAP.fullmatch(text, group[-1].end(), match.start()):
            if _is_meant(group):
                yield group
            group = []
        group.append(match)
    if _is_meant(group):
        yield group


def _is_meant(group: list[re.Match[str]]) -> bool:
    return any(len(match[0]) >= 2 * _FEWEST - 1 for match in group)


def unleeted(text: str) -> tuple[str, Stage]:
    """With letters for the digits and signs in words that mix them; in a text full of such words, in all its words."""
    if _SIGN.search(text) is None:
        return text, ()
    tokens = [found[0] for found in islice(_TOKEN.finditer(text), _LOOKED_AT)]
    within = sum(_INNER.search(token) is not None for token in tokens)
    if within >= _HABIT and any(map(_is_leet, tokens)):
        return substituted(_TOKEN, _spelt_loosely, text)
    return substituted(_TOKEN, _spelt, text)


def _is_leet(token: str) -> bool:
    word = token.rstrip("!")
    letters, digits = sum(map(str.isalpha, word)), sum(map(str.isdigit, word))
    if letters == len(word) or letters < _FEWEST_LETTERS or digits > _MANY_DIGITS or _ORDINARY.fullmatch(word):
        return False
    if _SPELT_AS_WORDS.fullmatch(word) is None:
        return False
    return _INNER.search(word) is not None or _LED.fullmatch(word) is not None


def _spelt(found: re.Match[str]) -> str:
    return _translated(found[0], _LEET) if _is_leet(found[0]) else found[0]


def _spelt_loosely(found: re.Match[str]) -> str:
    return found[0] if _LOOSELY_ORDINARY.fullmatch(found[0]) else _translated(found[0], _LOOSE)


def _translated(token: str, table: dict[int, int]) -> str:
    word = token.rstrip("!")
    return word.replace("11", "ll").translate(table) + token[len(word) :]


def shortened(text: str) -> tuple[str, Stage]:
    """With drawn-out letters once, or twice where English has them twice."""
    # Of ASCII letters, looking for each of them is quicker than the pattern.
    if not any(run in text for run in _TRIPLES) and (text.isascii() or _DRAWN.search(text) is None):
        return text, ()
    words = sum(_is_drawn_out(found[0], _VARIETY) for found in islice(_WORD.finditer(text), _LOOKED_AT))
    variety = _VARIETY if words < _HABIT else _VARIETY - 1
    return substituted(_WORD, lambda found: _once(found[0]) if _is_drawn_out(found[0], variety) else found[0], text)


def _is_drawn_out(word: str, variety: int) -> bool:
    return (
        _RUN.search(word) is not None
        and len(set(word.lower())) >= variety
        and _SPELT_AS_WORDS.fullmatch(word) is not None
        and _HEX.fullmatch(word) is None
    )


def _once(word: str) -> str:
    return _RUN.sub(lambda run: run[1] * (2 if run[1] in _DOUBLED else 1), word)


STEPS: Final[tuple[Callable[[str], tuple[str, Stage]], ...]] = (joined, unleeted, shortened)
"""All of the above, in the order in which one uncovers the next."""
