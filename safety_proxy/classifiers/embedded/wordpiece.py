"""From a prepared text to the pieces of words that have a vector: the vocabulary and the vectors of ``tokens.npz``.

The vectors are static: one for each piece, whatever stands around it. They come from the token embeddings of
all-MiniLM-L6-v2 (Apache-2.0; see ``docs/model-card.md``), so words that mean alike lie close together, also where the
training rows hold only one of them. They are never trained here. ``tokens.npz`` is made by `make_tokens`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.archive import read_archive, write_archive
from safety_proxy.errors import ConfigError

Ids: TypeAlias = "npt.NDArray[np.intp]"
"""Numbers of pieces; -1 never occurs."""

UNKNOWN: Final = "[UNK]"
SHIPPED: Final = "tokens.npz"
_WORDS: Final = re.compile(r"[^\W_]+|[^\w\s]|_")
"""A run of letters and digits, or one other character, as BERT's basic tokenizer parts them."""
_NAME: Final = re.compile(r"\[.+\]")
_PLAIN: Final = re.compile(r"[\x00-\u024f\u2000-\u20ff]+")
_BLOCK: Final = 512
_LONGEST: Final = 40
"""A longer run of letters is unknown as a whole: nothing in the vocabulary is half as long."""
_REMEMBERED: Final = 20_000
"""Words whose pieces are kept at hand: about 4 MB at most."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The vocabulary with a vector for each piece. Immutable but for its memory; may be used by several threads."""

    pieces: tuple[str, ...]
    """In the order of the vectors; a piece that continues a word begins with ``##``."""
    vectors: npt.NDArray[np.int8]
    """One row for each piece."""
    scale: float
    """What one step of the vectors stands for."""
    metadata: Mapping[str, Any]
    """Where the vectors come from, and how they were made."""
    digest: str = ""
    """SHA-256 of the file; empty for a vocabulary that was never a file."""
    _numbers: dict[str, int] = field(init=False, repr=False)
    _memory: dict[str, tuple[int, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {piece: number for number, piece in enumerate(self.pieces)})

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the file at *path*, or the one that ships. Raises `ConfigError` if it cannot be read."""
        name = str(path or SHIPPED)
        content, arrays, metadata = read_archive(path, SHIPPED, "a file of tokens")
        try:
            vectors, scale = arrays["vectors"], float(arrays["scale"][0])
            pieces = arrays["pieces"].tobytes().decode().split("\n")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ConfigError("is not a file of tokens", file=name) from error
        if vectors.dtype != np.int8 or vectors.ndim != 2 or len(vectors) != len(pieces) or UNKNOWN not in pieces:  # noqa: PLR2004
            raise ConfigError("does not hold one vector for each piece", file=name)
        return cls(tuple(pieces), vectors, scale, metadata, hashlib.sha256(content).hexdigest())

    def save(self, path: Path) -> None:
        """Write the file; equal tokens give equal bytes with one version of zlib."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "pieces": np.frombuffer("\n".join(self.pieces).encode(), np.uint8),
            "vectors": self.vectors,
            "scale": np.array([self.scale], np.float32),
        }
        write_archive(path, arrays, self.metadata)

    def ids(self, prepared: str) -> Ids:
        """The pieces of *prepared* (see `features.prepare`) in order, accents left out. Linear time."""
        words = _WORDS.findall(_without_accents(prepared))
        known = list(map(self._memory.get, words))
        if None in known:
            known = [self._remember(word) for word in words]
        return np.fromiter(chain.from_iterable(filter(None, known)), np.intp)

    def places(self, prepared: str) -> tuple[Ids, list[tuple[int, int]]]:
        """As `ids`, with the place in *prepared* of the word that each piece belongs to; for explanations."""
        spelt = [(char, at) for at, whole in enumerate(prepared) for char in _without_accents(whole)]
        text = "".join(char for char, _ in spelt)
        found = [
            (number, (spelt[match.start()][1], spelt[match.end() - 1][1] + 1))
            for match in _WORDS.finditer(text)
            for number in self._remember(match[0])
        ]
        return np.array([number for number, _ in found], np.intp), [place for _, place in found]

    def _remember(self, word: str) -> tuple[int, ...]:
        known = self._memory.get(word)
        if known is not None:
            return known
        pieces = self._split(word)
        if len(self._memory) >= _REMEMBERED:
            self._memory.clear()
        self._memory[word] = pieces
        return pieces

    def _split(self, word: str) -> tuple[int, ...]:
        """The longest piece that *word* begins with, then the longest that goes on, and so forth (WordPiece)."""
        unknown = (self._numbers[UNKNOWN],)
        if len(word) > _LONGEST:
            return unknown
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._numbers.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return unknown
            found.append(number)
            start = end
        return tuple(found)


def _without_accents(text: str) -> str:
    """*text* decomposed, less the marks; in blocks, since CPython puts a run of marks in order in quadratic time."""
    if text.isascii():
        return text
    blocks = (unicodedata.normalize("NFD", text[start : start + _BLOCK]) for start in range(0, len(text), _BLOCK))
    return "".join(char for block in blocks for char in block if not unicodedata.combining(char))


def plain(pieces: Sequence[str]) -> list[int]:
    """Which of *pieces* are worth a vector: those of Latin letters, digits and signs, and the unknown one."""
    return [
        number
        for number, piece in enumerate(pieces)
        if piece == UNKNOWN or (_NAME.fullmatch(piece) is None and _PLAIN.fullmatch(piece))
    ]
