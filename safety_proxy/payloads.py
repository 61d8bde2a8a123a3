"""Text inside text: base64, hexadecimal, and the invisible characters called tags.

What is decoded counts only if text comes out of it: UTF-8, printable, mostly letters. Pictures, archives, keys, digests and
identifiers do not, so ordinary text is left alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final

from safety_proxy.edits import Stage, substituted

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}(?:\r?\n[A-Za-z0-9+/_-]{4,})*+={0,2}")
"""Twelve characters are nine bytes, two short words; lines follow each other as in mail."""
_HEX: Final = re.compile(r"(?:0x|\\x)?[0-9a-fA-F]{2}(?:[ :,]?(?:0x|\\x)?[0-9a-fA-F]{2}){5,}+")
_HEX_SIGNS: Final = re.compile(r"0x|\\x|[ :,]")
_TAGS: Final = re.compile("(?<!\U0001f3f4)[\U000e0020-\U000e007e]{4,}")
"""A black flag before them makes them the flag of a region."""
_TO_STANDARD: Final = str.maketrans("-_", "+/")
_LETTERS: Final = 0.7
"""Share of what is decoded that must be letters and blanks."""
_FEWEST: Final = 6
_HALVES: Final = "24567cdeCDE"
"""What the first digit of a byte of text is: of ASCII, and of what begins a character of two or three bytes."""
_SHORT: Final = 20
"""Shorter texts must be ASCII and have hardly anything but letters and blanks: a long word may decode to a few signs."""
_SHORT_LETTERS: Final = 0.9


def untagged(text: str, _open_left: bool) -> tuple[str, Stage]:
    """With the characters that tags stand for."""
    if text.isascii():
        return text, ()
    return substituted(_TAGS, lambda found: "".join(chr(ord(c) - 0xE0000) for c in found[0]), text)


def from_base64(text: str, open_left: bool) -> tuple[str, Stage]:
    """With the texts that runs of base64 stand for, standard or URL-safe, in lines or not.

    A run that an open edge has cut may have lost some of its first four characters.
    """
    return substituted(_BASE64, lambda found: _first(_base64(found[0]), found, open_left), text)


def from_hex(text: str, open_left: bool) -> tuple[str, Stage]:
    """With the texts that runs of hexadecimal digits stand for, apart or not, with or without ``0x`` or ``\\x``."""
    if sum(map(text.count, _HALVES)) < _FEWEST:  # quicker than looking for runs
        return text, ()
    return substituted(_HEX, lambda found: _first(_hex(found[0]), found, open_left), text)


def _first(candidates: Iterator[bytes], found: re.Match[str], open_left: bool) -> str:
    """The first of *candidates* that is text, else what was found. Only a run at an open edge has more than one."""
    for number, data in enumerate(candidates):
        if number and not (open_left and found.start() == 0):
            break
        if (decoded := _text(data)) is not None:
            return decoded
    return found[0]


def _base64(run: str) -> Iterator[bytes]:
    digits = re.sub(r"[\r\n=]", "", run).translate(_TO_STANDARD)
    for start in range(4):
        cut = digits[start:]
        cut = cut[:-1] if len(cut) % 4 == 1 else cut  # one character is less than a byte
        try:
            yield base64.b64decode(cut + "=" * (-len(cut) % 4))
        except binascii.Error:
            yield b""


def _hex(run: str) -> Iterator[bytes]:
    digits = _HEX_SIGNS.sub("", run)
    for start in range(2):
        cut = digits[start:]
        yield bytes.fromhex(cut[: len(cut) // 2 * 2])


def _text(data: bytes) -> str | None:
    """*data* as text, if it is any. A character that is cut off at either end does not count against it."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            return None
        text = data[: error.start].decode()
    if len(text) < _FEWEST or not text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable():
        return None
    is_short = len(text) < _SHORT
    wanted = _SHORT_LETTERS if is_short else _LETTERS
    likely = text.isascii() or not is_short
    return text if likely and sum(c.isalpha() or c.isspace() for c in text) >= wanted * len(text) else None


STEPS: Final[tuple[Callable[[str, bool], tuple[str, Stage]], ...]] = (untagged, from_hex, from_base64)
"""All of the above. What one uncovers may be a payload again."""
