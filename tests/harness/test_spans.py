"""Places of what was found are characters of the field that was sent."""

from __future__ import annotations

from safety_proxy.errors import ClassifierError
from safety_proxy.harness.spans import found_spans
from safety_proxy.model import ALLOWED, Kind, Query, Span, Verdict
from safety_proxy.moderation import Judged
from safety_proxy.rule import Outcome


def judged(offset: int | None) -> Judged:
    query = Query("a bad word", Kind.COMPLETION, offset=offset)
    said: dict[str, Outcome] = {"a": Verdict(spans=(Span(2, 5, "hate", 0.5),)), "b": ClassifierError("timeout")}
    return Judged(query, ALLOWED, said)


def test_they_count_from_the_beginning_of_the_field() -> None:
    (found,) = found_spans(judged(100), "completion.content")

    assert (found.field, found.start, found.end, found.label, found.classifier, found.weight) == (
        "completion.content",
        102,
        105,
        "hate",
        "a",
        0.5,
    )


def test_what_is_not_written_there_like_this_has_none() -> None:
    assert found_spans(judged(None), "completion.content") == []
