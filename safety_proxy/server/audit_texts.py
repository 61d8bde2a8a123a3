"""Texts for the audit log: hashed, masked, or cut to a length. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from safety_proxy.dialects.evaluation_texts import Judged, heard
from safety_proxy.dialects.vocabulary import PROMPT_VOCABULARY
from safety_proxy.model import JSON, Action, JSONObject, Prompt, Verdict
from safety_proxy.server.audit_record import known_path

LONGEST: Final = 256 * 1024
"""Characters of a request, and of a completion, that a line holds; a conversation of 64,000 tokens."""
SCALAR: Final = 4
"""What a number, a name and a bracket count as, in characters."""

_MOST_WORDS: Final = 500
"""Words that are remembered; where classifiers point at more, all is withheld."""
_MASKS: Final = re.compile(
    r"(?P<email>[^\s@<>\"']{1,64}@[^\s@<>\"']{1,255})|(?P<data>[A-Za-z0-9+/=_:;,.\-]{65,})|(?P<number>\d+)"
)


class Digest(Protocol):
    """A hash that is being made."""

    def update(self, data: bytes, /) -> None:
        """Add text."""

    def hexdigest(self) -> str:
        """The hash of all of it."""


# ------------------------------------------------------------------------------------------------------------- hashing


@dataclass(frozen=True, slots=True)
class Hashing:
    """How texts are hashed."""

    secret: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What the field with a hash is called."""
        return "sha256" if self.secret is None else "hmac_sha256"

    def begin(self) -> Digest:
        """A hash that text is yet to be added to."""
        return hashlib.sha256() if self.secret is None else hmac.new(self.secret, digestmod=hashlib.sha256)

    def tell(self, data: bytes) -> JSONObject:
        """The hash of a text or a picture."""
        digest = self.begin()
        digest.update(data)
        return {self.name: digest.hexdigest()}


def as_bytes(text: str) -> bytes:
    """What of a text is hashed: its UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def hashed_prompt(prompt: Prompt, hashing: Hashing) -> list[JSON]:
    """Every text and picture of a request, by its place."""
    told: list[JSON] = []
    for text in prompt.texts:
        place: JSONObject = {"field": known_path(text.field), "role": text.role}
        if text.query.text:
            told.append({**place, "characters": len(text.query.text), **hashing.tell(as_bytes(text.query.text))})
        told += ({**place, "bytes": len(image.data), **hashing.tell(image.data)} for image in text.query.images)
    return told


# ------------------------------------------------------------------------------------------------------------- masking


@dataclass(slots=True)
class Findings:
    """What classifiers and blocklists pointed at in the texts of one stage."""

    words: dict[str, str] = field(default_factory=dict)
    """Each with its category or list."""
    blamed: set[str] = field(default_factory=set)
    """Those for which a text was filtered."""
    unplaced: bool = False
    """Something was filtered, or not judged, and nobody can tell where it stands."""
    too_many: bool = False
    """Not all words are remembered, so nothing can be shown."""

    def hear(self, judged: Iterable[Judged]) -> None:
        """Take what was said of some texts."""
        for each in judged:
            found = [
                (each.query.text[span.start : span.end], str(span.label))
                for said in heard(each).values()
                if isinstance(said, Verdict)
                for span in said.spans
            ]
            filtered = {str(name) for name, note in each.decision.annotations.items() if note.filtered}
            filtered |= {name for name, blocked in each.decision.blocklists.items() if blocked}
            placed = {label for word, label in found if word.strip()}
            self.unplaced |= each.decision.action is Action.FAIL or bool(filtered - placed)
            for word, label in found:
                if word.strip() and (word in self.words or len(self.words) < _MOST_WORDS):
                    self.words[word] = label
                    if label in filtered:
                        self.blamed.add(word)
                elif word.strip():
                    self.too_many = True

    def withhold(self, texts: Sequence[str]) -> bool:
        """Whether *texts*, in which something was filtered, are to be withheld: not all of it is where it can be masked."""
        return self.unplaced or any(not any(word in text for text in texts) for word in self.blamed)

    def masks(self) -> Callable[[str], str]:
        """What masks one text."""
        if self.too_many:
            return withheld
        longest_first = sorted(self.words, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

        def mask(text: str) -> str:
            if pattern is not None:
                text = pattern.sub(lambda found: f"[{self.words[found[0]]}]", text)
            return _MASKS.sub(lambda found: f"[{found.lastgroup}]", text)

        return mask


def masked(value: JSON, mask: Callable[[str], str]) -> JSON:
    """*value* with every string that is no word of the formats masked, keys included."""
    if isinstance(value, str):
        return value if value in PROMPT_VOCABULARY else mask(value)
    if isinstance(value, list):
        return [masked(item, mask) for item in value]
    if isinstance(value, dict):
        return {str(masked(key, mask)): masked(item, mask) for key, item in value.items()}
    return value


def withheld(_text: str) -> str:
    """What stands in the place of a text that cannot be masked."""
    return "[withheld]"


# ------------------------------------------------------------------------------------------------------------- cutting


class Cutter:
    """Cuts JSON values so that all of them together have about *room* characters; what is missing is marked."""

    def __init__(self, room: int = LONGEST) -> None:
        self._left = room

    def cut(self, value: JSON) -> JSON:
        """*value*, or its beginning."""
        if isinstance(value, str):
            taken = value[: max(self._left, 0)]
            self._left -= len(value) + SCALAR
            return value if len(taken) == len(value) else f"{taken}[{len(value) - len(taken)} characters cut]"
        if isinstance(value, list):
            return [*self._items(value)]
        if isinstance(value, dict):
            return dict(self._fields(value))
        self._left -= SCALAR
        return value

    def _items(self, value: list[JSON]) -> Iterator[JSON]:
        for place, item in enumerate(value):
            if self._left <= 0:
                yield f"[{len(value) - place} items cut]"
                return
            self._left -= SCALAR
            yield self.cut(item)

    def _fields(self, value: JSONObject) -> Iterator[tuple[str, JSON]]:
        for place, (key, item) in enumerate(value.items()):
            if self._left <= 0:
                yield "[cut]", f"[{len(value) - place} fields cut]"
                return
            self._left -= len(key) + SCALAR
            yield key, self.cut(item)
