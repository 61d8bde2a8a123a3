"""Cases on a page: what was wrong with each, what was found, its texts; and what to choose among them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from safety_proxy.harness.html_markup import Markup, tag
from safety_proxy.harness.html_page import Cases, ShownCase
from safety_proxy.harness.html_texts import kind_of, places, text_block, texts_of
from safety_proxy.harness.outcome import FoundSide, FoundSpan
from safety_proxy.harness.summary import KEPT

_OPEN: Final = 3
"""As many cases are unfolded from the start, and no more."""
_CHIPS: Final = 40
"""Tags to choose by; rarer ones can be searched for."""
_WHOLE: Final = 20_000_000
"""Characters of whole texts on a page, so that a browser can open it."""
_LONGEST: Final = 50_000
"""Characters of one text that can be unfolded, if there is room for all."""


def case_list(block: Cases, identity: str, *, show_texts: bool) -> Markup:
    """The block. *identity* is unique in the page, and a valid id."""
    shown = list(block.cases[:KEPT])
    keys = _keys(shown)
    texts = sum(1 for each in shown for _ in texts_of(each.case)) if show_texts else 0
    longest = min(_LONGEST, _WHOLE // max(texts, 1)) if show_texts else None
    more = block.total - len(shown)
    return tag(
        "div",
        tag("h3", block.title, tag("span", f"{block.total:,}", class_="count"), id=identity),
        tag("p", f"{more:,} more are not shown.", class_="note warning") if more > 0 else None,
        _toolbar(block.title, identity, keys, shown) if len(shown) > 1 else None,
        [_card(each, f"{identity}-{i + 1}", keys, longest, unfolded=len(shown) <= _OPEN) for i, each in enumerate(shown)],
        tag("p", "No case is like that.", class_="note none", hidden=True),
        class_="cases",
    )


# ------------------------------------------------------------------------------------------------------------- choosing


def _words(case: ShownCase) -> list[tuple[str, str]]:
    """What a case can be chosen by: (kind, word)."""
    return [*(("change", word) for word in case.changes), *(("tag", word) for word in sorted(case.case.tags))]


def _keys(cases: Sequence[ShownCase]) -> Mapping[tuple[str, str], tuple[str, int]]:
    """A short name for each of what cases are chosen by, and how many have it; the most frequent first."""
    counts = Counter(word for case in cases for word in set(_words(case)))
    ordered = sorted(counts.items(), key=lambda each: (each[0][0], -each[1], each[0][1]))
    return {word: (f"k{i}", count) for i, (word, count) in enumerate(ordered)}


def _toolbar(
    title: str, identity: str, keys: Mapping[tuple[str, str], tuple[str, int]], cases: Sequence[ShownCase]
) -> Markup:
    """Hidden until the script is there that it needs."""
    return tag(
        "div",
        tag("label", "Search", for_=f"{identity}-search"),
        tag("input", type="search", id=f"{identity}-search", placeholder="name, place, fault, text …", autocomplete="off"),
        tag("output", f"{len(cases):,} of {len(cases):,}", for_=f"{identity}-search", aria_live="polite"),
        tag("button", "Unfold all", type="button", data_unfold="yes"),
        tag("button", "Fold all", type="button", data_unfold="no"),
        [_chips(kind, f"{title}: choose by {kind}", keys) for kind in ("change", "tag")],
        class_="toolbar",
        role="search",
        aria_label=title,
        hidden=True,
    )


def _chips(kind: str, label: str, keys: Mapping[tuple[str, str], tuple[str, int]]) -> Markup | None:
    chips = [
        tag("button", word, tag("span", count), type="button", aria_pressed="false", data_key=key, class_=f"chip {kind}")
        for (each, word), (key, count) in keys.items()
        if each == kind
    ]
    return tag("div", chips[:_CHIPS], class_="chips", role="group", aria_label=label) if chips else None


# ---------------------------------------------------------------------------------------------------------------- cards


def _card(
    shown: ShownCase, identity: str, keys: Mapping[tuple[str, str], tuple[str, int]], longest: int | None, *, unfolded: bool
) -> Markup:
    case = shown.case
    spans = sorted(
        {span for _, side in shown.found for span in side.spans}, key=lambda span: (span.field, span.start, span.end)
    )
    return tag(
        "details",
        tag(
            "summary",
            tag("span", case.name, class_="name"),
            [tag("span", change, class_="change") for change in shown.changes],
            [tag("span", each, class_="tag") for each in sorted(case.tags)],
            tag("code", case.place, class_="place"),
        ),
        tag("ul", [tag("li", fault) for fault in shown.faults], class_="faults") if shown.faults else None,
        [_side(name, side) for name, side in shown.found],
        _texts(shown, spans, longest) if longest is not None else None,
        _places(spans),
        class_="case",
        id=identity,
        open=unfolded,
        data_keys=" ".join(dict.fromkeys(keys[word][0] for word in _words(shown))),
    )


def _side(name: str, side: FoundSide) -> Markup:
    """What was decided and found on one side, in a line."""
    return tag(
        "p",
        tag("b", name),
        " ",
        tag("span", side.decision, class_=f"decision {_tone(side.decision)}"),
        [_found(word, kind, filtered=filtered) for word, kind, filtered in _findings(side)],
        tag("span", side.error, class_="finding error") if side.error is not None else None,
        class_="side",
    )


def _tone(decision: str) -> str:
    return decision if decision in {"allow", "filter"} else "error"


def _findings(side: FoundSide) -> Iterator[tuple[str, str, bool]]:
    for category, each in side.categories.items():
        if each.severity is not None:
            yield f"{category} {each.severity}", category, each.filtered
        elif each.detected:
            yield str(category), category, each.filtered
    yield from ((f"blocklist {name}", name, filtered) for name, filtered in side.blocklists.items())


def _found(word: str, label: str, *, filtered: bool) -> Markup:
    dot = tag("i", class_=f"dot {kind_of(label)}", aria_hidden="true")
    return tag("span", dot, word, " filtered" if filtered else None, class_="finding filtered" if filtered else "finding")


def _texts(shown: ShownCase, spans: Sequence[FoundSpan], longest: int) -> list[Markup]:
    return [text_block(text, [span for span in spans if span.field == text.field], longest) for text in texts_of(shown.case)]


def _places(spans: Sequence[FoundSpan]) -> Markup | None:
    listed = places(spans)
    return (
        tag(
            "details",
            tag("summary", f"Found in {len(spans):,} {'places' if len(spans) > 1 else 'place'}"),
            listed,
            class_="found",
        )
        if listed
        else None
    )
