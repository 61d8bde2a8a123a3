"""Rows are read or refused by line; benign sources and stream windows are what they are said to be."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.rows import (
    STREAM_CONTEXT,
    STREAM_FIRST,
    STREAM_WINDOW,
    Row,
    benign_sources,
    labels,
    read_rows,
    sha256,
    stream_windows,
)
from safety_proxy.errors import ConfigError


def written(path: Path, *lines: str) -> Path:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


GOOD = json.dumps(
    {"text": "hello", "labels": {"hate": 1, "sexual": None}, "source": "s", "licence": "MIT", "severity": {"hate": 4}}
)


def test_rows_are_read(tmp_path: Path) -> None:
    other = json.dumps({"text": "bye", "labels": {"hate": 0}, "source": "t", "severity": None, "lang": "en"})
    first, second = read_rows(written(tmp_path / "rows.jsonl.gz", GOOD, other))
    assert (first.text, first.source, first.licence, first.severity) == ("hello", "s", "MIT", {"hate": 4})
    assert [first.label(head) for head in ("hate", "sexual", "violence")] == [1, -1, -1]
    assert (second.licence, second.severity) == ("", {})
    assert labels([first, second], "hate").tolist() == [1, 0]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"labels": {}, "source": "s"}', '{"text": "x", "labels": 3, "source": "s"}', "null"]
)
def test_a_bad_line_is_named_and_its_text_is_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rows(written(tmp_path / "rows.jsonl.gz", GOOD, line))
    assert caught.value.line == 2
    assert caught.value.message == "is not a labelled row"


def test_files_that_cannot_be_read_or_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(GOOD)
    cut = written(tmp_path / "cut", GOOD)
    cut.write_bytes(cut.read_bytes()[:-9])
    for name in ("none", "plain", "cut"):
        with pytest.raises(ConfigError, match="cannot be read as gzipped lines"):
            read_rows(tmp_path / name)
    with pytest.raises(ConfigError, match="holds no rows"):
        read_rows(written(tmp_path / "empty"))


def test_the_hash_is_that_of_the_rows_not_of_the_packing(tmp_path: Path) -> None:
    for level in (1, 9):
        (tmp_path / f"{level}").write_bytes(gzip.compress(GOOD.encode() * 50, level))
    assert sha256(tmp_path / "1") == sha256(tmp_path / "9") == hashlib.sha256(GOOD.encode() * 50).hexdigest()


def test_a_source_is_benign_if_no_row_of_any_file_is_positive() -> None:
    benign, mixed, elsewhere = Row("a", {"hate": 0}, "a"), Row("b", {"hate": 0}, "b"), Row("c", {"hate": None}, "c")
    harmful = [Row("d", {"sexual": 1}, "b"), Row("e", {"hate": 1}, "c")]
    assert benign_sources([benign, mixed, elsewhere], harmful) == {"a"}


@given(st.integers(0, 1000))
def test_stream_windows_show_each_character_once_as_fresh_text_with_its_context(length: int) -> None:
    text = "".join(chr(33 + i % 90) for i in range(length))
    end = 0
    for number, (window, left, right) in enumerate(stream_windows(text)):
        fresh = min(STREAM_WINDOW if number else STREAM_FIRST, length - end)
        start = max(0, end - STREAM_CONTEXT)
        assert window == text[start : end + fresh]
        end += fresh
        assert (left, right) == (start > 0, end < length)
    assert end == length
