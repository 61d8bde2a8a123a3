"""Text as a reader sees it: one spelling for all that looks or reads alike, with the way back to the original.

Two things live here. *Positions* (`visible`, `offset_of`): the windows of a stream are cut at positions, and characters
that nobody sees take none. *Normalised text* (`normalise`): what blocklists and classifiers search instead of the text
as it was written, so that neither capitals nor full-width letters nor invisible characters hide a phrase.

What takes no position is Unicode's property Default_Ignorable_Code_Point (DerivedCoreProperties.txt, the same 4,174 code
points in Unicode 14 to 16): zero-width characters, bidi controls, soft hyphens, variation selectors, tags, the
combining grapheme joiner, Hangul fillers, the byte-order mark and their like.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from safety_proxy.edits import Draft, Stage, origin

# ------------------------------------------------------------------------------------------------------- positions

_IGNORABLE: Final = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
INVISIBLE_RUNS: Final = re.compile(f"[{_IGNORABLE}]+")
"""Runs of characters that take no position."""


def visible(text: str) -> int:
    """How many positions *text* takes: its characters without the default-ignorable ones."""
    if text.isascii() or INVISIBLE_RUNS.search(text) is None:
        return len(text)
    return len(INVISIBLE_RUNS.sub("", text))


def offset_of(text: str, position: int) -> int:
    """The offset of the visible character that has *position* others before it; ``len(text)`` if there is none.

    ``text[:offset]`` holds *position* visible characters and the invisible ones that follow the last of them.
    """
    hidden = 0
    if not text.isascii():
        for run in INVISIBLE_RUNS.finditer(text):
            if run.start() - hidden > position:
                break
            hidden += len(run[0])
    return min(position + hidden, len(text))


def trailing_invisible(text: str) -> int:
    """How many invisible characters *text* ends with."""
    end = len(text)
    # Walking back costs what the run costs; a search from the front would cost the whole text.
    while end and INVISIBLE_RUNS.match(text, end - 1):
        end -= 1
    return len(text) - end


# ------------------------------------------------------------------------------------------------------ the text


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text in its one spelling."""

    text: str
    _stages: tuple[Stage, ...] = field(default=(), repr=False)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from *start* to *end* (half-open, not empty) of `text` stand in the original text.

        Characters that came about together, such as a letter with its accent, have their origin together.
        """
        return origin(self._stages, start, end)


# ------------------------------------------------------------------------------------------------------- spelling

_UNSPACED: Final = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Blocks of scripts written without blanks between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters."""
_LETTER: Final = re.compile(rf"[^\W_{_UNSPACED}]")
_WORD: Final = re.compile(rf"(?:{_LETTER.pattern}+[\u0300-\u036f]*)+")

# Letters that look like Latin ones, after confusables.txt of UTS #39 (Unicode Security Mechanisms). In the last row,
# those that do so as capitals only, or only among Latin letters.
_SAME_CAPITALS: Final = str.maketrans("АВСЕԌНІЈКМОРԚЅТѴԜХУҮΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abceghijkmopqstvwxyyabezhikmnoptyx")
_SAME: Final = str.maketrans("асԁеһіјӏорԛѕѵԝхуүον", "acdehijlopqsvwxyyov")  # noqa: RUF001 - that they mislead is the point
_ALIKE: Final = _SAME | str.maketrans("вгкмнтьαβγεηικρστυχ", "brkmhtbabyenikpotux")
_FOREIGN: Final = re.compile(r"[\u0370-\u052f\u1c80-\u1c8f]")
"""Greek and Cyrillic letters."""
_LATIN: Final = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_SHORTEST_DISGUISE: Final = 3
"""Shorter words made of look-alikes alone are the small words of Russian and Greek."""

_MANY_MARKS: Final = 30
"""Marks on one letter that are put in order: the limit of UAX #15's Stream-Safe Text Format. Ordering takes square time."""
_RAGGED: Final = re.compile(r"\s\s|[^\S ]")
_BLANKS: Final = re.compile(r"\s{2,}")
_BLANK: Final = re.compile(r"\s")
_RUN: Final = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")


def in_word(char: str) -> bool:
    """Whether *char* is a letter or digit of a script that sets words apart; the underscore is none."""
    return _LETTER.match(char) is not None


@lru_cache(maxsize=4096)
def joins(char: str) -> bool:
    """Whether *char* may melt into the character before it: marks, Hangul vowels and finals, and what stands for them."""
    first = unicodedata.normalize("NFKD", char)[0]
    # U+16D67 is the one other character that composes to the left (Kirat Rai, Unicode 16).
    return (
        unicodedata.category(first)[0] == "M"
        or "\u1161" <= first <= "\u1175"
        or "\u11a8" <= first <= "\u11c2"
        or first == "\U00016d67"
    )


def _spelt(unit: str, *, fold: bool) -> str:
    """NFKC of *unit*, a character with all that joins it; with *fold* of its case folding."""
    spelt = unit.casefold() if fold else unit
    if len(spelt) > _MANY_MARKS + 1:
        marks = 0
        kept = []
        for char in spelt:
            marks = marks + 1 if unicodedata.combining(char) else 0
            if marks <= _MANY_MARKS:
                kept.append(char)
        spelt = "".join(kept)
    return unicodedata.normalize("NFKC", spelt)


def _spelt_one_for_one(text: str, *, fold: bool) -> str | None:
    """NFKC of *text* (case folded) if that changes no character into several or several into one, else None."""
    spelt = text.casefold() if fold else text
    return spelt if len(spelt) == len(text) and unicodedata.is_normalized("NFKC", spelt) else None


def _units(run: str) -> Iterator[str]:
    start = 0
    for end in range(1, len(run)):
        if not joins(run[end]):
            yield run[start:end]
            start = end
    yield run[start:]


def _spell(text: str, *, fold: bool) -> tuple[str, Stage]:
    """NFKC of *text*, after case folding if *fold*; marks in excess of thirty on one letter are dropped."""
    spelt = _spelt_one_for_one(text, fold=fold)
    if spelt is not None:
        return spelt, ()
    draft = Draft()
    end = 0
    for match in _RUN.finditer(text):
        plain, run, end = text[end : match.start()], match[0], match.end()
        draft.keep(plain.lower() if fold else plain)
        spelt = _spelt_one_for_one(run, fold=fold)
        if spelt is not None:
            draft.keep(spelt)
            continue
        for unit in _units(run):
            spelt = _spelt_one_for_one(unit, fold=fold)
            if spelt is None:
                draft.replace(_spelt(unit, fold=fold), len(unit))
            else:
                draft.keep(spelt)
    draft.keep(text[end:].lower() if fold else text[end:])
    return draft.finished()


def _with_replaced(runs: re.Pattern[str], by: str, text: str) -> tuple[str, Stage]:
    draft = Draft()
    end = 0
    for run in runs.finditer(text):
        draft.keep(text[end : run.start()])
        draft.replace(by, len(run[0]))
        end = run.end()
    draft.keep(text[end:])
    return draft.finished()


def _unmask_whole_words(text: str, open_left: bool, open_right: bool) -> str:
    """Latin letters in words of three or more letters that are look-alikes all, as they are written."""

    def unmask(match: re.Match[str]) -> str:
        word = match[0]
        cut = (open_left and match.start() == 0) or (open_right and match.end() == len(text))
        if cut or len(word) < _SHORTEST_DISGUISE or word.isascii() or _LATIN.search(word):
            return word
        latin = word.translate(_SAME_CAPITALS).casefold().translate(_SAME)
        return latin if latin.isascii() else word

    return _WORD.sub(unmask, text)


def _unmask_mixed_words(text: str) -> str:
    """Latin letters for look-alikes in words that have Latin letters already; *text* is case folded."""
    return _WORD.sub(lambda match: match[0].translate(_ALIKE) if _LATIN.search(match[0]) else match[0], text)


def normalise(text: str, *, lookalikes: bool = True, open_left: bool = False, open_right: bool = False) -> Normalised:
    """*text* without default-ignorable characters, in NFKC and case folded, each run of blanks one space.

    With *lookalikes*, Cyrillic and Greek letters that look like Latin ones become Latin in a word that has Latin
    letters, and in a word of three or more letters that consists of such letters alone. (NFKC deals with full-width
    letters and the like.) A word that the text cuts off at an open edge is no whole word; it takes Latin letters to
    show that it is mixed. Normalising twice changes nothing. Linear time.
    """
    stages: list[Stage] = []
    if text.isascii():
        spelt = text.lower()
    else:
        spelt, stage = _with_replaced(INVISIBLE_RUNS, "", text) if INVISIBLE_RUNS.search(text) else (text, ())
        stages.append(stage)
        spelt, stage = _spell(spelt, fold=False)
        stages.append(stage)
        if lookalikes and _FOREIGN.search(spelt):
            spelt = _unmask_whole_words(spelt, open_left, open_right)
        spelt, stage = _spell(spelt, fold=True)
        stages.append(stage)
        if lookalikes and _FOREIGN.search(spelt):
            # A Latin letter may compose with a mark that its look-alike does not compose with.
            spelt, stage = _spell(_unmask_mixed_words(spelt), fold=True)
            stages.append(stage)
    if _RAGGED.search(spelt):
        spelt, stage = _with_replaced(_BLANKS, " ", spelt)
        stages.append(stage)
        spelt = _BLANK.sub(" ", spelt)
    return Normalised(spelt, tuple(stage for stage in stages if stage))


# --------------------------------------------------------------------------------------- what policies ask of lists


def term_length(term: str) -> int:
    """Positions that *term*, an entry of a blocklist, takes in a text that spells it as `normalise` does."""
    return len(normalise(term).text.strip())


_SET_APART: Final = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED: Final = re.compile(r"[*+]|\{\d+,\}")


def is_unbounded(pattern: str) -> bool:
    """Whether *pattern* (RE2 syntax) matches texts of any length: it has ``*``, ``+`` or ``{n,}`` as operators."""
    return _REPEATED.search(_SET_APART.sub("", pattern)) is not None
