"""Spans lie inside the text, at words, heaviest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.explain import MOST, spans
from safety_proxy.classifiers.embedded.model import HEADS, Model

VIOLENCE = HEADS.index("violence")
SEXUAL = HEADS.index("sexual")


MODEL = Model.load()


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
def test_spans_lie_inside_the_text_and_the_heaviest_come_first(text: str) -> None:
    found = spans(MODEL, text, {"violence": VIOLENCE, "sexual": SEXUAL})
    assert len(found) <= MOST
    for span in found:
        assert 0 <= span.start < span.end <= len(text)
        assert span.label in {"violence", "sexual"}
        assert span.weight > 0
        assert not text[span.start].isspace()
        assert not text[span.end - 1].isspace()
    assert [span.weight for span in found] == sorted((span.weight for span in found), reverse=True)


def test_the_words_that_threaten_are_pointed_at() -> None:
    text = "The weather is fine and the garden is in flower. \u00bb\uff29 will kill you\u00ab, he wrote to the mayor."
    heaviest = spans(MODEL, text, {"violence": VIOLENCE})[0]
    assert "kill you" in text[heaviest.start : heaviest.end]
    assert "weather" not in text[heaviest.start : heaviest.end]


def test_nothing_is_pointed_at_where_nothing_was_found() -> None:
    assert spans(MODEL, "I will kill you", {}) == ()
    assert spans(MODEL, "", {"violence": VIOLENCE}) == ()


def test_the_weights_of_all_words_sum_to_what_the_words_add_to_the_score() -> None:
    """With one word there is one span, and it carries the score but for the bias and the blanks around it."""
    (span,) = spans(MODEL, "murder", {"violence": VIOLENCE})
    score = float(MODEL.scores("murder")[VIOLENCE]) - float(MODEL.biases[VIOLENCE])
    assert (span.start, span.end) == (0, 6)
    assert 0 < span.weight < score
