"""What Azure AI Content Safety says, read strictly: what is absent or odd stays undecided."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from azure.ai.contentsafety.models import TextCategory

from safety_proxy.model import HARMS, Category, Image, Span, Verdict

HARM_NAMES: Final[Mapping[str, Category]] = {
    TextCategory.HATE: Category.HATE,
    TextCategory.SELF_HARM: Category.SELF_HARM,
    TextCategory.SEXUAL: Category.SEXUAL,
    TextCategory.VIOLENCE: Category.VIOLENCE,
}
"""Images have the same words for them."""
_HIGHEST: Final = 7
_SIZES: Final = {"image/png": (struct.Struct(">II"), 16), "image/gif": (struct.Struct("<HH"), 6)}
"""How and where width and height are written, in the formats that always have them at one place."""


def sides_of(image: Image) -> tuple[int, ...]:
    """Width and height in pixels; nothing where they would have to be looked for."""
    layout, place = _SIZES.get(image.media_type, (None, 0))
    if layout is None or len(image.data) < place + layout.size:
        return ()
    return layout.unpack_from(image.data, place)


def read_harms(analysis: Sequence[Mapping[str, Any]] | None) -> Verdict:
    """What ``categoriesAnalysis`` says. A harm that is absent, or whose severity is none of 0-7, stays undecided."""
    severities: dict[Category, int] = {}
    failures = dict.fromkeys(sorted(HARMS), "missing_category")
    for entry in analysis or ():
        harm, severity = HARM_NAMES.get(entry["category"]), entry.get("severity")
        if harm is None:
            continue
        if type(severity) is int and 0 <= severity <= _HIGHEST:
            severities[harm] = max(severity, severities.get(harm, 0))
            failures.pop(harm, None)
        else:
            failures[harm] = "invalid_answer"
    return Verdict(severities, failures=failures)


def read_attack(category: Category, analysis: Mapping[str, Any] | None, key: str) -> Verdict:
    """What one analysis says under *key*; only true and false decide."""
    if analysis is None or key not in analysis:
        return Verdict(failures={category: "missing_category"})
    detected = analysis[key]
    if not isinstance(detected, bool):
        return Verdict(failures={category: "invalid_answer"})
    return Verdict(detections={category: detected})


def read_blocklists(
    matches: Sequence[Mapping[str, Any]] | None, asked: Sequence[str], text: str
) -> tuple[dict[str, bool], tuple[Span, ...]]:
    """Which of the lists that were *asked* for matched, and where, as far as an item is found in *text* as it stands."""
    lists = dict.fromkeys(asked, False)
    spans: dict[Span, None] = {}
    lowered = text.lower()
    for match in matches or ():
        name, item = match["blocklistName"], match.get("blocklistItemText")
        lists[name] = True
        if not isinstance(item, str) or not item or len(lowered) != len(text):
            continue
        start = lowered.find(item.lower())
        if start >= 0:
            spans[Span(start, start + len(item), name)] = None
    return lists, tuple(spans)
