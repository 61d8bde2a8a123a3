"""What Azure AI Content Safety says, read strictly: what is absent or odd stays undecided."""

from __future__ import annotations

import re
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
    """What ``categoriesAnalysis`` says. A harm that is absent, or whose severity is none of 0-7, stays undecided.

    Of several entries about one harm the most severe counts, and an odd one is a failure beside it, in whatever order they
    come. Raises TypeError, KeyError or AttributeError for what is no list of entries with a category.
    """
    severities: dict[Category, int] = {}
    odd: set[Category] = set()
    for entry in () if analysis is None else analysis:
        harm, severity = HARM_NAMES.get(entry["category"]), entry.get("severity")
        if harm is None:
            continue
        if type(severity) is int and 0 <= severity <= _HIGHEST:
            severities[harm] = max(severity, severities.get(harm, 0))
        else:
            odd.add(harm)
    open_ = (harm for harm in sorted(HARMS) if harm in odd or harm not in severities)
    return Verdict(severities, failures={harm: "invalid_answer" if harm in odd else "missing_category" for harm in open_})


def read_attack(category: Category, analysis: object, key: str) -> Verdict:
    """What one analysis says under *key*; only true and false decide. Whatever *analysis* is, nothing is raised."""
    if analysis is None or (isinstance(analysis, Mapping) and key not in analysis):
        return Verdict(failures={category: "missing_category"})
    detected = analysis[key] if isinstance(analysis, Mapping) else None
    if not isinstance(detected, bool):
        return Verdict(failures={category: "invalid_answer"})
    return Verdict(detections={category: detected})


def read_blocklists(
    matches: Sequence[Mapping[str, Any]] | None, asked: Sequence[str], text: str
) -> tuple[dict[str, bool], tuple[Span, ...]]:
    """Which of the lists that were *asked* for matched, and each place of *text* where a matching item stands.

    Places are found whatever the case, and only of items that stand there as they are written: an item may be a pattern.
    None is the answer of a service that found nothing, which may leave it out. Raises ValueError for a list that was not
    asked for, TypeError or KeyError for what is no list of matches.
    """
    lists = dict.fromkeys(asked, False)
    spans: dict[Span, None] = {}
    for match in () if matches is None else matches:
        name, item = match["blocklistName"], match.get("blocklistItemText")
        if name not in lists:
            raise ValueError("a list that was not asked for")  # its name is not repeated: it is the service's to choose
        lists[name] = True
        if isinstance(item, str) and item:
            found = re.finditer(re.escape(item), text, re.IGNORECASE)
            spans |= dict.fromkeys(Span(*each.span(), name) for each in found)
    return lists, tuple(spans)
