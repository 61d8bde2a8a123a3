"""Text inside text: base64, hexadecimal and binary digits, and the invisible characters that can carry bytes.

What is decoded counts only if text comes out of it: UTF-8, printable, a good part letters. Pictures, archives, keys, digests
and identifiers do not, so ordinary text is left alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Final

from safety_proxy.edits import Draft, Stage, substituted
from safety_proxy.words import is_wordlike

_BASE64: Final = re.compile(
    r"[A-Za-z0-9+/_-]{11,}+={0,2}|[A-Za-z0-9+/]{6,10}={1,2}(?![\w=])|(?<=\n)[A-Za-z0-9+/_-]{4,10}={0,2}(?!\S)"
)
"""Eleven characters are eight bytes, two short words; with a sign that they end here, and on a last line, fewer are."""
_SHORTEST_RUN: Final = 11
_LONG: Final = re.compile(r"[A-Za-z0-9+/_-]{11,}+")
_PADDED: Final = re.compile(r"[A-Za-z0-9+/]{6}={1,2}(?![\w=])")
_MIXED: Final = re.compile(r"[a-z0-9+/_-][A-Z]|[0-9][a-z]|[a-z][0-9]")
"""What no long run of base64 lacks if text comes out of it; most words and all lower-case identifiers do."""
_NEXT_LINE: Final = re.compile(r"\r?\n[ \t>]{0,4}")
_LINE: Final = 16
"""Characters of a line of base64, at least: what programs write has 60 to 76."""
_COMPONENT: Final = re.compile(r"[A-Za-z0-9]{11,}+={0,2}")
_ANY_ALIGNMENT: Final = 24
"""A run of so many characters is decoded from each of the first four: whether text comes out of it is no chance."""
_TO_STANDARD: Final = str.maketrans("-_", "+/")

_HEX: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"(?:(?:0[xX]|\\x)[0-9a-fA-F]{2}[ ,;]{0,2}){4,}+"
    r"|(?:0[xX]|#)?[0-9a-fA-F]{8,}+"
    r"|(?:[0-9a-fA-F]{2}){1,8}+(?:[ :,;\n-]{1,2}(?:[0-9a-fA-F]{2}){1,8}+(?![0-9A-Za-z]))++"
    r")"
)
"""Bytes each with a sign before it; without anything between; in groups."""
_HEX_SIGNS: Final = re.compile(r"0[xX]|[^0-9a-fA-F]+")
_HEX_WORDS: Final = re.compile(r"(?:[A-Fa-f]{2,}[ :,;\n-]{1,2})*+")
"""Words such as "be" and "add" that stand before the first byte."""
_HEX_ALONE: Final = re.compile(r"[0-9A-Fa-f \n]{16,}")
_HEX_LETTER: Final = re.compile(r"[A-Fa-f]")
"""Without one, all are numbers, unless every word that they make may be one."""
_HEX_PLACE: Final = re.compile(
    r"[0-9](?:[0-9a-fA-F]{7}|[0-9a-fA-F]?[ :,;\n-]{1,2}(?:[0-9a-fA-F]{2}){1,8}[ :,;\n-]|[xX][0-9a-fA-F])|\\x"
)
"""Where hexadecimal or binary digits of four bytes of text show, quickly told."""
_BITS: Final = re.compile(r"(?<![0-9])[01]{8}(?:[ ,\n]{0,2}[01]{8}){3,}+(?![0-9])")
_BYTE: Final = 8

_CARRIED: Final = re.compile(
    "(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007e]{4,}+|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}+"
)
"""Tags, each of which stands for a character of ASCII, and variation selectors, each for a byte.

A black flag before tags makes them the flag of a region.
"""
_SELECTORS: Final = 16
"""Variation selectors that stand in the first block."""

_FEWEST: Final = 6
"""Characters of a text that is decoded, at least; or as many as `_WORD` has, if they may be a word of English."""
_WORD: Final = 4
_SHORT: Final = 20
"""Shorter texts must have hardly anything but letters and blanks: a long identifier may decode to a few signs."""
_SHORT_LETTERS: Final = 0.9
_LETTERS: Final = 0.6
_CUT: Final = 3
"""Bytes of a character that an end of a run may have cut."""
_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))
_LINE_ENDS: Final = str.maketrans("\n\r\t", "   ")


def may_hold_digits(text: str) -> bool:
    """Whether `from_hex` or `from_bits` can find anything in *text*. Quick."""
    return _HEX_PLACE.search(text) is not None


def may_hold_base64(text: str, words: list[str]) -> bool:
    """Whether `from_base64` can find anything in *text*, which blanks part into these *words*. Quick."""
    # Most prose has no long word in which capitals or digits stand within; that is told before runs are looked for.
    return ("=" in text and _PADDED.search(text) is not None) or any(
        _MIXED.search(word) is not None and any(_MIXED.search(run) is not None for run in _LONG.findall(word))
        for word in words
        if len(word) >= _SHORTEST_RUN
    )


def untagged(text: str, _open_left: bool) -> tuple[str, Stage]:
    """With the text that invisible characters stand for: tags and variation selectors in a row."""
    return (text, ()) if text.isascii() else substituted(_CARRIED, _uncovered, text, aligned=True)


def from_hex(text: str, open_left: bool) -> tuple[str, Stage]:
    r"""With the texts that hexadecimal digits stand for, apart or not, with or without ``0x`` or ``\x``.

    A run that an open edge has cut may have lost the first half of a byte.
    """
    if not may_hold_digits(text):
        return text, ()
    return substituted(_HEX, lambda found: _of_hex(found[0], open_left and found.start() == 0) or found[0], text)


def from_bits(text: str, _open_left: bool) -> tuple[str, Stage]:
    """With the texts that binary digits stand for, eight to a byte."""
    return substituted(_BITS, lambda found: _of_bits(found[0]) or found[0], text) if "01" in text else (text, ())


def from_base64(text: str, open_left: bool) -> tuple[str, Stage]:
    """With the texts that runs of base64 stand for, standard or URL-safe, in lines or not.

    A run that an open edge has cut may have lost some of its first four characters.
    """
    if not may_hold_base64(text, text.split()):
        return text, ()
    draft = Draft()
    end = 0
    for start, stop, decoded in _base64_texts(text, open_left):
        draft.keep(text[end:start])
        draft.replace(decoded, stop - start)
        end = stop
    if end == 0:
        return text, ()
    draft.keep(text[end:])
    return draft.finished()


# ----------------------------------------------------------------------------------------------------------- base64


def _base64_texts(text: str, open_left: bool) -> Iterator[tuple[int, int, str]]:
    """Where runs of base64 that are text stand, and which."""
    for lines in _blocks(text, open_left):
        run = "".join(line[0] for line in lines)
        cut = open_left and lines[0].start() == 0
        decoded = _of_base64(run, cut)
        if decoded is not None:
            yield lines[0].start(), lines[-1].end(), decoded
            continue
        # What stands before it may look as if it belonged to it: a word on the line above, or "data/" and the like.
        for line in lines:
            decoded = _of_base64(line[0], cut) if len(lines) > 1 else None
            if decoded is not None:
                yield line.start(), line.end(), decoded
            elif not line[0].isalnum():
                yield from _components(line)


def _components(line: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    for part in _COMPONENT.finditer(line[0]):
        decoded = _of_base64(part[0], cut=False)
        if decoded is not None:
            yield line.start() + part.start(), line.start() + part.end(), decoded


def _blocks(text: str, open_left: bool) -> Iterator[list[re.Match[str]]]:
    """Runs of base64, those together that are lines of one: all but the last as long as the first."""
    block: list[re.Match[str]] = []
    for run in _BASE64.finditer(text):
        if block and not _goes_on(text, block, run, open_left):
            yield block
            block = []
        block.append(run)
    if block:
        yield block


def _goes_on(text: str, block: list[re.Match[str]], run: re.Match[str], open_left: bool) -> bool:
    # The first line may be cut, and is then as long as it is.
    last, is_cut = block[-1], open_left and block[0].start() == 0
    length = len(block[1 if is_cut and len(block) > 1 else 0][0])
    return (
        not last[0].endswith("=")
        and _NEXT_LINE.fullmatch(text, last.end(), run.start()) is not None
        and ((is_cut and len(block) == 1) or (len(last[0]) == length >= len(run[0]) and length >= _LINE))
    )


def _of_base64(run: str, cut: bool) -> str | None:
    digits = run.rstrip("=").translate(_TO_STANDARD)
    if _MIXED.search(digits) is None:
        return None
    for start in range(4 if cut or len(digits) >= _ANY_ALIGNMENT else 1):
        part = digits[start:]
        part = part[:-1] if len(part) % 4 == 1 else part  # one character is less than a byte
        decoded = _text(base64.b64decode(part + "=" * (-len(part) % 4)))
        if decoded is not None:
            return decoded
    return None


# ----------------------------------------------------------------------------------------------------------- digits


def _of_hex(run: str, cut: bool) -> str | None:
    words = _HEX_WORDS.match(run)
    before = words.end() if words is not None else 0
    digits = _HEX_SIGNS.sub("", run[before:])
    are_numbers = _HEX_LETTER.search(digits) is None
    for start in range(2 if cut or len(digits) >= _ANY_ALIGNMENT else 1):
        part = digits[start:]
        decoded = _text(bytes.fromhex(part[: len(part) // 2 * 2]))
        if decoded is not None and not (are_numbers and not all(map(is_wordlike, decoded.split()))):
            return run[:before] + decoded
    return None


def _of_bits(run: str) -> str | None:
    digits = "".join(char for char in run if char in "01")
    return _text(int(digits, 2).to_bytes(len(digits) // _BYTE, "big"))


# ------------------------------------------------------------------------------------------------- bytes and characters


def _uncovered(found: re.Match[str]) -> str:
    if "\U000e0020" <= found[0][0] <= "\U000e007e":
        return "".join(chr(ord(char) - 0xE0000) for char in found[0])
    data = bytes(ord(char) - 0xFE00 if char <= "\ufe0f" else ord(char) - 0xE0100 + _SELECTORS for char in found[0])
    return _text(data) or found[0]


def _text(data: bytes) -> str | None:
    """*data* as text, if it is any. A character that is cut off at either end does not count against it."""
    data = data.lstrip(_CONTINUATIONS) if data[:_CUT].strip(_CONTINUATIONS) else data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - _CUT:
            return None
        text = data[: error.start].decode()
    if not text.translate(_LINE_ENDS).isprintable():
        return None
    if len(text) < _FEWEST:
        return text if len(text) >= _WORD and text.islower() and is_wordlike(text) else None
    if _HEX_ALONE.fullmatch(text) is not None:
        return text if _of_hex(text, cut=False) is not None else None
    wanted = _SHORT_LETTERS if len(text) < _SHORT else _LETTERS
    return text if sum(c.isalpha() or c.isspace() for c in text) >= wanted * len(text) else None


STEPS: Final[tuple[Callable[[str, bool], tuple[str, Stage]], ...]] = (untagged, from_hex, from_bits, from_base64)
"""All of the above. What one uncovers may be a payload again."""
