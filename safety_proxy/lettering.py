"""Letters in disguise: other alphabets or styles for them, invisible characters between them, marks on them.

Each function takes a text and gives it without one kind of disguise, with the way back. What is undone is only what hardly
anybody writes without meaning to disguise: ligatures, fractions, the ellipsis and accents stay, and so do the invisible
characters that emoji and the scripts of India and Persia need. Case is kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from typing import Final

from safety_proxy.edits import WHOLE, Draft, Edges, Stage, substituted
from safety_proxy.normalise import INVISIBLE_RUNS
from safety_proxy.words import is_wordlike

_LATIN: Final = r"A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_FOREIGN: Final = r"\u0370-\u03ff\u0400-\u052f\u0531-\u0587\u13a0-\u13f5\u1c80-\u1c8f\ua4d0-\ua4f7"
"""Greek, Cyrillic, Armenian, Cherokee, Lisu."""
_FULL_WIDTH: Final = r"\uff21-\uff3a\uff41-\uff5a"
_STYLED: Final = (
    r"\u02b0-\u02b8\u02e1-\u02e3\u1d2c-\u1d65\u2071\u207f\u2090-\u209c\u2102\u210a-\u210e\u2110-\u2113\u2115\u2119-\u211d"
    r"\u2124\u2128\u212a\u212c-\u2139\u2145-\u2149\u249c-\u24e9\ua730\ua731\ua7af\u0262\u0299\u029c\u029f\u1d00-\u1d22"
    r"\U0001d400-\U0001d7ff\U0001f110-\U0001f189" + _FULL_WIDTH
)
"""Letters of Latin in another style: mathematical, circled, squared, raised, lowered, small capitals, full-width."""
_PHONETIC: Final = r"\u0131\u0251\u0261\u026a\u0274\u0280\u028f"
"""Letters of phonetics and of Turkish that look like Latin ones: i without a dot, script a and g, small capitals i n r y."""
_MARKS: Final = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff"
    r"\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
)
_FLAG_LETTERS: Final = r"\U0001f1e6-\U0001f1ff"

_SUSPECT: Final = re.compile(f"[{_STYLED}{_PHONETIC}{_MARKS}{_FLAG_LETTERS}{INVISIBLE_RUNS.pattern[1:-2]}]")
"""Without any of these, and without a `_MASKED` word, a text has no disguise that `STEPS` take away."""

_TURNED: Final = re.compile("\u202e([^\u202c\u202e\n]{2,1000})\u202c?")
"""What is shown from right to left, up to the end of that or of the line."""
_INSIDE: Final = rf"{_LATIN}\u0370-\u03ff\u0400-\u052f{_STYLED}0-9@$"
_HIDDEN: Final = re.compile(
    rf"(?<=[{_INSIDE}])(?:{INVISIBLE_RUNS.pattern})(?=[{_INSIDE}]|[ .*_-][A-Za-z](?:{INVISIBLE_RUNS.pattern}))"
)
"""Invisible characters in a word of an alphabet that needs none, or behind letters that stand apart."""
_BESIDE: Final = re.compile(rf"(?<=[{_INSIDE}])(?:{INVISIBLE_RUNS.pattern})|(?:{INVISIBLE_RUNS.pattern})(?=[{_INSIDE}])")

_MARKED: Final = re.compile(rf"([{_LATIN}\u0370-\u052f])[{_MARKS}]++|(\s)[\u0332-\u0338]+")
_STRUCK: Final = re.compile(r"[\u0332-\u0338\u0489\u20d0-\u20ff]")
_LATIN_LETTER: Final = re.compile(f"[{_LATIN}]")
_DOTLESS: Final = "\u0131"
_FLOOD: Final = 3
"""Marks on a letter, beyond those that make one letter with it: no language needs so many."""
_ORDERED: Final = 8
"""Marks that are looked at on one letter: putting them in order takes square time."""
_HABIT: Final = 3
"""Letters of ASCII with a mark that no language puts on them."""

_TOKEN: Final = re.compile(rf"(?:[^\W\d_]|[{_STYLED}])++")
_STYLED_RUN: Final = re.compile(f"[{_STYLED}]+")
_RAISED: Final = re.compile(r"[\u02b0-\u02b8\u02e1-\u02e3\u1d2c-\u1d6a\u2071\u207f\u2090-\u209c]+")
_FEWEST_RAISED: Final = 8
"""Raised and lowered letters in a text: fewer belong to numbers and formulas, or are a word of their own."""
_SMALL_CAPITALS: Final = str.maketrans("\u026a\u0274\u0280\u028f", "inry")
"""Those of phonetics too; alone they prove nothing."""
_WIDE: Final = re.compile(f"[{_FULL_WIDTH}]+")
_WIDE_WORD: Final = 4
"""Full-width letters of a word in a text of East Asia, where abbreviations are written so."""
_EAST_ASIAN: Final = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")
_TURKIC: Final = re.compile("[\u011e\u011f\u015e\u015f\u0130\u018f\u0259\u00e7\u00f6\u00fc]")
"""In a text with these, an i without a dot is a letter of its own."""
_FEWEST: Final = 3
"""Styled letters in a text, or look-alikes in a word of nothing else: fewer are symbols, or small words of Russian."""
_NAME: Final = re.compile(r"(?:(SMALL CAPITAL|SMALL LETTER|SMALL)|LETTER|CAPITAL) ([A-Z])$")
_LATIN_WORD: Final = re.compile(f"[{_LATIN}]+")
_FOREIGN_LETTER: Final = re.compile(f"[{_FOREIGN}]")
_PHONETIC_LETTER: Final = re.compile(f"[{_PHONETIC}]")
_OTHER: Final = re.compile(f"[{_FOREIGN}{_PHONETIC}]")

# Letters that look like Latin ones, after confusables.txt of UTS #39: Cyrillic, Greek, Armenian, Cherokee, Lisu.
_SAME: Final = str.maketrans(
    "АВСЕԌНІЈКМОРԚЅТѴԜХУҮаԁеһіјӏорԛѕѵԝхусΑΒΕΖΗΙΚΜΝΟΡΤΥΧονᎪᏴᏟᎠᎬᎻᎥᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃꓐꓚꓓꓰꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ",
    "ABCEGHIJKMOPQSTVWXYYadehijlopqsvwxycABEZHIKMNOPTYXovABCDEHiJKLMPRSTVWZBCDEGHIJKLMNOPRSTUVWXYZ",
)
_SAME_LETTERS: Final = "".join(map(chr, _SAME))
_MASKED: Final = re.compile(
    rf"[{_FOREIGN}](?=[{_LATIN}])|[{_LATIN}](?=[{_FOREIGN}])|(?<![{_FOREIGN}])[{_SAME_LETTERS}]{{3,}}+(?![{_FOREIGN}])"
)
"""Where two alphabets are in one word, or a word of at least `_FEWEST` letters looks Latin from end to end."""
_ALIKE: Final = _SAME | str.maketrans(
    "вгкмнтьαβγεηικρστυχωոսհցօՕՍ\u0131\u0251\u0261\u026a\u0274\u0280\u028f",
    "brkmhtbabyenikpotuxwnuhgoOUiaginry",
)
"""Also those that do so among Latin letters only."""
_GREEK: Final = re.compile(r"[\u03b1-\u03c9]")
_GREEK_AS_LATIN: Final = re.compile(r"[\u03b1-\u03c9](?:[a-z]|.*[\u03b1-\u03c9])")
"""A single small Greek letter that ends a word, or stands before a capital, is meant: TNF\u03b1, NF\u03baB, sin\u03b1."""

_FLAGS: Final = re.compile(rf"(?:[{_FLAG_LETTERS}][\s\u200b\u2060]?){{3,}}+")


def may_be_disguised(text: str) -> bool:
    """Whether `STEPS` can find anything. Quick."""
    return not text.isascii() and (_SUSPECT.search(text) is not None or _is_masked(text))


def _is_masked(text: str) -> bool:
    return _FOREIGN_LETTER.search(text) is not None and _MASKED.search(text) is not None


# ---------------------------------------------------------------------------------------- order, invisible, marks


def turned(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """In the order in which it is shown where an override says right to left."""
    return substituted(_TURNED, lambda found: found[1][::-1], text) if "\u202e" in text else (text, ())


def without_hidden(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """Without invisible characters beside letters, if any stand between the letters of a word."""
    return (text, ()) if _HIDDEN.search(text) is None else substituted(_BESIDE, lambda _: "", text)


def unmarked(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """Bare letters where a letter has marks in excess, or one that strikes it through or underlines it."""
    odd = ((found[1] or " ").isascii() and _surplus(found[0]) > 0 for found in _MARKED.finditer(text))
    is_habit = sum(islice(filter(None, odd), _HABIT)) == _HABIT

    def bare(found: re.Match[str]) -> str:
        letter = found[1] or found[2]
        is_latin = _LATIN_LETTER.match(letter) is not None
        if (
            (is_latin and _STRUCK.search(found[0]) is not None)
            or _surplus(found[0]) >= _FLOOD
            or (is_habit and letter.isascii())
        ):
            return unicodedata.normalize("NFD", letter)[0] if is_latin else letter
        return found[0]

    return substituted(_MARKED, bare, text)


def _surplus(marked: str) -> int:
    """How many marks of a *marked* letter are not one letter with it."""
    looked_at = marked[: _ORDERED + 1]
    return len(unicodedata.normalize("NFC", looked_at)) - 1 + len(marked) - len(looked_at)


# --------------------------------------------------------------------------------------------------- other letters


def unstyled(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """Plain letters for those in another style: in words, and where there are several."""
    if _STYLED_RUN.search(text) is None:
        return text, ()
    is_asian = _EAST_ASIAN.search(text) is not None
    styled = "".join(_STYLED_RUN.findall(_WIDE.sub("", text) if is_asian else text))
    several = len(_RAISED.sub("", styled)) >= _FEWEST or len(styled) >= _FEWEST_RAISED

    def plain(found: re.Match[str]) -> str:
        token = found[0]
        if token.isascii():
            return token
        if is_asian and not several:
            return _WIDE.sub(_plain_wide, token)
        letters = "".join(map(_letter, token))
        if letters != token:
            letters = letters.translate(_SMALL_CAPITALS)
        return letters if several or (letters != token and len(letters) >= _FEWEST and is_wordlike(letters)) else token

    return substituted(_TOKEN, plain, text, aligned=True)


def _plain_wide(found: re.Match[str]) -> str:
    letters = "".join(map(_letter, found[0]))
    return letters if len(letters) >= _WIDE_WORD and is_wordlike(letters) else found[0]


@lru_cache(maxsize=2048)
def _letter(char: str) -> str:
    """The Latin letter that *char* is in some style; itself if it is none. Small if the style has capitals only."""
    if char.isascii() or _STYLED_RUN.match(char) is None:
        return char
    name = unicodedata.name(char, "")
    meant = unicodedata.normalize("NFKC", char)
    if not (meant.isascii() and meant.isalpha() and len(meant) == 1):
        named = _NAME.search(name)
        if named is None:
            return char
        meant = named[2].lower() if named[1] else named[2]
    return meant.lower() if "SQUARED" in name or "NEGATIVE" in name else meant


def unmasked(text: str, edges: Edges = WHOLE) -> tuple[str, Stage]:
    """Latin letters for look-alikes: in words that have Latin letters, and in words of three or more look-alikes alone.

    The latter stand in no text of their own alphabet: a word beside them is Latin, or none is a word that looks foreign.
    """
    if not _is_masked(text) and _PHONETIC_LETTER.search(text) is None:
        return text, ()
    tokens = list(_TOKEN.finditer(text))
    kinds = [_script(token[0]) for token in tokens]
    beside = _neighbours(kinds)
    is_latin = kinds.count("latin") >= kinds.count("foreign")
    has_dotless = _TURKIC.search(text) is not None
    draft = Draft()
    end = 0
    for token, kind, (before, after) in zip(tokens, kinds, beside, strict=True):
        word = token[0]
        if kind == "mixed":
            latin = _from_mixed(word, has_dotless=has_dotless)
        elif kind == "same" and not _is_cut(token, edges):
            pretends = "foreign" not in {before, after} or (is_latin and "latin" in {before, after})
            latin = word.translate(_SAME) if pretends else word
        else:
            continue
        draft.keep(text[end : token.start()])
        draft.keep(latin)
        end = token.end()
    draft.keep(text[end:])
    other, _ = draft.finished()
    return (text, ()) if other == text else draft.finished()


def _neighbours(kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """For each of *kinds* the nearest before and the nearest after it that tell the alphabet."""
    tell = ("latin", "foreign")
    before = accumulate(kinds, lambda last, kind: kind if kind in tell else last, initial="")
    after = list(accumulate(reversed(kinds), lambda last, kind: kind if kind in tell else last, initial=""))
    return zip(before, after[-2::-1], strict=False)


def _is_cut(token: re.Match[str], edges: Edges) -> bool:
    return (edges.left and token.start() == 0) or (edges.right and token.end() == len(token.string))


def _script(word: str) -> str:
    """Whether *word* is latin, foreign, mixed of both, or all the same as Latin to look at."""
    if word.isascii() or _OTHER.search(word) is None:
        return "latin" if _LATIN_LETTER.match(word) is not None else ""
    if _LATIN_LETTER.search(word.replace(_DOTLESS, "")) is not None:
        return "mixed"
    return "same" if len(word) >= _FEWEST and word.translate(_SAME).isascii() else "foreign"


def _from_mixed(word: str, *, has_dotless: bool) -> str:
    if len(word) < _FEWEST or (has_dotless and _DOTLESS in word):
        return word
    if _GREEK.search(word) is not None and _GREEK_AS_LATIN.search(word) is None:
        return word
    latin = word.translate(_ALIKE)
    return latin if _LATIN_WORD.fullmatch(latin) is not None else word


def without_flags(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """Plain letters for those of flags, where they are words rather than flags."""
    return substituted(_FLAGS, _plain_flags, text)


def _plain_flags(found: re.Match[str]) -> str:
    letters = "".join(chr(ord(c) - 0x1F1E6 + ord("a")) if "\U0001f1e6" <= c <= "\U0001f1ff" else " " for c in found[0])
    # Two letters are a flag, so flags in a row are an even number of letters without anything between.
    return found[0] if letters.isalpha() and len(letters) % 2 == 0 and not is_wordlike(letters) else letters


STEPS: Final[tuple[Callable[[str, Edges], tuple[str, Stage]], ...]] = (
    turned,
    without_hidden,
    unmarked,
    unstyled,
    unmasked,
    without_flags,
)
"""All that an ASCII text cannot need, in the order in which one uncovers the next."""
