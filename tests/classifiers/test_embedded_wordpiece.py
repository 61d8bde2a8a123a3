"""Words fall into the longest known pieces, the same ones every time; a file of tokens is read or refused."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded import wordpiece as module
from safety_proxy.classifiers.embedded.features import prepare
from safety_proxy.classifiers.embedded.wordpiece import UNKNOWN, Tokens, plain
from safety_proxy.errors import ConfigError
from tests.classifiers.tiny_models import tiny_tokens

PIECES = ("a", "b", "ab", "abba", "##a", "##b", "##ba", "##bab", ".", "_", "!", UNKNOWN, "e", "caf", "##e")
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=100)
LETTERS = st.text("abc", max_size=12)


def split(tokens: Tokens, text: str) -> list[str]:
    return [tokens.pieces[number] for number in tokens.ids(text)]


# ---------------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("  ", []),
        ("ab", ["ab"]),
        ("aba", ["ab", "##a"]),
        ("abba", ["abba"]),
        ("abbab", ["abba", "##b"]),
        ("ab ab", ["ab", "ab"]),
        ("ab.a!", ["ab", ".", "a", "!"]),
        ("a_b", ["a", "_", "b"]),
        ("__", ["_", "_"]),
        ("c", [UNKNOWN]),
        ("ab c?ab", ["ab", UNKNOWN, UNKNOWN, "ab"]),
        ("caf\u00e9", ["caf", "##e"]),
        ("cafe\u0301", ["caf", "##e"]),
        ("\u00e9", ["e"]),
        ("\u0301", []),
        ("\ud800", [UNKNOWN]),
    ],
)
def test_a_text_falls_into_words_and_words_into_pieces(text: str, pieces: list[str]) -> None:
    assert split(tiny_tokens(PIECES), text) == pieces


def test_a_word_of_which_no_piece_goes_on_is_unknown_as_a_whole() -> None:
    assert split(tiny_tokens(PIECES), "abbac") == [UNKNOWN]


def test_a_very_long_run_of_letters_is_unknown_though_its_pieces_are_known() -> None:
    tokens = tiny_tokens(PIECES)
    assert split(tokens, "a" * module._LONGEST) == ["a"] + ["##a"] * (module._LONGEST - 1)
    assert split(tokens, "a" * (module._LONGEST + 1)) == [UNKNOWN]


@given(st.text("aab", min_size=1, max_size=12) | LETTERS.filter(bool))
def test_each_piece_is_the_longest_that_goes_on_and_together_they_are_the_word(word: str) -> None:
    tokens = tiny_tokens(PIECES)
    pieces = split(tokens, word)
    if pieces == [UNKNOWN]:
        return
    assert "".join(piece.removeprefix("##") for piece in pieces) == word
    start = 0
    for piece in pieces:
        known = [p for p in PIECES if p.startswith("##") == (start > 0) and word.startswith(p.removeprefix("##"), start)]
        assert piece == max(known, key=len)
        start += len(piece.removeprefix("##"))


@given(TEXTS)
def test_any_text_has_pieces_and_words_do_not_look_at_their_neighbours(text: str) -> None:
    tokens = tiny_tokens(PIECES)
    prepared = prepare(text)
    ids = tokens.ids(prepared)
    assert ids.dtype == np.intp
    assert ((ids >= 0) & (ids < len(PIECES))).all()
    assert ids.tolist() == [int(number) for word in prepared.split() for number in tokens.ids(word)]


@given(TEXTS)
def test_the_places_of_the_pieces_are_those_of_their_words_in_order(text: str) -> None:
    tokens = tiny_tokens(PIECES)
    prepared = prepare(text)
    assume(not any(unicodedata.combining(char) for char in prepared))
    ids, places = tokens.places(prepared)
    assert ids.tolist() == tokens.ids(prepared).tolist()
    assert len(ids) == len(places)
    assert places == sorted(places)
    for start, end in places:
        assert 0 <= start < end <= len(prepared)
        assert not any(char.isspace() for char in prepared[start:end])


def test_all_pieces_of_a_word_have_the_place_of_the_word() -> None:
    tokens = tiny_tokens(PIECES)
    ids, places = tokens.places("abbab. caf\u00e9")
    assert [tokens.pieces[number] for number in ids] == ["abba", "##b", ".", "caf", "##e"]
    assert places == [(0, 5), (0, 5), (5, 6), (7, 11), (7, 11)]
    assert tokens.places(" ")[1] == []


@pytest.mark.parametrize("text", ["ab\u0327ba", "\u0130b", "a\u09cda"])
def test_a_mark_that_no_letter_takes_up_does_not_part_a_word_when_its_places_are_asked_for(text: str) -> None:
    """A letter and a mark for which there is no letter with that mark; the second is the lower case of a Turkish letter."""
    tokens = tiny_tokens((*PIECES, "i", "##ib"))
    assert tokens.places(prepare(text))[0].tolist() == tokens.ids(prepare(text)).tolist()


def test_many_combining_marks_do_not_take_quadratic_time() -> None:
    """CPython sorts a run of marks by insertion; 100,000 of them at once take some ten seconds."""
    marks = [char for code in range(sys.maxunicode + 1) if unicodedata.combining(char := chr(code))]
    text = "a" + "".join(marks[i * 7919 % len(marks)] for i in range(100_000))
    tokens = tiny_tokens(PIECES)
    began = time.process_time()
    assert split(tokens, text) == ["a"]
    assert time.process_time() - began < 2


# ---------------------------------------------------------------------------------------------------------------- memory


@given(st.lists(LETTERS, max_size=12))
def test_a_text_has_the_same_pieces_cold_and_warm(words: list[str]) -> None:
    text = " ".join(words)
    warm = tiny_tokens(PIECES)
    warm.ids(" ".join(reversed(words)))
    cold = tiny_tokens(PIECES).ids(text).tolist()
    assert warm.ids(text).tolist() == cold
    assert warm.ids(text).tolist() == cold


def test_the_memory_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"{'ab' * (i % 7)}a{'ba' * (i // 7)}" for i in range(42)]
    remembering = tiny_tokens(PIECES)
    expected = [remembering.ids(word).tolist() for word in words]
    monkeypatch.setattr(module, "_REMEMBERED", 5)
    forgetful = tiny_tokens(PIECES)
    for word, ids in zip(words, expected, strict=True):
        assert forgetful.ids(word).tolist() == ids
        assert len(forgetful._memory) <= 5
    assert forgetful.ids(" ".join(words)).tolist() == list(chain.from_iterable(expected))


def test_threads_that_share_a_memory_and_make_it_forget_see_the_same_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    interval = sys.getswitchinterval()
    texts = [" ".join(f"{'ab' * (i * j % 5)}{'ba' * (j % 4)}a" for j in range(200)) for i in range(1, 9)]
    expected = [tiny_tokens(PIECES).ids(text).tolist() for text in texts]
    shared = tiny_tokens(PIECES)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(shared.ids, texts * 5))
    finally:
        sys.setswitchinterval(interval)
    assert [ids.tolist() for ids in found] == expected * 5
    assert len(shared._memory) <= 3 + 4  # each thread may have found room before another one took it


# ------------------------------------------------------------------------------------------------------------------ file


def test_saved_tokens_are_read_back_and_equal_tokens_give_equal_bytes(tmp_path: Path) -> None:
    tokens = tiny_tokens(PIECES)
    tokens.save(tmp_path / "a.npz")
    loaded = Tokens.load(tmp_path / "a.npz")
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert loaded.pieces == PIECES
    assert loaded.vectors.tolist() == tokens.vectors.tolist()
    assert loaded.scale == pytest.approx(tokens.scale)
    assert loaded.metadata == tokens.metadata
    assert (tokens.digest, len(loaded.digest)) == ("", 64)
    assert loaded.digest == Tokens.load(tmp_path / "b.npz").digest


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A good file with something changed."""
    tiny_tokens(PIECES).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    return path


def array(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("vectors"), "is not a file of tokens"),
        (lambda arrays: arrays.pop("pieces"), "is not a file of tokens"),
        (lambda arrays: arrays.pop("scale"), "is not a file of tokens"),
        (lambda arrays: arrays.pop("metadata"), "is not a file of tokens"),
        (array("metadata", np.frombuffer(b"{", np.uint8)), "is not a file of tokens"),
        (array("metadata", np.array([{}], dtype=object)), "is not a file of tokens"),
        (array("pieces", np.frombuffer(b"\xff\xfe", np.uint8)), "is not a file of tokens"),
        (array("scale", np.array([], np.float32)), "is not a file of tokens"),
        (array("scale", np.array(1, np.float32)), "is not a file of tokens"),
        (array("vectors", np.zeros((len(PIECES), 4), np.int16)), "does not hold one vector for each piece"),
        (array("vectors", np.zeros(len(PIECES), np.int8)), "does not hold one vector for each piece"),
        (array("vectors", np.zeros((3, 4), np.int8)), "does not hold one vector for each piece"),
        (
            array("pieces", np.frombuffer("\n".join("p" * len(PIECES)).encode(), np.uint8)),  # none is the unknown one
            "does not hold one vector for each piece",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = rewritten(tmp_path / "tokens.npz", change)
    with pytest.raises(ConfigError) as caught:
        Tokens.load(path)
    assert (caught.value.file, caught.value.message) == (str(path), message)


def single_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


def encrypted(path: Path) -> bytes:
    """A good file with the bit set that says that an entry is encrypted."""
    tiny_tokens(PIECES).save(path)
    content = path.read_bytes()
    return re.sub(rb"PK\x01\x02(....)\x00", lambda match: match[0][:-1] + b"\x01", content, flags=re.DOTALL)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a file of tokens"):
        Tokens.load(path)


def test_a_single_array_instead_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npz"
    path.write_bytes(single_array())
    with pytest.raises(ConfigError, match="is not a file of tokens"):
        Tokens.load(path)


def test_an_archive_that_says_it_is_encrypted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npz"
    path.write_bytes(encrypted(path))
    with pytest.raises(ConfigError, match="is not a file of tokens"):
        Tokens.load(path)


@pytest.mark.parametrize("at", [50, 100, 200])
def test_damaged_bytes_are_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "tokens.npz"
    tiny_tokens(PIECES).save(path)
    content = bytearray(path.read_bytes())
    content[at : at + 20] = bytes(20)
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match="is not a file of tokens"):
        Tokens.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        Tokens.load(tmp_path / "none.npz")
    assert caught.value.file == str(tmp_path / "none.npz")


def test_a_file_that_cannot_be_read_for_another_reason_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.load(tmp_path)


def test_the_shipped_tokens_say_where_they_come_from_and_under_which_licence() -> None:
    tokens = Tokens.load()
    assert tokens.metadata["licence"] == "Apache-2.0"
    assert "all-MiniLM-L6-v2" in tokens.metadata["source"]
    assert len(tokens.metadata["weights_sha256"]) == len(tokens.digest) == 64
    assert json.dumps(tokens.metadata)
    assert len(set(tokens.pieces)) == len(tokens.pieces) == len(tokens.vectors)
    assert tokens.scale > 0


def test_the_shipped_tokens_know_everyday_words_and_put_together_the_others() -> None:
    tokens = Tokens.load()
    assert split(tokens, " the garden , at night ") == ["the", "garden", ",", "at", "night"]
    for word in ("unkillable", "na\u00efvely", "zebras1984"):
        pieces = split(tokens, word)
        assert UNKNOWN not in pieces
        assert all(piece.startswith("##") for piece in pieces[1:])


def test_words_that_mean_alike_have_shipped_vectors_that_lie_closer_than_those_of_others() -> None:
    tokens = Tokens.load()
    kill, murder, teapot = (
        tokens.vectors[tokens.ids(word)].astype(np.float64).mean(axis=0) for word in ("kill", "murder", "garden")
    )
    assert kill @ murder / np.linalg.norm(murder) > kill @ teapot / np.linalg.norm(teapot)


# ----------------------------------------------------------------------------------------------------------------- plain


def test_pieces_of_other_scripts_and_reserved_ones_are_not_worth_a_vector() -> None:
    pieces = [
        "[PAD]",
        UNKNOWN,
        "[unused7]",
        "[",
        "]",
        "a",
        "##z",
        "caf\u00e9",
        "\u2019",
        "\u4f60",
        "##\u0436",
        "\u03b1",
        "7",
    ]
    assert [pieces[number] for number in plain(pieces)] == [UNKNOWN, "[", "]", "a", "##z", "caf\u00e9", "\u2019", "7"]
