"""The texts of a case, with what was found in them marked; long ones in excerpts, with the whole to unfold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import orjson

from safety_proxy.harness.cases import Case
from safety_proxy.harness.html_markup import Markup, join, tag, visible
from safety_proxy.harness.outcome import FoundSpan
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, JSONObject

SHORT: Final = 900
"""Characters up to which a text is shown as it is."""
CONTEXT: Final = 120
"""Characters either side of what was found in a longer text."""
_EXCERPT: Final = 3_000
"""Characters of a text in which much was found that are shown at once."""
_LISTED: Final = 50
"""Places that are listed for each text; more are marked, not listed."""
_CATEGORIES: Final = frozenset(Category)
_PARTS: Final = ("text", "refusal", "thinking")
"""Where in a part of a message's content its text stands."""


@dataclass(frozen=True, slots=True)
class Text:
    """One string of a case."""

    field: str
    """As `FoundSpan.field` names it."""
    text: str
    role: str = ""
    """Who wrote it, where the case says so."""


# ---------------------------------------------------------------------------------------------------------- which texts


def texts_of(case: Case) -> Iterator[Text]:
    """Every text of the case, in the order of the request. What is no text (tools, calls, images) comes as JSON."""
    for key, value in case.body.items():
        if key == "messages" and isinstance(value, list):
            for i, message in enumerate(value):
                yield from _message(message, f"messages[{i}]")
        elif key == "completion":
            channel = "text" if "prompt" in case.body else "content"
            for i, choice in enumerate(value if isinstance(value, list) else [value]):
                yield from _choice(choice, f"completion[{i}]", channel)
        elif key == "prompt" and isinstance(value, list):
            yield from (Text(f"prompt[{i}]", _written(each)) for i, each in enumerate(value))
        else:
            yield Text(key, _written(value))


def _message(message: JSON, field: str) -> Iterator[Text]:
    if not isinstance(message, dict):
        yield Text(field, _written(message))
        return
    role = str(message.get("role", ""))
    for key, value in message.items():
        place = f"{field}.{key}"
        if key == "content" and isinstance(value, list):
            for i, part in enumerate(value):
                yield from _part(part, f"{place}[{i}]", role)
        elif key != "role" and value is not None:
            yield Text(place, _written(value), role)


def _part(part: JSON, field: str, role: str) -> Iterator[Text]:
    key = next((key for key in _PARTS if isinstance(as_object(part).get(key), str)), None)
    if key is None:
        yield Text(field, _written(part), role)
        return
    inner = as_object(part)
    yield Text(f"{field}.{key}", _written(inner[key]), role)
    rest = {name: value for name, value in inner.items() if name not in {key, "type"}}
    if rest:
        yield Text(field, _written(rest), role)


def _choice(choice: JSON, field: str, channel: str) -> Iterator[Text]:
    """By channel, as spans of a completion name them: ``completion[0].tool_call:1.arguments``."""
    if not isinstance(choice, dict):
        yield Text(f"{field}.{channel}", _written(choice), "assistant")
        return
    for key, value in choice.items():
        if key == "tool_calls" and isinstance(value, list):
            for position, call in enumerate(value):
                yield from _call(as_object(call), field, position)
        elif key != "role" and value is not None:
            yield Text(f"{field}.{key}", _written(value), "assistant")


def _call(call: JSONObject, field: str, position: int) -> Iterator[Text]:
    index = call.get("index", position)
    function = {**as_object(call.get("function")), **as_object(call.get("custom"))}
    for key, value in function.items():
        yield Text(f"{field}.tool_call:{index}.{key}", _written(value), "assistant")


def _written(value: JSON) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


# ---------------------------------------------------------------------------------------------------------------- marks


def kind_of(label: str) -> str:
    """The class of what was found: its category, else ``blocklist``."""
    return label.replace("_", "-") if label in _CATEGORIES else "blocklist"


def marked(text: str, spans: Sequence[FoundSpan], start: int, end: int) -> Markup:
    """The characters from *start* to *end*, with what was found in them in ``mark``; where spans overlap, in one for all."""
    inside = [(max(span.start, start), min(span.end, end), span.label) for span in spans]
    opening: dict[int, list[str]] = {}
    closing: dict[int, list[str]] = {}
    for first, last, label in inside:
        if first < last:
            opening.setdefault(first, []).append(label)
            closing.setdefault(last, []).append(label)
    open_now: Counter[str] = Counter()
    pieces: list[Markup] = []
    for here, there in pairwise(sorted({start, end, *opening, *closing})):
        open_now.update(opening.get(here, ()))
        open_now.subtract(closing.get(here, ()))
        pieces.append(_piece(text[here:there], sorted(label for label, count in open_now.items() if count > 0)))
    return join(pieces)


def _piece(text: str, labels: Sequence[str]) -> Markup:
    if not labels:
        return visible(text)
    kinds = " ".join(dict.fromkeys(map(kind_of, labels)))
    return tag("mark", visible(text), class_=f"{kinds}{' several' if len(labels) > 1 else ''}", title=", ".join(labels))


def excerpts(length: int, spans: Sequence[FoundSpan]) -> list[tuple[int, int]]:
    """Which characters of a text are shown at once: all of a short one, else those around what was found, else the first."""
    if length <= SHORT:
        return [(0, length)]
    edges = sorted({min(edge, length) for span in spans if span.start < length for edge in (span.start, span.end)})
    shown: list[tuple[int, int]] = []
    for edge in edges:
        start = edge - CONTEXT if edge > 2 * CONTEXT else 0
        end = edge + CONTEXT if edge < length - 2 * CONTEXT else length
        before = shown
        if shown and start <= shown[-1][1] + CONTEXT:  # too little between them to be left out
            start, before = shown[-1][0], shown[:-1]
        if sum(last - first for first, last in before) + end - start > _EXCERPT:
            break
        shown = [*before, (start, end)]
    return shown or [(0, SHORT)]


# ---------------------------------------------------------------------------------------------------------------- blocks


def text_block(text: Text, spans: Sequence[FoundSpan], longest: int) -> Markup:
    """One text with its marks. Of a long one an excerpt is shown, and at most *longest* characters can be unfolded."""
    shown = excerpts(len(text.text), spans)
    whole = shown == [(0, len(text.text))]
    return tag(
        "div",
        tag("p", tag("code", text.field), tag("span", text.role, class_="role") if text.role else None, class_="field"),
        tag("pre", _excerpt(text.text, spans, shown), dir="auto"),
        None if whole else _unfold(text.text, spans, longest),
        class_="text",
    )


def _excerpt(text: str, spans: Sequence[FoundSpan], shown: Sequence[tuple[int, int]]) -> Iterator[Markup]:
    at = 0
    for start, end in shown:
        yield _gap(start - at)
        yield marked(text, spans, start, end)
        at = end
    yield _gap(len(text) - at)


def _gap(count: int) -> Markup:
    return tag("span", f" … {count:,} characters … ", class_="gap") if count > 0 else Markup()


def _unfold(text: str, spans: Sequence[FoundSpan], longest: int) -> Markup:
    end = min(len(text), longest)
    summary = f"All {len(text):,} characters" if end == len(text) else f"The first {end:,} of {len(text):,} characters"
    return tag("details", tag("summary", summary), tag("pre", marked(text, spans, 0, end), dir="auto"), class_="whole")


def places(spans: Sequence[FoundSpan]) -> Markup | None:
    """Where what was found, in words: a list for each field. None if nothing was."""
    ordered = sorted(
        set(spans), key=lambda span: (span.field, span.start, span.end, span.label, span.classifier, span.weight)
    )
    fields = [(field, list(each)) for field, each in groupby(ordered, key=lambda span: span.field)]
    return tag("ul", [_places(field, each) for field, each in fields], class_="places") if fields else None


def _places(field: str, spans: Sequence[FoundSpan]) -> Markup:
    listed = [
        tag("li", tag("b", span.label, class_=kind_of(span.label)), f" {span.start}\N{EN DASH}{span.end}, {_who(span)}")
        for span in spans[:_LISTED]
    ]
    more = tag("li", f"and {len(spans) - _LISTED:,} more") if len(spans) > _LISTED else None
    return tag("li", tag("code", field), tag("ul", listed, more))


def _who(span: FoundSpan) -> str:
    return span.classifier if span.weight == 1 else f"{span.classifier}, weight {span.weight:.2f}"
