"""From a text to hashed n-grams: the one path that training, evaluation and run time share.

`prepare` brings a text into the form that is looked at, `ngrams` names the bucket of every character and word n-gram
of it. Both are pure and linear in the length of the text; neither raises, whatever the text holds (lone surrogates,
astral characters, nothing at all). What they do is part of the model's format: a change needs a new format version.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Buckets: TypeAlias = "npt.NDArray[np.intp]"
"""Bucket numbers, below ``2 ** Recipe.bits``."""
Positions: TypeAlias = "npt.NDArray[np.intp]"
"""Positions in a prepared text, in code points."""
_Hashes: TypeAlias = "npt.NDArray[np.uint64]"

_BLOCK: Final = 512
"""Characters normalised at once: CPython sorts runs of combining marks in quadratic time, so runs are kept short."""
_WORD: Final = 40
"""Longest run of word characters that counts as a word cut in two at an open edge."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]+")
_REPEATS: Final = re.compile(r"(.)\1{2,}", re.DOTALL)
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]+"
)
_LEET: Final = str.maketrans("0134578@$!", "oieasbaasi")
# Both begin with what is rare, so that most of a text is passed over quickly.
_LEET_RUN: Final = re.compile(r"[0134578@$!](?<=[a-z][0134578@$!])[0134578@$!]*(?=[a-z])")
_SPACED_OUT: Final = re.compile(r"[ .\-_*](?:[a-z][ .\-_*]){3,}[a-z](?![^\W_])")
_CUT_LEFT: Final = re.compile(rf"\w{{1,{_WORD}}}(?!\w)")
_CUT_RIGHT: Final = re.compile(rf"(?<!\w)\w{{1,{_WORD}}}\Z")
_PIECES: Final = re.compile(rf"\S{{1,{_WORD}}}")

_FEW: Final = 1_000
"""Fewer buckets are sorted to find the distinct ones; for more, a table of all of them is quicker."""

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_FINALISER: Final = np.uint64(0xD6E8FEB86659FD93)
_HALF: Final = np.uint64(32)

_PUNCTUATION: Final = ((0x80, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2000, 0x2BFF), (0x3000, 0x303F), (0x1F000, 0x1FAFF))
"""Ranges beyond ASCII that part words: Latin-1 signs, general punctuation to arrows, CJK punctuation, emoji."""


def _word_table() -> npt.NDArray[np.bool_]:
    table = np.ones(0x20000, np.bool_)
    table[:0x80] = [chr(c).isalnum() or c == ord("'") for c in range(0x80)]
    for first, last in _PUNCTUATION:
        table[first : last + 1] = False
    return table


_IS_WORD: Final = _word_table()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a prepared text becomes buckets; kept in the model's metadata."""

    bits: int = 18
    """There are ``2 ** bits`` buckets."""
    chars: tuple[int, int] = (3, 5)
    """Shortest and longest character n-gram."""
    words: tuple[int, int] = (1, 3)
    """Shortest and longest word n-gram."""
    seed: int = 20240917


class Ngrams(NamedTuple):
    """All n-grams of one length: their buckets and where they lie, ordered by position."""

    buckets: Buckets
    starts: Positions
    ends: Positions


def prepare(text: str, *, open_left: bool = False, open_right: bool = False) -> str:
    """The form of *text* that is looked at, with a blank at either end; a single blank if nothing is left.

    NFKC, lower case, invisible characters removed, runs of blanks and control characters made one blank, three and
    more equal characters made two, digits and signs between letters made the letters they stand for, letters that
    stand apart (four and more) made a word. At an open edge a word that touches the edge is dropped: half of it may be
    missing (the first half of a harmless word can be a harmful one), and the next window shows it whole.
    """
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", text[i : i + _BLOCK]) for i in range(0, len(text), _BLOCK))
        text = _INVISIBLE.sub("", text)
    text = _CONTROLS.sub(" ", text.lower())
    cut_left, cut_right = open_left and not text[:1].isspace(), open_right and not text[-1:].isspace()
    text = " ".join(text.split())
    if _repeats(text):
        text = _REPEATS.sub(r"\1\1", text)
    text = _LEET_RUN.sub(lambda match: match[0].translate(_LEET), text)
    if cut_left:
        match = _CUT_LEFT.match(text)
        text = text[match.end() :].lstrip() if match else text
    if cut_right:
        text = (text[: -_WORD - 1] + _CUT_RIGHT.sub("", text[-_WORD - 1 :])).rstrip()
    return _SPACED_OUT.sub(lambda match: match[0][0] + match[0][1::2], f" {text} ") if text else " "


def _points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _repeats(text: str) -> bool:
    """Whether a character stands three times in a row; much quicker than to look for it with an expression."""
    points = _points(text)
    same = points[1:] == points[:-1]
    return bool((same[1:] & same[:-1]).any())


class Piece(NamedTuple):
    """A word of the query's own text (at most 40 characters of it) and its place in the prepared text."""

    start: int
    end: int
    prepared_start: int
    prepared_end: int


def align(text: str) -> tuple[str, list[Piece]]:
    """The prepared form of *text*, put together word by word, and where each word went.

    Equal to ``prepare(text)`` but for characters that normalisation joins across a blank or a cut word.
    """
    pieces: list[Piece] = []
    parts, at = [" "], 1
    for match in _PIECES.finditer(text):
        prepared = prepare(match[0]).strip()
        if not prepared:
            continue
        glued = pieces and pieces[-1].end == match.start()
        if not glued and pieces:
            parts.append(" ")
            at += 1
        pieces.append(Piece(match.start(), match.end(), at, at + len(prepared)))
        parts.append(prepared)
        at += len(prepared)
    return "".join(parts) + (" " if pieces else ""), pieces


def _buckets(hashes: _Hashes, recipe: Recipe, family: int) -> Buckets:
    """Mix *hashes* and keep the upper bits; each *family* of n-grams has a seed of its own."""
    seed = np.uint64((recipe.seed * 1_000_003 + family * 0x2545F4914F6CDD1D) % 2**64)
    mixed = (hashes ^ seed) * _FINALISER
    mixed ^= mixed >> _HALF
    mixed *= _FINALISER
    return (mixed >> np.uint64(64 - recipe.bits)).astype(np.intp)


def _char_ngrams(points: _Hashes, recipe: Recipe) -> list[Ngrams]:
    families = []
    rolling = points
    lowest, highest = recipe.chars
    for width in range(2, highest + 1):
        if width > len(points):
            break
        rolling = rolling[:-1] * _MULTIPLIER + points[width - 1 :]
        if width >= lowest:
            starts = np.arange(len(rolling), dtype=np.intp)
            families.append(Ngrams(_buckets(rolling, recipe, width), starts, starts + width))
    return families


def _word_ngrams(points: _Hashes, recipe: Recipe) -> list[Ngrams]:
    is_word = _IS_WORD[np.minimum(points, len(_IS_WORD) - 1).astype(np.intp)]
    bordered = np.zeros(len(is_word) + 2, np.bool_)
    bordered[1:-1] = is_word
    edges = np.flatnonzero(bordered[1:] != bordered[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return []
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    inside = np.arange(int(lengths.sum()), dtype=np.uint64) - np.repeat(firsts, lengths).astype(np.uint64)
    letters = (points[is_word] ^ (inside << _HALF)) * _FINALISER
    letters ^= letters >> _HALF
    words = np.add.reduceat(letters * _MULTIPLIER, firsts)
    families = []
    rolling = words
    lowest, highest = recipe.words
    for count in range(1, highest + 1):
        if count > len(words):
            break
        if count > 1:
            rolling = rolling[:-1] * _MULTIPLIER + words[count - 1 :]
        if count >= lowest:
            families.append(Ngrams(_buckets(rolling, recipe, 64 + count), starts[: len(rolling)], ends[count - 1 :]))
    return families


def ngrams(prepared: str, recipe: Recipe) -> list[Ngrams]:
    """Every n-gram of *prepared*, one entry for each length that fits into it."""
    points = _points(prepared).astype(np.uint64)
    return _char_ngrams(points, recipe) + _word_ngrams(points, recipe)


def distinct(parts: Sequence[Buckets]) -> Buckets:
    """The buckets named in *parts*, each once, in ascending order: an n-gram counts once, however often it occurs."""
    if not parts:
        return np.empty(0, np.intp)
    buckets = np.sort(np.concatenate(parts))
    keep = np.empty(len(buckets), np.bool_)
    keep[:1] = True
    np.not_equal(buckets[1:], buckets[:-1], out=keep[1:])
    return buckets[keep]


def first_of_each(buckets: Buckets, most: int) -> npt.NDArray[np.bool_]:
    """For each bucket in turn whether it is the one mention of it that counts; all buckets are below *most*."""
    if len(buckets) < _FEW:
        order = np.argsort(buckets, kind="stable")
        ordered = buckets[order]
        once = np.empty(len(buckets), np.bool_)
        once[order] = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        return once
    place = np.arange(len(buckets), dtype=np.int32)
    last = np.empty(most, np.int32)
    last[buckets] = place
    return np.asarray(last[buckets] == place)
