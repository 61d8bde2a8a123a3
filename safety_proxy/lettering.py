"""Letters in disguise: invisible characters between them, other alphabets for them, floods of marks on them, codes for them.

Each function takes a text and gives it without one kind of disguise, with the way back. What is undone is only what nobody
writes by accident: compatibility characters such as ligatures, fractions and the ellipsis stay, and so do the invisible
characters that emoji and the scripts of India and Persia need. Case is kept.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from safety_proxy.edits import Stage, substituted
from safety_proxy.normalise import INVISIBLE_RUNS

_ALPHABETS: Final = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f\u1e00-\u1eff"
"""Latin, Greek and Cyrillic letters, whose words need no invisible characters."""
_HIDDEN: Final = re.compile(rf"(?<=[{_ALPHABETS}]){INVISIBLE_RUNS.pattern}(?=[{_ALPHABETS}])")
_BEHIND: Final = re.compile(rf"(?<=[{_ALPHABETS}]){INVISIBLE_RUNS.pattern}")
_TURNED: Final = re.compile("\u202e([^\u202c\u202e\n]{2,1000})\u202c?")
"""What is shown from right to left, up to the end of that or of the line."""
_STYLED: Final = re.compile(
    r"[\u00aa\u00ba\u02b0-\u02b8\u1d2c-\u1d6a\u2071\u207f\u2090-\u209c\u2102-\u2114\u2119-\u211e\u2124-\u2139\u2145-\u2149"
    r"\u249c-\u24e9\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f110-\U0001f14f]{2,}"
)
"""Letters in another style: mathematical, full-width, circled, raised, lowered. Alone they are symbols."""
_NAMED: Final = re.compile(
    r"[\u0251\u0261\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\u1d00-\u1d22\ua730\ua731\ua7af"
    r"\U0001f150-\U0001f169\U0001f170-\U0001f189]+"
)
_NAME: Final = re.compile(
    r"(?:LATIN LETTER SMALL CAPITAL|LATIN SMALL LETTER SCRIPT|NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER) ([A-Z])"
)
_FLAGS: Final = re.compile(r"(?:[\U0001f1e6-\U0001f1ff][\s\u200b\u2060]?){3,}")
"""Letters of flags. Two make a flag; more are a word, or several flags, which is then read for nothing."""
_MARKED: Final = re.compile(r"([^\W\d_])[\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_STRUCK: Final = re.compile(r"[\u0332-\u0338\u0489\u20d0-\u20ff]")
_CODES: Final = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|(?:%[0-9a-fA-F]{2})+|(?:\\u[0-9a-fA-F]{4})+"
    r"|(?:\\x[0-9a-fA-F]{2})+"
)
_BLANKS: Final = 2
_SHARE: Final = 0.3
_LATIN: Final = re.compile(r"[A-Za-z]")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_SHORTEST: Final = 3
"""Shorter words of look-alikes alone are the small words of Russian and Greek."""

# Letters that look like Latin ones, after confusables.txt of UTS #39: Cyrillic, Greek, Armenian, Cherokee, Lisu.
_LOOKALIKES: Final = str.maketrans(
    "АВСЕԌНІЈКМОРԚЅТѴԜХУҮаԁеһіјӏорсԛѕѵԝхувгкмнть"
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαβγεηικνορστυχω"
    "օսոհցՕՍᎪᏴᏟᎠᎬᎻᎥᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃꓐꓚꓓꓰꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ",
    "ABCEGHIJKMOPQSTVWXYYadehijlopcqsvwxybrkmhtb"
    "ABEZHIKMNOPTYXabyenikvopotuxw"
    "ounhgOUABCDEHiJKLMPRSTVWZBCDEGHIJKLMNOPRSTUVWXYZ",
)
_WHOLE: Final = re.compile(r"[АВСЕНІЈКМОРЅТХУаеһіјорсѕѵхуԁԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧον]+")
"""Words of these letters alone look Latin. (α, υ and the like look so among Latin letters only.)"""


def turned(text: str) -> tuple[str, Stage]:
    """In the order in which it is shown where an override says right to left."""
    return substituted(_TURNED, lambda found: found[1][::-1], text)


def without_hidden(text: str) -> tuple[str, Stage]:
    """Without invisible characters behind letters, if any stand between the letters of a word."""
    return (text, ()) if _HIDDEN.search(text) is None else substituted(_BEHIND, lambda _: "", text)


def unstyled(text: str) -> tuple[str, Stage]:
    """Plain letters for those in another style."""
    return substituted(_STYLED, lambda found: unicodedata.normalize("NFKC", found[0]), text)


def renamed(text: str) -> tuple[str, Stage]:
    """Plain letters for small capitals and for white letters on black."""
    return substituted(_NAMED, lambda found: "".join(map(_letter, found[0])), text)


def without_flags(text: str) -> tuple[str, Stage]:
    """Plain letters for those of flags."""
    return substituted(_FLAGS, _plain_flags, text)


def unmarked(text: str) -> tuple[str, Stage]:
    """Bare letters where a letter has marks in excess: several that do not compose, or one that strikes it through."""
    return substituted(_MARKED, _bare, text)


def unmasked(text: str) -> tuple[str, Stage]:
    """Latin letters for look-alikes, in words that have Latin letters, and in words of three or more look-alikes alone."""
    return substituted(_WORD, _latin, text)


def decoded(text: str) -> tuple[str, Stage]:
    """With the characters that entities, percent-encoding and escapes stand for.

    Only where they stand for what needs no code: letters and digits of ASCII, or blanks between words; or where a good part
    of the text is in codes.
    """
    if not any(sign in text for sign in "&%\\"):  # ten times quicker than looking for codes
        return text, ()
    codes = _CODES.findall(text)
    if not codes:
        return text, ()
    needless = sum(any(c.isascii() and c.isalnum() for c in _meaning(code)) for code in codes)
    blanks = sum(code in {"%20", "&#32;", "&nbsp;"} for code in codes)
    if not needless and blanks < _BLANKS and sum(map(len, codes)) < _SHARE * len(text):
        return text, ()
    return substituted(_CODES, lambda found: _meaning(found[0]), text)


@lru_cache(maxsize=512)
def _letter(char: str) -> str:
    found = _NAME.match(unicodedata.name(char, ""))
    return char if found is None else found[1].lower()


def _latin(found: re.Match[str]) -> str:
    word = found[0]
    if word.isascii() or not (_LATIN.search(word) or (len(word) >= _SHORTEST and _WHOLE.fullmatch(word))):
        return word
    return word.translate(_LOOKALIKES)


def _plain_flags(found: re.Match[str]) -> str:
    return "".join(chr(ord(c) - 0x1F1E6 + ord("a")) if "\U0001f1e6" <= c <= "\U0001f1ff" else " " for c in found[0])


def _bare(found: re.Match[str]) -> str:
    composed = unicodedata.normalize("NFC", found[0][:4])
    if len(composed) == 1 and len(found[0]) < len(composed) + 3 and _STRUCK.search(found[0]) is None:
        return found[0]  # a letter of some language, written with its marks apart
    return unicodedata.normalize("NFKD", found[1])[0]


def _meaning(code: str) -> str:
    """What a code stands for; itself if that is nothing that can be shown."""
    if code[0] == "&":
        meant = html.unescape(code)
    elif code[0] == "%":
        meant = bytes.fromhex(code.replace("%", "")).decode("utf-8", "replace")
    elif code[1] == "x":
        meant = bytes.fromhex(code.replace("\\x", "")).decode("utf-8", "replace")
    else:
        meant = bytes.fromhex(code.replace("\\u", "")).decode("utf-16-be", "replace")
    return code if "\ufffd" in meant else meant


STEPS: Final[tuple[Callable[[str], tuple[str, Stage]], ...]] = (
    turned,
    unstyled,
    renamed,
    without_flags,
    without_hidden,
    unmarked,
    unmasked,
)
"""All of the above that an ASCII text cannot need, in the order in which one uncovers the next."""
