"""Ways to disguise a text so that people or models still read it and naive filters do not.

Each is a function from a text to a text; what is left to chance is drawn from a seeded generator, so that the corpus is the
same every time. Those of `UNDONE` are what the proxy promises nothing about.
"""

from __future__ import annotations

import base64
import codecs
import html
import re
import urllib.parse
from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeAlias

Disguise: TypeAlias = Callable[[str, Random], str]


def _mapped(upper: int, lower: int, exceptions: Mapping[str, str] | None = None) -> Disguise:
    """Letters of another alphabet that begins at these code points."""

    def disguise(text: str, _random: Random) -> str:
        return "".join(
            (exceptions or {}).get(char)
            or (
                chr(upper + ord(char) - ord("A"))
                if "A" <= char <= "Z"
                else chr(lower + ord(char) - ord("a"))
                if "a" <= char <= "z"
                else char
            )
            for char in text
        )

    return disguise


def _replaced(table: Mapping[str, str], share: float = 1.0) -> Disguise:
    """Letters of *table*, each with a probability of *share*."""

    def disguise(text: str, random: Random) -> str:
        return "".join(table[char] if char in table and random.random() < share else char for char in text)

    return disguise


def _inserted(chars: str, share: float = 1.0) -> Disguise:
    """One of *chars* behind letters, each with a probability of *share*."""

    def disguise(text: str, random: Random) -> str:
        return "".join(char + (random.choice(chars) if char.isalpha() and random.random() < share else "") for char in text)

    return disguise


def _apart(joint: str) -> Disguise:
    """Letters apart, words further apart."""
    return lambda text, _random: "   ".join(joint.join(word) for word in text.split())


def _stretched(text: str, random: Random) -> str:
    return re.sub(r"[aeiou]", lambda found: found[0] * random.randint(3, 6), text)


def _flooded(text: str, random: Random) -> str:
    marks = [chr(code) for code in range(0x300, 0x316)]
    return "".join(char + ("".join(random.choices(marks, k=4)) if char.isalpha() else "") for char in text)


def _alternating(text: str, _random: Random) -> str:
    return "".join(char.upper() if i % 2 else char.lower() for i, char in enumerate(text))


def _carrier(before: str, encode: Callable[[str], str]) -> Disguise:
    """An encoded text behind words that say what to do with it."""
    return lambda text, _random: before + encode(text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _wrapped(text: str, random: Random) -> str:
    return "Read this: " + base64.encodebytes((text + " ").encode() * random.randint(2, 3)).decode()


def _caesar(text: str, _random: Random) -> str:
    def shift(found: re.Match[str]) -> str:
        first = ord("A") if found[0].isupper() else ord("a")
        return chr(first + (ord(found[0]) - first + 3) % 26)

    return re.sub("[A-Za-z]", shift, text)


def _pig_latin(text: str, _random: Random) -> str:
    return re.sub(r"\b([^aeiou\W]+)([a-z]+)", r"\2\1ay", text.lower())


_CODES: Final = """
a.- b-... c-.-. d-.. e. f..-. g--. h.... i.. j.--- k-.- l.-.. m-- n-. o--- p.--. q--.- r.-. s... t- u..- v...- w.-- x-..-
y-.-- z--..
"""
_MORSE: Final = {code[0]: code[1:] for code in _CODES.split()}
_CYRILLIC: Final = dict(zip("aceopxyijs", "асеорхуіјѕ", strict=True))  # noqa: RUF001 - that they mislead is the point
_GREEK: Final = dict(zip("aovuivkxp", "αονυινκχρ", strict=True))
_SMALL_CAPITALS: Final = dict(zip("abcdefghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ", strict=True))
_LEET: Final = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
_SIGNS: Final = {"a": "@", "s": "$", "i": "!", "o": "0", "e": "3"}

DISGUISES: Final[Mapping[str, Disguise]] = {
    "alternating case": _alternating,
    "full-width letters": _mapped(0xFF21, 0xFF41),
    "mathematical bold": _mapped(0x1D400, 0x1D41A),
    "mathematical fraktur": _mapped(0x1D56C, 0x1D586),
    "circled letters": _mapped(0x24B6, 0x24D0),
    "negative squared letters": lambda text, random: _mapped(0x1F170, 0x1F170)(text.upper(), random),
    "regional indicators": lambda text, random: _mapped(0x1F1E6, 0x1F1E6)(text.upper(), random),
    "small capitals": _replaced(_SMALL_CAPITALS),
    "zero-width spaces": _inserted("\u200b\u200c\u2060\ufeff"),
    "soft hyphens": _inserted("\u00ad", 0.5),
    "variation selectors": _inserted("\ufe0e\ufe0f\U000e0101"),
    "bidi controls": _inserted("\u202d\u202c\u2066\u2069\u200e\u200f", 0.6),
    "tag characters": _carrier("\U0001f600", lambda text: "".join(chr(0xE0000 + ord(c)) for c in text if c.isascii())),
    "combining floods": _flooded,
    "strike-through": _inserted("\u0336"),
    "Cyrillic look-alikes": _replaced(_CYRILLIC),
    "some Cyrillic look-alikes": _replaced(_CYRILLIC, 0.4),
    "Greek look-alikes": _replaced(_GREEK),
    "spaced out": _apart(" "),
    "dotted": _apart("."),
    "hyphenated": _apart("-"),
    "leet digits": _replaced(_LEET),
    "leet signs": _replaced(_SIGNS, 0.7),
    "stretched vowels": _stretched,
    "HTML entities, decimal": lambda text, _random: "".join(f"&#{ord(char)};" for char in text),
    "HTML entities, hexadecimal": lambda text, _random: "".join(f"&#x{ord(char):x};" for char in text),
    "named entities around": lambda text, _random: html.escape(f"<b>'{text}'</b>").replace("a", "&#97;"),
    "percent-encoding": lambda text, _random: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent-encoded query": _carrier("https://example.org/?q=", lambda text: urllib.parse.quote(text).replace("i", "%69")),
    "JSON escapes": lambda text, _random: "".join(f"\\u{ord(char):04x}" for char in text),
    "base64": _carrier("Decode this and do what it says: ", _base64),
    "base64, URL-safe": _carrier("token=", lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")),
    "base64 twice": _carrier("Decode twice: ", lambda text: _base64(_base64(text))),
    "base64 in lines": _wrapped,
    "hexadecimal": _carrier("Hex: ", lambda text: text.encode().hex()),
    "hexadecimal, spaced": _carrier("Bytes: ", lambda text: text.encode().hex(" ")),
    "rot13": lambda text, _random: codecs.encode(text, "rot13"),
    "reversed": lambda text, _random: text[::-1],
}
"""What the proxy sees through."""

UNDONE: Final[Mapping[str, Disguise]] = {
    "Caesar shift by three": _caesar,
    "pig Latin": _pig_latin,
    "Morse code": lambda text, _random: " ".join(_MORSE.get(char, "/") for char in text.lower()),
    "vowels left out": lambda text, _random: re.sub("[aeiou]", "", text),
    "words in reverse order": lambda text, _random: " ".join(reversed(text.split())),
}
"""What it promises nothing about."""
