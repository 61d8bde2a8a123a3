"""Spans lie inside the text, at words, heaviest first, and weigh what their words add to the score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.explain import MOST, spans
from safety_proxy.classifiers.embedded.features import align
from safety_proxy.classifiers.embedded.model import HEADS, Model
from tests.classifiers.tiny_models import H, constant_model, taught_model, tiny_model

VIOLENCE = HEADS.index("violence")
SEXUAL = HEADS.index("sexual")
BOTH = {"violence": VIOLENCE, "sexual": SEXUAL}

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)


@pytest.fixture(scope="module")
def shipped() -> Model:
    return Model.load()


@given(TEXTS | st.lists(st.sampled_from(["bado", "kilu", "me", "zebra", "\uff29."]), max_size=30).map(" ".join))
def test_spans_lie_inside_the_text_and_the_heaviest_come_first(text: str) -> None:
    found = spans(tiny_model(), text, BOTH)
    assert len(found) <= MOST
    for span in found:
        assert 0 <= span.start < span.end <= len(text)
        assert span.label in BOTH
        assert span.weight > 0
        assert not text[span.start].isspace()
        assert not text[span.end - 1].isspace()
    assert [span.weight for span in found] == sorted((span.weight for span in found), reverse=True)


@given(st.lists(st.sampled_from(["bado", "kilu", "me", "zebra"]), min_size=1, max_size=6).map(" ".join))
def test_the_weights_are_what_the_words_add_to_the_score(text: str) -> None:
    """Words that speak against a head part its spans, and have none."""
    model = tiny_model()
    prepared, pieces = align(text)
    added = model.contributions(prepared, VIOLENCE)
    words = [float(added[piece.prepared_start : piece.prepared_end].sum()) for piece in pieces]
    if sum(weight > 0 for weight in words) <= MOST:
        found = sum(span.weight for span in spans(model, text, {"violence": VIOLENCE}))
        assert found == pytest.approx(sum(weight for weight in words if weight > 0), abs=1e-6)


def test_one_word_that_gives_a_head_away_carries_the_score() -> None:
    """But for the bias and for the n-grams that hold a blank, of which the blank has its share."""
    model = taught_model(violence="murder")
    score = float(model.scores("murder")[VIOLENCE]) - float(model.scores("")[VIOLENCE])
    (span,) = spans(model, "murder", {"violence": VIOLENCE})
    assert (span.start, span.end, span.label) == (0, 6, "violence")
    assert score / 2 < span.weight < score


def test_what_the_network_alone_knows_is_pointed_at_too() -> None:
    """A model without n-grams; its network hears one piece."""
    base = tiny_model()
    piece = int(base.tokens.ids("ki")[0])
    kernel = np.zeros_like(base.kernel)
    width = base.tokens.vectors.shape[1]
    kernel[width : 2 * width, 0] = np.linalg.pinv(base.tokens.vectors.astype(np.float64) * base.tokens.scale)[:, piece]
    output = np.zeros_like(base.output)
    output[0, VIOLENCE] = 5
    model = tiny_model(
        weights=np.zeros_like(base.weights),
        kernel=kernel,
        channel_bias=np.zeros_like(base.channel_bias),
        channel_steps=np.full_like(base.channel_steps, 0.01),
        output=output,
    )
    hidden = base.tokens.vectors.astype(np.float64) * base.tokens.scale @ kernel[width : 2 * width, 0]
    assert np.argmax(hidden) == piece
    (span,) = spans(model, "lu me ki do", {"violence": VIOLENCE})
    assert (span.start, span.end) == (6, 8)
    assert span.weight == pytest.approx(5 * hidden[piece] / 2, rel=0.1)


def test_each_head_has_its_own_spans() -> None:
    model = taught_model(violence="dragonfire", sexual="brimstone")
    text = "dragonfire and some more of brimstone"
    found = {span.label: text[span.start : span.end] for span in spans(model, text, BOTH) if span.weight > 0.5}
    assert found == {"violence": "dragonfire", "sexual": "brimstone"}
    assert {span.label for span in spans(model, text, {"sexual": SEXUAL})} == {"sexual"}


def test_neighbouring_words_make_one_span_and_a_word_between_parts_two() -> None:
    model = taught_model(violence="dragonfire")
    text = "dragonfire, dragonfire calm dragonfire"
    assert {text[span.start : span.end] for span in spans(model, text, {"violence": VIOLENCE})} == {
        "dragonfire, dragonfire",
        "dragonfire",
    }


def test_only_the_heaviest_spans_are_given() -> None:
    model = taught_model(violence="dragonfire")
    assert len(spans(model, "dragonfire calm " * (MOST + 3), {"violence": VIOLENCE})) == MOST


def test_the_words_that_threaten_are_pointed_at(shipped: Model) -> None:
    text = "The weather is fine and the garden is in flower. \u00bb\uff29 will kill you\u00ab, he wrote to the mayor."
    heaviest = spans(shipped, text, {"violence": VIOLENCE})[0]
    assert "kill you" in text[heaviest.start : heaviest.end]
    assert "weather" not in text[heaviest.start : heaviest.end]


def test_nothing_is_pointed_at_where_nothing_was_found() -> None:
    model = taught_model(violence="dragonfire")
    assert spans(model, "dragonfire", {}) == ()
    for text in ("", " \n", "\u200b"):
        assert spans(model, text, BOTH) == ()
    assert spans(constant_model(violence=9), "dragonfire", dict(zip(HEADS, range(H), strict=True))) == ()
