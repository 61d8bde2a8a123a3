"""Make ``tokens.npz`` from a model in the format of sentence-transformers: ``... make_tokens --model DIR --out FILE``.

*DIR* holds ``model.safetensors`` and ``vocab.txt``. This was run once; what it made is shipped and training reads it.
Needs the package safetensors (the extra ``train``).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import load_file

from safety_proxy.classifiers.embedded.wordpiece import Tokens, plain

WIDTH: Final = 128
"""Components that are kept: of 384, those along which the vectors differ most."""
_TABLE: Final = "embeddings.word_embeddings.weight"
_WIDEST: Final = 6.0
"""Standard deviations that the int8 range spans; the few components beyond are cut."""


def make_tokens(model: Path, width: int = WIDTH) -> Tokens:
    """The plain pieces of *model*'s vocabulary with their token embeddings, centred and rotated (PCA), in int8."""
    weights = model / "model.safetensors"
    pieces = (model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    kept = plain(pieces)
    table = next(array for name, array in load_file(weights).items() if name.endswith(_TABLE)).astype(np.float64)[kept]
    table -= table.mean(axis=0)
    _, axes = np.linalg.eigh(table.T @ table)
    table = table @ axes[:, ::-1][:, :width]
    # An axis has no sign of its own; that of its greatest component is fixed, whatever a linear algebra library chose.
    table *= np.sign(table[np.abs(table).argmax(axis=0), np.arange(table.shape[1])])
    scale = _WIDEST * float(table.std()) / 127
    metadata = {
        "licence": "Apache-2.0",
        "made_by": "safety_proxy.classifiers.embedded.make_tokens",
        "source": "token embeddings of sentence-transformers/all-MiniLM-L6-v2",
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    vectors = np.clip(np.rint(table / scale), -127, 127).astype(np.int8)
    # In units of the standard deviation: what is learnt on top expects numbers about one.
    return Tokens(tuple(pieces[number] for number in kept), vectors, _WIDEST / 127, metadata)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the file from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m safety_proxy.classifiers.embedded.make_tokens", description=main.__doc__
    )
    parser.add_argument("--model", type=Path, required=True, help="folder with model.safetensors and vocab.txt")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    options = parser.parse_args(arguments)
    make_tokens(options.model).save(options.out)


if __name__ == "__main__":
    main()
