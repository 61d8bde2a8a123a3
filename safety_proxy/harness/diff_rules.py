"""What two policies say differently, key by key, before any case is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from safety_proxy.model import JSON
from safety_proxy.policy import Policy

Direction: TypeAlias = Literal["looser", "stricter", "changed"]

_TELLS_NOTHING: Final = frozenset({"version", "name", "description"})
"""Keys that no decision depends on."""
_LENIENCE: Final[Mapping[str, int]] = {
    "block": 0,
    "low": 1,
    "medium": 2,
    "high": 3,
    "never": 4,
    "annotate": 4,
    "allow": 4,
    "off": 4,
    "none": 4,
}
"""How much a word lets pass. What only annotates lets pass as much as what is off."""
_ORDERED: Final = frozenset({"block_at", "action", "on_error", "history", "unreadable"})
"""Keys whose values are such words."""

_ENTRIES: Final = frozenset({"terms", "patterns", "exceptions"})
"""What blocklists are made of."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key that two policies differ in."""

    key: str
    """Its path, as ``input.hate.block_at``; a blocklist stands in it by its name."""
    words: str
    """What became of it, as ``medium -> high``."""
    direction: Direction = "changed"
    """What that alone does to decisions. ``changed``: either, or none."""

    def __str__(self) -> str:
        return f"{self.key}: {self.words}"


def changes(a: Policy, b: Policy) -> tuple[Change, ...]:
    """Every key that *a* and *b* differ in, defaults filled in, in the order of the file. Their names do not count."""
    one, other = ({k: v for k, v in p.to_document().items() if k not in _TELLS_NOTHING} for p in (a, b))
    return tuple(_differing("", _by_name(one), _by_name(other)))


def _by_name(value: JSON) -> JSON:
    """*value* with lists of named things, as blocklists are, turned into mappings."""
    if isinstance(value, dict):
        return {key: _by_name(item) for key, item in value.items() if key != "blocklists"} | _lists(value.get("blocklists"))
    return value


def _lists(blocklists: JSON) -> dict[str, JSON]:
    if not isinstance(blocklists, list):
        return {}
    lists = (dict(each) for each in blocklists if isinstance(each, dict))
    return {"blocklists": {str(each.pop("name")): each for each in lists}}


def _differing(path: str, one: JSON, other: JSON) -> Iterator[Change]:
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differing(f"{path}.{key}" if path else key, one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and path.rpartition(".")[2] in _ENTRIES:
        yield Change(path, _told_entries(one, other))
    else:
        yield Change(path, f"{_told(one)} -> {_told(other)}", _direction(path, one, other))


def _told_entries(one: Sequence[JSON], other: Sequence[JSON]) -> str:
    """How many entries came and went: a list may be long, and nobody wants to read its words in a report."""
    added, removed = (len([each for each in x if each not in y]) for x, y in ((other, one), (one, other)))
    told = [f"{count} {word}" for count, word in ((added, "added"), (removed, "removed")) if count]
    return ", ".join(told) or "in another order"


def _told(value: JSON) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{key} {_size(key, item)}" for key, item in value.items() if item != [])
    return str(value)


def _size(key: str, value: JSON) -> str:
    """A value inside a rule that only one of the policies has."""
    return str(len(value)) if isinstance(value, list) and key != "classifiers" else _told(value)


def _direction(path: str, one: JSON, other: JSON) -> Direction:
    before, after = (_lenience(path, value) for value in (one, other))
    if before is None or after is None or before == after:
        return "changed"
    return "looser" if after > before else "stricter"


def _lenience(path: str, value: JSON) -> int | None:
    """How much a rule, or the word of an ordered key, lets pass. None: that cannot be said."""
    if isinstance(value, dict):
        return _lenience("action", value.get("block_at", value.get("action")))
    if value is None and ".blocklists." in path:
        return _LENIENCE["none"]
    ordered = path.rpartition(".")[2] in _ORDERED or value == "off"
    return _LENIENCE.get(value) if ordered and isinstance(value, str) else None
