"""Letters in codes: HTML entities, percent-encoding, and the escapes of programming languages.

All of them are ordinary where they are needed. They are decoded where they are not.
"""

from __future__ import annotations

import html
import re
import sys
from typing import Final

from safety_proxy.edits import WHOLE, Edges, Stage, substituted

_CODES: Final = re.compile(
    r"&(?:amp;){0,3}(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)|(?:%(?:25){0,3}[0-9a-fA-F]{2})++"
    r"|(?:\\u[0-9a-fA-F]{4})++|\\u\{[0-9a-fA-F]{1,6}\}|\\U000[0-9a-fA-F]{5}|(?:\\x[0-9a-fA-F]{2})++"
    r"|(?:U\+[0-9A-F]{4,5}[ ,]?){3,}+|(?:\\[01][0-7]{2}){3,}+"
)
_PERCENT: Final = re.compile(r"%(?:25){0,3}([0-9a-fA-F]{2})")
_NUMBER: Final = re.compile(r"(?:U\+?|\{)([0-9A-Fa-f]+)")
_TWICE: Final = 4
"""Ampersands that are themselves in codes, so often, are decoded too; and so are percent signs."""
_UNSHOWN: Final = "\ufffd"
_SURROGATES: Final = (0xD800, 0xDFFF)
_SHARE: Final = 0.3
"""Of a text; if so much of it is in codes, it means to be read decoded."""
_BLANKS_CODED: Final = re.compile(r"(?<![A-Za-z])(?:[A-Za-z]{1,30}(?:%20|&#32;|&nbsp;|&#160;|\\u0020|\\x20)){2}[A-Za-z]")
"""Three words in a row with codes for the blanks between."""
_ADDRESS: Final = re.compile(r"(?:https?://|www\.)[^\s\"'<>?]*+")
"""Without its query, which may be a sentence; names of files have blanks too."""


def may_hold_any(text: str) -> bool:
    """Whether `decoded` can find anything. Quick."""
    return "&" in text or "%" in text or "\\" in text or "U+" in text


def decoded(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """With the characters that entities, percent-encoding and escapes stand for.

    Only where some stand for what needs no code, letters and digits of ASCII; or for the blanks between words, not
    in an address; or where a good part of the text is in codes.
    """
    codes = _CODES.findall(text)
    if not codes:
        return text, ()
    meanings = list(map(_meaning, codes))
    news = "".join(meant for code, meant in zip(codes, meanings, strict=True) if meant != code)
    needless = any(char.isascii() and char.isalnum() for char in news)
    means_it = needless or (sum(map(len, codes)) >= _SHARE * len(text) and any(map(str.isalpha, news)))
    if not means_it and _BLANKS_CODED.search(_ADDRESS.sub("", text)) is None:
        return text, ()
    in_order = iter(meanings)
    return substituted(_CODES, lambda _: next(in_order), text)


def _meaning(code: str) -> str:
    """What a code stands for; itself if that is nothing that can be shown."""
    if code[0] == "&":
        meant = _unescaped(code)
    elif code[0] == "%":
        meant = bytes.fromhex("".join(_PERCENT.findall(code))).decode("utf-8", "replace")
    elif code[1] == "x":
        meant = bytes.fromhex(code.replace("\\x", "")).decode("utf-8", "replace")
    elif code[1] == "u" and code[2] != "{":
        meant = bytes.fromhex(code.replace("\\u", "")).decode("utf-16-be", "replace")
    elif code[0] == "U" or code[1] in "uU":
        meant = "".join(_character(int(digits, 16)) for digits in _NUMBER.findall(code))
    else:
        meant = bytes(int(digits, 8) for digits in code.split("\\")[1:]).decode("utf-8", "replace")
    return code if _UNSHOWN in meant else meant


def _unescaped(entity: str) -> str:
    for _ in range(_TWICE):
        before, entity = entity, html.unescape(entity)
        if entity == before:
            break
    return entity


def _character(number: int) -> str:
    return chr(number) if number <= sys.maxunicode and not _SURROGATES[0] <= number <= _SURROGATES[1] else _UNSHOWN
