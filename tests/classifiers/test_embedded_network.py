"""A reader's scores are those of the network it was made of, but for the rounding to steps."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.network import BLOCK, MEAN_WEIGHT, REACH, SHORT, Network, Reader, steps_for
from safety_proxy.classifiers.embedded.wordpiece import Ids, Tokens
from tests.classifiers.tiny_models import PIECES, tiny_network, tiny_tokens

TOKENS = tiny_tokens()
NETWORK = tiny_network(TOKENS)
HEADS = NETWORK.output.shape[1]
SHARES = np.linspace(0, 1, HEADS)
READER = Reader(NETWORK, TOKENS)
ROUNDING = (REACH + 1) / 2
"""Steps by which a number of a reader may be off: half of one for each of the places and for the bias."""

IDS = st.lists(st.integers(0, len(PIECES) - 1), max_size=4 * BLOCK + 3).map(lambda ids: np.array(ids, np.intp))


class Reference(NamedTuple):
    """The scores in plain floats, and how far rounding may take a reader from them."""

    scores: list[float]
    slack: list[float]


def hidden_of(network: Network, tokens: Tokens, ids: Ids) -> list[list[float]]:
    """What each piece with its neighbours brings about."""
    nothing = [0.0] * tokens.vectors.shape[1]
    vectors = [nothing, *([float(v) * tokens.scale for v in tokens.vectors[number]] for number in ids), nothing]
    kernel = network.kernel.astype(float).tolist()
    found = []
    for place in range(len(ids)):
        seen = [value for vector in vectors[place : place + REACH] for value in vector]
        sums = [sum(x * row[c] for x, row in zip(seen, kernel, strict=True)) for c in range(len(network.bias))]
        found.append([max(total + float(bias), 0.0) for total, bias in zip(sums, network.bias, strict=True)])
    return found


def head_of(network: Network, hidden: list[list[float]]) -> list[float]:
    columns = list(zip(*hidden, strict=True)) or [()] * len(network.bias)
    greatest = [max(column, default=0.0) for column in columns]
    mean = [MEAN_WEIGHT * sum(column) / (len(hidden) + SHORT) for column in columns]
    output = network.output.astype(float)
    return [float(np.dot([*greatest, *mean], output[:, h])) + float(network.output_bias[h]) for h in range(output.shape[1])]


def reference(network: Network, tokens: Tokens, shares: npt.NDArray[np.float64], ids: Ids) -> Reference:
    hidden = hidden_of(network, tokens, ids)
    whole = head_of(network, hidden)
    blocks = -(-len(ids) // BLOCK)
    segments = [head_of(network, hidden[BLOCK * n : BLOCK * (n + 2)]) for n in range(blocks - 1)] if blocks > 2 else [whole]
    best = [max(scores) for scores in zip(*segments, strict=True)]
    off = np.concatenate([network.steps, network.steps * MEAN_WEIGHT]).astype(float) * ROUNDING
    return Reference(
        [float(share) * b + (1 - float(share)) * w for share, b, w in zip(shares, best, whole, strict=True)],
        [float(off @ np.abs(network.output[:, h].astype(float))) + 1e-4 for h in range(HEADS)],
    )


@given(IDS)
def test_the_scores_are_those_of_the_plain_network_but_for_rounding(ids: Ids) -> None:
    scores, (wanted, slack) = READER.scores(ids, SHARES), reference(NETWORK, TOKENS, SHARES, ids)
    assert scores.shape == (HEADS,)
    assert scores.dtype == np.float64
    assert (np.abs(scores - wanted) <= slack).all()


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 1, 200])
def test_whole_numbers_are_scored_without_rounding_whatever_the_length(length: int) -> None:
    """With weights that are whole numbers of steps nothing is lost, so that a slip of one piece or block would show."""
    random = np.random.default_rng(length)
    tokens = Tokens(PIECES, random.integers(-3, 4, (len(PIECES), 2), dtype=np.int8), 1.0, {})
    network = Network(
        kernel=random.integers(-4, 5, (REACH * 2, 3)).astype(np.float32),
        bias=random.integers(-2, 3, 3).astype(np.float32),
        output=random.integers(-2, 3, (6, HEADS)).astype(np.float32),
        output_bias=random.integers(-2, 3, (HEADS,)).astype(np.float32),
        steps=np.ones(3, np.float32),
    )
    ids = random.integers(0, len(PIECES), length)
    wanted = reference(network, tokens, SHARES, ids).scores
    assert Reader(network, tokens).scores(ids, SHARES).tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_without_pieces_the_score_is_the_bias_of_the_head() -> None:
    assert READER.scores(np.empty(0, np.intp), SHARES).tolist() == NETWORK.output_bias.astype(float).tolist()


@pytest.mark.parametrize("length", [1, 2 * BLOCK])
def test_a_text_of_one_segment_has_no_better_part_than_the_whole(length: int) -> None:
    ids = np.arange(length) % len(PIECES)
    whole, best = (READER.scores(ids, np.full(HEADS, share)).tolist() for share in (0.0, 1.0))
    assert whole == best


def test_of_a_long_text_the_best_segment_counts_by_its_share() -> None:
    ids = np.random.default_rng(2).integers(0, len(PIECES), 5 * BLOCK)
    whole, half, best = (READER.scores(ids, np.full(HEADS, share)) for share in (0.0, 0.5, 1.0))
    assert half.tolist() == pytest.approx(((whole + best) / 2).tolist())
    assert (np.abs(whole - best) > 1e-3).any()


def test_a_segment_is_scored_the_same_wherever_it_stands_if_its_surroundings_say_less() -> None:
    """One channel that hears the unknown piece alone; pieces of silence around it."""
    tokens = Tokens(("[UNK]", "a"), np.array([[100], [0]], np.int8), 0.01, {})
    network = Network(
        kernel=np.array([[0], [1], [0]], np.float32),
        bias=np.zeros(1, np.float32),
        output=np.array([[1], [1]], np.float32),
        output_bias=np.zeros(1, np.float32),
        steps=np.full(1, 0.01, np.float32),
    )
    reader = Reader(network, tokens)
    silence = [1] * (10 * BLOCK)
    scores = set()
    for place in range(len(silence)):
        ids = np.array([*silence[:place], 0, *silence[place + 1 :]], np.intp)
        scores.add(round(float(reader.scores(ids, np.ones(1))[0]), 5))
    assert scores == {round(1 + MEAN_WEIGHT / (2 * BLOCK + SHORT), 5)}


def test_only_neighbours_are_seen_together() -> None:
    tokens = Tokens(("[UNK]", "kill", "you", "x"), np.array([[0, 0], [100, 0], [0, 100], [0, 0]], np.int8), 0.01, {})
    network = Network(
        kernel=np.array([[1, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0]], np.float32).sum(axis=1, keepdims=True),
        bias=np.full(1, -1.5, np.float32),
        output=np.array([[1], [0]], np.float32),
        output_bias=np.zeros(1, np.float32),
        steps=np.full(1, 1 / 80, np.float32),
    )
    reader = Reader(network, tokens)
    together, apart, turned = (reader.scores(np.array(ids), np.zeros(1))[0] for ids in ([1, 2], [1, 3, 2], [2, 1]))
    assert together == pytest.approx(0.5)
    assert apart == turned == 0


@given(IDS, st.integers(0, 3))
def test_the_same_pieces_get_the_same_scores_from_every_reader(ids: Ids, others: int) -> None:
    for _ in range(others):
        READER.scores(ids[::-1], SHARES)
    again = Reader(NETWORK, TOKENS).scores(ids.copy(), SHARES)
    assert READER.scores(ids, SHARES).tolist() == again.tolist()


@given(st.integers(0, 2**32 - 1))
def test_the_steps_are_the_finest_with_which_everything_fits_into_int8(seed: int) -> None:
    tokens = tiny_tokens(seed=seed)
    network = tiny_network(tokens, channels=3, seed=seed)
    steps = steps_for(network, tokens)
    assert (steps > 0).all()
    assert steps.dtype == np.float32
    vectors = tokens.vectors.astype(np.float64) * tokens.scale
    sums = [np.abs(vectors @ kernel).max(axis=0) for kernel in np.split(network.kernel.astype(np.float64), REACH)]
    largest = np.max([*sums, np.abs(network.bias)], axis=0) / steps
    assert largest.tolist() == pytest.approx([127.0] * 3, rel=1e-4)


def test_a_channel_that_never_says_anything_still_has_a_step() -> None:
    silent = replace(NETWORK, kernel=np.zeros_like(NETWORK.kernel), bias=np.zeros_like(NETWORK.bias))
    steps = steps_for(silent, TOKENS)
    assert (steps > 0).all()
    scores = Reader(replace(silent, steps=steps), TOKENS).scores(np.arange(len(PIECES)), SHARES)
    assert scores.tolist() == NETWORK.output_bias.astype(float).tolist()


@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=3 * BLOCK).map(lambda ids: np.array(ids, np.intp)))
def test_what_the_pieces_add_is_the_score_of_the_whole_but_for_the_bias(ids: Ids) -> None:
    added = READER.contributions(ids)
    assert added.shape == (len(ids), HEADS)
    expected = READER.scores(ids, np.zeros(HEADS)) - NETWORK.output_bias.astype(np.float64)
    assert added.sum(axis=0).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_greatest_number_is_the_merit_of_one_piece_alone() -> None:
    tokens = Tokens(("[UNK]", "a"), np.array([[100], [0]], np.int8), 0.01, {})
    network = Network(
        kernel=np.array([[0], [1], [0]], np.float32),
        bias=np.zeros(1, np.float32),
        output=np.array([[2], [0]], np.float32),
        output_bias=np.zeros(1, np.float32),
        steps=np.full(1, 0.01, np.float32),
    )
    added = Reader(network, tokens).contributions(np.array([1, 1, 0, 1, 0, 1]))
    assert added.ravel().tolist() == pytest.approx([0, 0, 2, 0, 0, 0])
