"""What of the texts stands in a line of the audit log: nothing, hashes, masked texts, or all. Pure.

``hash``
    Of every text of the request, and of every channel of the completion, its length and its SHA-256, or its HMAC-SHA-256
    where there is a secret.
``redacted``
    Request and completion with their texts masked: what a classifier or a blocklist pointed at is replaced by its category
    or list, e-mail addresses, digits, and long unbroken ASCII such as keys and pictures by what they are. Where something
    was filtered, or could not be judged, and nobody can point at it, all texts of that request, or of that choice, are
    withheld.
``full``
    The request as it was judged, and the completion as the backend sent it, what was withheld included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from safety_proxy.dialects.evaluation_texts import Judged
from safety_proxy.events import Item, Segment
from safety_proxy.jsontext import strings
from safety_proxy.model import JSON, JSONObject, Prompt
from safety_proxy.server.audit_record import choice_of, chunks_of
from safety_proxy.server.audit_texts import (
    LONGEST,
    SCALAR,
    Cutter,
    Digest,
    Findings,
    Hashing,
    as_bytes,
    hashed_prompt,
    masked,
    withheld,
)
from safety_proxy.settings_audit import Content

_SET_ONCE: Final = frozenset({"role", "id", "type", "index"})
"""Fields of a delta that are not continued by the next."""
_MANY: Final = 256
"""Pieces of a text."""

# --------------------------------------------------------------------------------------------------------- completions


class Completion(Protocol):
    """Keeps of a completion what a line will tell of it, as it arrives, in bounded memory."""

    def arrived(self, items: Iterable[Item]) -> None:
        """Take what one read brought."""

    def weight(self) -> int:
        """About how many bytes that takes."""

    def tell(self, filtered: frozenset[int], findings: Findings) -> list[JSON]:
        """One entry for each choice, by its index. *filtered* are the choices that were not let pass."""


class Hashes:
    """Hashes each channel of each choice."""

    def __init__(self, hashing: Hashing) -> None:
        self._hashing = hashing
        self._found: defaultdict[int, dict[str, tuple[Digest, list[int]]]] = defaultdict(dict)

    def arrived(self, items: Iterable[Item]) -> None:
        """As `Completion.arrived`."""
        for chunk in chunks_of(items):
            channels = self._found[chunk.choice]
            for segment in chunk.segments:
                self._add(channels, segment)

    def _add(self, channels: dict[str, tuple[Digest, list[int]]], segment: Segment) -> None:
        if segment.text:
            if segment.channel not in channels:
                channels[segment.channel] = (self._hashing.begin(), [0])
            digest, length = channels[segment.channel]
            digest.update(as_bytes(segment.text))
            length[0] += len(segment.text)

    def weight(self) -> int:
        """As `Completion.weight`."""
        return 0

    def tell(self, filtered: frozenset[int], findings: Findings) -> list[JSON]:  # noqa: ARG002 - hashes show no text
        """As `Completion.tell`."""
        told: dict[int, JSON] = {
            choice: {
                channel: {"characters": length[0], self._hashing.name: digest.hexdigest()}
                for channel, (digest, length) in channels.items()
            }
            for choice, channels in self._found.items()
        }
        return _in_order(told)


class Messages:
    """Puts the message of each choice together from what a backend sends, up to `LONGEST` characters of all."""

    def __init__(self, *, redacted: bool) -> None:
        self._redacted = redacted
        self._found: dict[int, _Parts] = {}
        self._left = LONGEST

    def arrived(self, items: Iterable[Item]) -> None:
        """As `Completion.arrived`."""
        for chunk in chunks_of(items):
            choice = choice_of(chunk)
            said = next(
                (choice[key] for key in ("delta", "message", "messages", "text") if choice.get(key) is not None), None
            )
            parts = self._found.setdefault(chunk.choice, _Parts())
            if self._left > 0:
                self._left -= parts.add(said, self._left)
            else:
                parts.cut += sum(map(len, strings(said)))

    def weight(self) -> int:
        """As `Completion.weight`."""
        return LONGEST - self._left

    def tell(self, filtered: frozenset[int], findings: Findings) -> list[JSON]:
        """As `Completion.tell`."""
        found = {choice: parts.tell() for choice, parts in self._found.items()}
        if not self._redacted:
            return _in_order(found)
        texts = [text for message in found.values() for text in strings(message)]
        hidden = filtered if findings.withhold(texts) else frozenset[int]()
        mask = findings.masks()
        return _in_order({i: masked(message, withheld if i in hidden else mask) for i, message in found.items()})


def _in_order(told: Mapping[int, JSON]) -> list[JSON]:
    return [told.get(index) for index in range(max(told, default=-1) + 1)]


class _Parts:
    """A message that is put together from deltas."""

    def __init__(self) -> None:
        self._root: dict[str, object] = {}
        self.cut = 0

    def add(self, said: JSON, room: int) -> int:
        """Take a delta, or a whole message, in *room* characters; how many it took."""
        size = sum(map(len, strings(said)))
        if size > room:
            self.cut += size - room
            said = Cutter(room).cut(said)
        _merge(self._root, {"message": said})
        return size + SCALAR

    def tell(self) -> JSON:
        """All of it."""
        message = _joined(self._root.get("message"))
        if not self.cut:
            return message
        note = f"[{self.cut} characters cut]"
        return {**message, "[cut]": note} if isinstance(message, dict) else f"{message or ''}{note}"


def _merge(into: dict[str, object], delta: Mapping[str, JSON]) -> None:
    """Add what a delta says; texts are kept in pieces, which are joined in the end."""
    for key, value in delta.items():
        known = into.get(key)
        if value is None or known is None or key in _SET_ONCE:
            if known is None:
                into[key] = _fresh(value)
        elif isinstance(value, str) and isinstance(known, _Pieces):
            known.add(value)
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list) and isinstance(known, list):
            _merge_items(known, value)
        else:
            into[key] = _fresh(value)


def _merge_items(known: list[object], items: list[JSON]) -> None:
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        same = next(
            (each for each in known if isinstance(each, dict) and index is not None and each.get("index") == index), None
        )
        if same is not None and isinstance(item, dict):
            _merge(same, item)
        else:
            known.append(_fresh(item))


class _Pieces(list[str]):
    """A text in the pieces that it came in; many are joined now and then, since each takes more memory than its text."""

    def add(self, piece: str) -> None:
        self.append(piece)
        if len(self) > _MANY:
            self[:] = ["".join(self)]


def _fresh(value: JSON) -> object:
    if isinstance(value, str):
        return _Pieces([value])
    if isinstance(value, list):
        return [_fresh(item) for item in value]
    return {key: _fresh(item) for key, item in value.items()} if isinstance(value, dict) else value


def _joined(value: object) -> JSON:
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, list):
        return [_joined(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _joined(item) for key, item in value.items()}
    return value if isinstance(value, bool | int | float) else None


# ------------------------------------------------------------------------------------------------------------- content


@dataclass(slots=True)
class Contents:
    """What one line will have under ``content``."""

    form: Content
    hashing: Hashing
    body: JSONObject
    """The request as it was judged."""
    prompt: Prompt
    asked: Findings = field(default_factory=Findings)
    """What was found in the request."""
    answered: Findings = field(default_factory=Findings)
    """What was found in the completion."""
    completion: Completion | None = None

    def hear(self, findings: Findings, judged: Iterable[Judged]) -> None:
        """Take what was said of some texts, if they are to be masked."""
        if self.form == "redacted":
            findings.hear(judged)

    def arrived(self, items: Iterable[Item]) -> None:
        """Take what one read of the completion brought."""
        if self.form == "none":
            return
        if self.completion is None:
            self.completion = Hashes(self.hashing) if self.form == "hash" else Messages(redacted=self.form == "redacted")
        self.completion.arrived(items)

    def weight(self) -> int:
        """About how many bytes this keeps alive until it is told."""
        if self.form == "none":
            return 0
        asked = sum(len(text.query.text) + sum(len(image.data) for image in text.query.images) for text in self.prompt.texts)
        return asked * 2 + (0 if self.completion is None else self.completion.weight())

    def tell(self, *, blocked: bool, filtered: frozenset[int]) -> JSONObject:
        """The field ``content``, if there is to be one. *blocked*: the prompt was not let pass."""
        if self.form == "none":
            return {}
        completion = None if self.completion is None else self.completion.tell(filtered, self.answered)
        return {"content": {"form": self.form, "request": self._request(blocked=blocked), "completion": completion}}

    def _request(self, *, blocked: bool) -> JSON:
        if self.form == "hash":
            return hashed_prompt(self.prompt, self.hashing)
        body: JSON = Cutter().cut(self.body)
        if self.form == "full":
            return body
        hidden = blocked and self.asked.withhold([*strings(body)])
        return masked(body, withheld if hidden else self.asked.masks())
