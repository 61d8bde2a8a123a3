"""Vocabularies, networks and models that are small enough to be followed by hand; none depends on the one that ships."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from safety_proxy.classifiers.embedded.features import Recipe, distinct, ngrams, prepare
from safety_proxy.classifiers.embedded.model import HEADS, Model, describe
from safety_proxy.classifiers.embedded.network import REACH, Network, steps_for
from safety_proxy.classifiers.embedded.wordpiece import UNKNOWN, Tokens

H = len(HEADS)
SMALL = Recipe(bits=10)
SYLLABLES = ("ba", "do", "ki", "lu", "me")
PIECES = (UNKNOWN, *SYLLABLES, *(f"##{syllable}" for syllable in SYLLABLES), ".", "a")


def tiny_tokens(pieces: tuple[str, ...] = PIECES, *, width: int = 4, seed: int = 0) -> Tokens:
    """A vocabulary of syllables with random vectors."""
    vectors = np.random.default_rng(seed).integers(-127, 128, (len(pieces), width), dtype=np.int8)
    return Tokens(pieces, vectors, 0.02, {"licence": "none"})


def tiny_network(tokens: Tokens, *, channels: int = 5, heads: int = H, seed: int = 0) -> Network:
    """Random weights, with the steps that fit them."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, 0.5, shape).astype(np.float32)

    width = tokens.vectors.shape[1]
    network = Network(
        kernel=normal(REACH * width, channels),
        bias=normal(channels),
        output=normal(2 * channels, heads),
        output_bias=normal(heads),
        steps=np.ones(channels, np.float32),
    )
    return Network(network.kernel, network.bias, network.output, network.output_bias, steps_for(network, tokens))


def tiny_model(*, seed: int = 0, tokens: Tokens | None = None, **changes: npt.NDArray[Any]) -> Model:
    """Random weights in 1,024 buckets over syllables. *changes* are arrays, by name."""
    random = np.random.default_rng(seed)
    known = tokens or tiny_tokens()
    network = tiny_network(known, seed=seed)
    arrays: dict[str, Any] = {
        "weights": random.integers(-127, 128, (1 << SMALL.bits, H), dtype=np.int8),
        "scales": random.uniform(0.01, 0.1, H).astype(np.float32),
        "biases": random.uniform(-1, 0, H).astype(np.float32),
        "window_shares": np.array([[0.5] * H, [0.25] * H], np.float32),
        "kernel": network.kernel,
        "channel_bias": network.bias,
        "channel_steps": network.steps,
        "output": network.output,
        "output_bias": network.output_bias,
        "calibration": np.tile(np.array([1.5, -0.5], np.float32), (H, 1)),
        "cuts": np.array([[[0, 1, 3]] * H, [[0.5, 2, 4]] * H], np.float32),
    }
    return Model(**(arrays | changes), metadata=describe(SMALL) | {"tokens": known.digest}, tokens=known)


def constant_model(other: float = -9.0, **scores: float) -> Model:
    """Gives every text the same *scores* (by head); cuts at 0, 2 and 4 for a text, at 1, 3 and 5 for a window."""
    constant = np.array([scores.get(head, other) for head in HEADS], np.float32)
    silent = {name: np.zeros_like(getattr(tiny_model(), name)) for name in ("weights", "output")}
    cuts = np.array([[[0, 2, 4]] * H, [[1, 3, 5]] * H], np.float32)
    return tiny_model(**silent, biases=constant, output_bias=constant, cuts=cuts)


def taught_model(**words: str) -> Model:
    """Gives a text a high score under a head if it holds the word given for it, and a low one otherwise."""
    recipe = Recipe(bits=16)
    weights = np.zeros((1 << recipe.bits, H), np.int8)
    for head, word in words.items():
        weights[distinct([family.buckets for family in ngrams(prepare(word), recipe)]), HEADS.index(head)] = 127
    base = tiny_model()
    return Model(
        weights=weights,
        scales=np.full(H, 0.1, np.float32),
        biases=np.full(H, -3, np.float32),
        window_shares=np.ones((2, H), np.float32),  # the best window counts alone
        kernel=base.kernel,
        channel_bias=base.channel_bias,
        channel_steps=base.channel_steps,
        output=np.zeros_like(base.output),
        output_bias=np.full(H, -3, np.float32),
        calibration=np.tile(np.array([1, 0], np.float32), (H, 1)),
        cuts=np.array([[[-1, 0, 1]] * H] * 2, np.float32),
        metadata=describe(recipe) | {"tokens": base.tokens.digest},
        tokens=base.tokens,
    )
