"""The gradient is that of the loss, texts of a batch do not see each other, and what can be learnt is learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded import network_training as module
from safety_proxy.classifiers.embedded.network import MEAN_WEIGHT, REACH, SHORT, Network, Reader, steps_for
from safety_proxy.classifiers.embedded.network_training import Batch, Schedule, gradient, lay_out, learn
from safety_proxy.classifiers.embedded.wordpiece import Ids
from tests.classifiers.tiny_models import PIECES, tiny_network, tiny_tokens

TOKENS = tiny_tokens()
WIDTH = TOKENS.vectors.shape[1]
VECTORS = np.zeros((len(PIECES) + 1, WIDTH), np.float32)
VECTORS[:-1] = TOKENS.vectors * np.float32(TOKENS.scale)
"""The last row is the gap."""
GAP = [0.0] * WIDTH

TEXT = st.lists(st.integers(0, len(PIECES) - 1), max_size=9).map(lambda ids: np.array(ids, np.intp))
TEXTS = st.lists(TEXT, min_size=1, max_size=6)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def some_texts(lengths: Sequence[int]) -> list[Ids]:
    """Texts in which no three neighbours occur twice, so that no two numbers of a channel are equal."""
    random = rng()
    return [random.permutation(len(PIECES))[:length] for length in lengths]


def inputs_of(ids: Ids) -> list[list[float]]:
    """Each piece's vector with its neighbours', by hand; beyond the edges there is nothing."""
    vectors = [GAP, *(VECTORS[number].tolist() for number in ids), GAP]
    return [[value for vector in vectors[place : place + REACH] for value in vector] for place in range(len(ids))] or [
        GAP * REACH
    ]


# --------------------------------------------------------------------------------------------------------------- lay_out


@given(TEXTS)
def test_no_piece_of_a_batch_sees_a_piece_of_another_text(texts: list[Ids]) -> None:
    batch = lay_out(texts, np.zeros((len(texts), 2), np.int8), VECTORS)
    assert batch.counts.tolist() == [max(len(ids), 1) for ids in texts]
    assert batch.starts.tolist() == [sum(batch.counts[:row]) for row in range(len(texts))]
    for ids, start, count in zip(texts, batch.starts, batch.counts, strict=True):
        assert batch.inputs[start : start + count].tolist() == inputs_of(ids)
    assert len(batch.inputs) == batch.counts.sum()


# -------------------------------------------------------------------------------------------------------------- gradient


def loss(
    network: Network,
    texts: Sequence[Ids],
    labels: npt.NDArray[np.int8],
    seen: Sequence[npt.NDArray[np.float32]] | None = None,
    kept: npt.NDArray[np.float32] | None = None,
) -> float:
    """Cross entropy of the known labels, by hand and in float64. *seen* and *kept* leave out inputs and pooled numbers."""
    total = 0.0
    for number, (ids, row) in enumerate(zip(texts, labels, strict=True)):
        inputs = np.array(inputs_of(ids)) * (1 if seen is None else seen[number])
        hidden = np.maximum(inputs @ network.kernel + network.bias, 0)
        mean = hidden.sum(axis=0) * MEAN_WEIGHT / (len(hidden) + SHORT)
        pooled = np.concatenate([hidden.max(axis=0), mean]) * (1 if kept is None else kept[number])
        logits = pooled @ network.output + network.output_bias
        for logit, label, weight in zip(logits, row, POSITIVE, strict=True):
            chance = 1 / (1 + math.exp(-logit))
            total -= {1: weight * math.log(chance), 0: math.log(1 - chance), -1: 0.0}[int(label)]
    return total / len(texts)


LABELS = np.array([[1, 0, -1], [0, 1, 1], [-1, -1, 1], [0, 0, 0]], np.int8)
POSITIVE = (1.0, 3.0, 0.5)


@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("name", ["kernel", "bias", "output", "output_bias"])
def test_the_gradient_is_how_the_loss_changes(name: str, drop: float) -> None:
    network = tiny_network(TOKENS, channels=3, heads=3, seed=5)
    texts = some_texts([7, 2, 0, 9])
    batch = lay_out(texts, LABELS, VECTORS)
    found = gradient(network, batch, np.array(POSITIVE, np.float32), drop, rng())[name]
    masks = rng()
    seen = np.split(module._mask(batch.inputs.shape, drop, masks), batch.starts[1:])
    kept = module._mask((len(texts), 2 * 3), drop, masks)
    value = getattr(network, name).astype(np.float64)
    assert found.shape == value.shape
    assert found.dtype == np.float32
    for place in np.ndindex(value.shape):
        near = []
        for step in (1e-5, -1e-5):
            moved = value.copy()
            moved[place] += step
            near.append(loss(replace(network, **{name: moved}), texts, LABELS, seen, kept))
        assert found[place] == pytest.approx((near[0] - near[1]) / 2e-5, abs=1e-4)


def test_rows_whose_labels_are_not_known_have_no_influence_on_the_gradient() -> None:
    network = tiny_network(TOKENS, heads=3)
    labels = LABELS.copy()
    labels[2] = -1
    texts = some_texts([7, 2, 4, 9])
    found = []
    for unknown in ([0, 1, 2], [9, 9, 9]):
        texts[2] = np.array(unknown)
        found.append(gradient(network, lay_out(texts, labels, VECTORS), np.ones(3, np.float32), 0.0, rng()))
    for name, value in found[0].items():
        assert value.tolist() == found[1][name].tolist()
    only = lay_out(texts[2:3], labels[2:3], VECTORS)
    for value in gradient(network, only, np.ones(3, np.float32), 0.3, rng()).values():
        assert not value.any()


def test_no_logit_is_so_large_that_the_gradient_is_no_number() -> None:
    network = replace(tiny_network(TOKENS, heads=2), output_bias=np.array([1e6, -1e6], np.float32))
    batch = lay_out(some_texts([3]), np.array([[0, 1]], np.int8), VECTORS)
    found = gradient(network, batch, np.ones(2, np.float32), 0.0, rng())
    assert found["output_bias"].tolist() == pytest.approx([1.0, -1.0])


def test_a_share_is_left_out_at_random_and_the_rest_makes_up_for_it() -> None:
    mask = module._mask((200, 300), 0.3, rng())
    assert np.unique(mask).tolist() == pytest.approx([0, 1 / 0.7])
    assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert module._mask((2, 3), 0.0, rng()).tolist() == [[1.0] * 3] * 2


# --------------------------------------------------------------------------------------------------------------- batches


@given(TEXT, TEXT, TEXT, st.integers(9, 30), st.integers(0, 2**32 - 1))
def test_a_text_between_harmless_ones_stays_whole_and_within_the_limit(
    ids: Ids, first: Ids, second: Ids, longest: int, seed: int
) -> None:
    """The pieces of the three are told apart by their numbers."""
    found = module._surrounded(
        ids, [first + 100, second + 200], Schedule(longest=longest), np.random.default_rng(seed)
    ).tolist()
    assert len(found) <= longest
    before = [number - 100 for number in found if 100 <= number < 200]
    after = [number - 200 for number in found if number >= 200]
    assert found == [number + 100 for number in before] + ids.tolist() + [number + 200 for number in after]
    assert before == first.tolist()[len(first) - len(before) :]
    assert after == second.tolist()[: len(after)]


def test_the_place_between_the_harmless_texts_is_any() -> None:
    random, long = rng(), np.full(50, 1)
    places = {
        int(np.argmin(module._surrounded(np.array([0]), [long, long], Schedule(longest=10), random))) for _ in range(500)
    }
    assert places == set(range(10))


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_stretch_of_a_long_text_is_as_long_as_may_be_and_a_short_text_stays_whole(
    length: int, longest: int, seed: int
) -> None:
    stretch = module._stretch(np.arange(length), longest, np.random.default_rng(seed)).tolist()
    assert len(stretch) == min(length, longest)
    assert stretch == list(range(stretch[0], stretch[0] + len(stretch)))


def test_any_stretch_may_be_drawn() -> None:
    random = rng()
    assert {int(module._stretch(np.arange(7), 4, random)[0]) for _ in range(200)} == {0, 1, 2, 3}


def drawn(
    texts: Sequence[Ids], labels: npt.NDArray[np.int8], weights: Sequence[float], steps: int = 20, **schedule: float
) -> list[Batch]:
    chosen = replace(Schedule(batch=10, surrounded=0.0), **schedule)  # type: ignore[arg-type]  # numbers, by name
    return list(module._batches(texts, labels, np.array(weights), TOKENS, chosen, steps, rng()))


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.int8)
    batches = drawn(some_texts([3, 4, 5]), labels, [1.0, 3.0, 0.0], steps=200)
    assert len(batches) == 200
    seen = [tuple(row) for batch in batches for row in batch.labels.tolist()]
    assert len(seen) == 2000
    assert set(seen) == {(1, 0), (0, 1)}
    assert seen.count((0, 1)) / len(seen) == pytest.approx(0.75, abs=0.05)


def test_a_row_brings_its_own_text_and_labels() -> None:
    texts, labels = some_texts([3, 4, 5]), np.array([[1, 0], [0, 1], [1, 1]], np.int8)
    counts = {3: (1, 0), 4: (0, 1), 5: (1, 1)}
    for batch in drawn(texts, labels, [1.0, 1.0, 1.0]):
        for start, count, row in zip(batch.starts, batch.counts, batch.labels.tolist(), strict=True):
            assert counts[int(count)] == tuple(row)
            assert batch.inputs[start : start + count].tolist() == inputs_of(texts[int(count) - 3])


def test_a_share_of_the_rows_is_laid_between_harmless_ones_if_there_are_any() -> None:
    texts, labels = some_texts([3, 9]), np.array([[1], [0]], np.int8)
    for harmless, expected in ((0, True), (-1, False)):
        labels[1] = harmless
        batches = drawn(texts, labels, [1.0, 0.0], surrounded=1.0, longest=20)
        assert all((batch.counts > 3).any() for batch in batches) is expected
        assert all((batch.counts <= 20).all() for batch in batches)
        assert all((batch.labels == 1).all() for batch in batches)


# ----------------------------------------------------------------------------------------------------------------- learn


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 1000])
def test_the_rate_rises_to_its_highest_and_falls_to_nearly_nothing(steps: int) -> None:
    rates = [module._rate(0.5, step, steps) for step in range(1, steps + 1)]
    assert all(0 < rate <= 0.5 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= steps / 5
    assert rates[-1] <= 1 / steps


def test_a_step_goes_against_the_gradient_by_about_the_rate() -> None:
    """Adam's first step is the rate in every direction in which there is a gradient, however small."""
    network = tiny_network(TOKENS)
    before = {name: value.copy() for name, value in module._parameters(network).items()}
    state = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in before.items()}
    gradients = {
        name: np.full_like(value, sign * 1e-3) for (name, value), sign in zip(before.items(), (1, -1, 5, 0), strict=True)
    }
    module._move(network, state, gradients, 0.01, 1)
    for (name, value), sign in zip(before.items(), (1, -1, 1, 0), strict=True):
        change = module._parameters(network)[name] - value
        assert np.allclose(change, -0.01 * sign, rtol=1e-2, atol=1e-9)


EASY = Schedule(channels=8, samples=6000, batch=16, rate=0.02, drop=0.0, longest=12, surrounded=0.0)
"""Enough for the tasks below."""


def task() -> tuple[list[Ids], npt.NDArray[np.int8]]:
    """First head: does the text hold piece 3? Second head: does 5 stand right before 6? Both pieces are in every text."""
    random = rng()
    texts, labels = [], []
    for number in range(240):
        around = random.choice([0, 1, 2, 4, 7, 8, 9], 4).tolist()
        middle = ([5, 6], [6, 5], [5, 2, 6])[number % 3]
        found = number % 2
        texts.append(np.array([*around[:2], *middle, *around[2:], *([3] if found else [])], np.intp))
        labels.append([found, number % 3 == 0])
    return texts, np.array(labels, np.int8)


def taught(texts: Sequence[Ids], labels: npt.NDArray[np.int8], schedule: Schedule = EASY, seed: int = 3) -> Network:
    return learn(texts, labels, np.ones(len(texts)), TOKENS, [1.0] * labels.shape[1], schedule, seed)


def scores(network: Network, texts: Sequence[Ids]) -> npt.NDArray[np.float64]:
    reader, shares = Reader(network, TOKENS), np.zeros(network.output.shape[1])
    return np.array([reader.scores(ids, shares) for ids in texts])


def arrays(network: Network) -> list[list[float]]:
    fields = (network.kernel, network.bias, network.output, network.output_bias, network.steps)
    return [array.ravel().tolist() for array in fields]


def test_words_and_their_order_are_learnt() -> None:
    texts, labels = task()
    network = taught(texts, labels)
    assert ((scores(network, texts) > 0) == (labels == 1)).mean(axis=0).tolist() == pytest.approx([1, 1], abs=0.02)


def test_drop_and_surroundings_do_not_keep_it_from_learning() -> None:
    texts, labels = task()
    network = taught(texts, labels[:, :1], replace(EASY, drop=0.1, surrounded=0.25))
    assert ((scores(network, texts) > 0) == (labels[:, :1] == 1)).mean() > 0.95


def test_learning_twice_gives_equal_arrays_and_another_seed_others() -> None:
    texts, labels = task()
    short = replace(EASY, samples=320, drop=0.3, surrounded=0.5)
    first, second, other = (arrays(taught(texts, labels, short, seed)) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_what_was_learnt_fits_into_the_steps_of_a_reader() -> None:
    network = taught(*task(), replace(EASY, samples=320))
    assert network.steps.tolist() == steps_for(network, TOKENS).tolist()


def test_the_text_of_a_row_without_a_known_label_teaches_nothing() -> None:
    texts, labels = task()
    labels[::4] = -1
    short = replace(EASY, samples=320, drop=0.3)
    first = arrays(taught(texts, labels, short))
    changed = [ids[::-1] if row % 4 == 0 else ids for row, ids in enumerate(texts)]
    assert arrays(taught(changed, labels, short)) == first
    assert arrays(taught([ids[::-1] for ids in texts], labels, short)) != first


def test_a_positive_label_that_counts_more_lifts_the_score() -> None:
    texts, labels = task()
    short = replace(EASY, samples=1600)
    once, often = (
        scores(learn(texts, labels, np.ones(len(texts)), TOKENS, [positive, 1.0], short, 3), texts)[:, 0].mean()
        for positive in (1.0, 20.0)
    )
    assert often > once


def test_fewer_samples_than_a_batch_are_one_step() -> None:
    texts, labels = task()
    assert arrays(taught(texts, labels, replace(EASY, samples=1))) == arrays(
        taught(texts, labels, replace(EASY, samples=16))
    )
    assert arrays(taught(texts, labels, replace(EASY, samples=1))) != arrays(
        taught(texts, labels, replace(EASY, samples=32))
    )
