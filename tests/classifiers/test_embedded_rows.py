"""Rows are read or refused by line; benign sources and stream windows are what they are said to be."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.classifiers.embedded.model import HEADS
from safety_proxy.classifiers.embedded.rows import (
    AUTHORED,
    CHALLENGE,
    LANGUAGES,
    STREAM_CONTEXT,
    STREAM_FIRST,
    STREAM_WINDOW,
    TENTH,
    Row,
    authored_rows,
    benign_sources,
    labels,
    read_rows,
    sha256,
    stream_windows,
)
from safety_proxy.errors import ConfigError
from safety_proxy.policy_shape import StreamShape


def written(path: Path, *lines: str) -> Path:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


def authored(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------ JSON lines


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


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b'{"text": "\xff"}\n'), gzip.compress(GOOD.encode() * 50)[:12] + bytes(99)],
    ids=["no text", "damaged"],
)
def test_lines_that_are_no_text_and_damaged_gzip_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_rows(tmp_path / "rows.jsonl.gz")
    assert caught.value.file == str(tmp_path / "rows.jsonl.gz")


def test_the_hash_is_that_of_the_rows_not_of_the_packing(tmp_path: Path) -> None:
    for level in (1, 9):
        (tmp_path / f"{level}").write_bytes(gzip.compress(GOOD.encode() * 50, level))
    assert sha256(tmp_path / "1") == sha256(tmp_path / "9") == hashlib.sha256(GOOD.encode() * 50).hexdigest()


# -------------------------------------------------------------------------------------------------------------- own rows


SHEET = """## insults | is: harassment
You fool.
You \\n fool.

##  threats at night | is: violence , harassment | maybe: hate,self_harm
I will hit you.
## ordinary
  Hello.
"""


def test_a_heading_says_what_holds_for_the_lines_below_it(tmp_path: Path) -> None:
    rows = read_rows(authored(tmp_path / "own.txt", SHEET))
    assert [row.text for row in rows] == ["You fool.", "You \n fool.", "I will hit you.", "  Hello."]
    assert [row.group for row in rows] == ["insults", "insults", "threats at night", "ordinary"]
    assert {row.source for row in rows} == {f"{AUTHORED}: own.txt"}
    assert {(row.licence, len(row.severity)) for row in rows} == {("CC0-1.0", 0)}
    assert [[row.label(head) for head in HEADS] for row in rows[1:]] == [
        [1 if head == "harassment" else 0 for head in HEADS],
        [{"violence": 1, "harassment": 1, "hate": -1, "self_harm": -1}.get(head, 0) for head in HEADS],
        [0] * len(HEADS),
    ]


@pytest.mark.parametrize(
    ("heading", "harassment"),
    [
        ("is: hate", -1),
        ("is: hate, violence", -1),
        ("is: hate | maybe: harassment", -1),
        ("is: hate, harassment", 1),
        ("is: harassment, hate", 1),
        ("maybe: hate", 0),
        ("is: violence", 0),
        ("maybe: harassment", -1),
        ("maybe: harassment | is: harassment", 1),
    ],
)
def test_whether_hate_is_an_insult_too_is_not_known_unless_it_is_written(
    tmp_path: Path, heading: str, harassment: int
) -> None:
    (row,) = read_rows(authored(tmp_path / "own.txt", f"## group | {heading}\ntext"))
    assert row.label("harassment") == harassment


@pytest.mark.parametrize(
    "heading",
    [
        "## group | is: anger",
        "## group | is: hate, anger",
        "## group | maybe: Hate",
        "## group | is hate",
        "## group | hate",
        "## group | was: hate",
        "## group | is: hate | perhaps: violence",
        "## group |",
    ],
)
def test_a_bad_heading_is_refused_with_file_and_line(tmp_path: Path, heading: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rows(authored(tmp_path / "own.txt", f"## fine | is: hate\ntext\n\n{heading}\nsecret text"))
    assert (caught.value.file, caught.value.line) == ("own.txt", 4)
    assert "is no heading" in caught.value.message
    assert "secret" not in str(caught.value)


def test_a_text_before_the_first_heading_is_refused_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rows(authored(tmp_path / "own.txt", "\nsecret text\n## fine | is: hate\n"))
    assert (caught.value.file, caught.value.line) == ("own.txt", 2)
    assert "secret" not in str(caught.value)


def test_own_rows_that_cannot_be_read_or_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"## group\ncaf\xe9\n")
    for name in ("none.txt", "latin.txt"):
        with pytest.raises(ConfigError, match="cannot be read as text"):
            read_rows(tmp_path / name)
    with pytest.raises(ConfigError, match="holds no rows"):
        read_rows(authored(tmp_path / "empty.txt", "## group | is: hate\n\n"))


@pytest.fixture(scope="module")
def own() -> tuple[list[Row], list[Row]]:
    return authored_rows()


def files_of_own_rows() -> list[Path]:
    folder = Path(str(resources.files("safety_proxy.classifiers.embedded").joinpath("authored")))
    return sorted(folder.glob("*.txt"))


def test_every_file_of_own_rows_but_the_challenge_is_learnt_from(own: tuple[list[Row], list[Row]]) -> None:
    learnt, tuned = own
    names = {file.name for file in files_of_own_rows()}
    assert CHALLENGE in names
    assert {f"{language}.txt" for language in LANGUAGES} <= names
    assert {row.source for row in [*learnt, *tuned]} == {f"{AUTHORED}: {name}" for name in names - {CHALLENGE}}
    together = sum(len(read_rows(file)) for file in files_of_own_rows() if file.name != CHALLENGE)
    assert len(learnt) + len(tuned) == together


def test_which_own_rows_are_for_development_depends_on_their_text_alone(own: tuple[list[Row], list[Row]]) -> None:
    learnt, tuned = own
    assert tuned
    assert not {row.text for row in learnt} & {row.text for row in tuned}
    assert all(zlib.crc32(row.text.encode()) % TENTH == 0 for row in tuned)
    assert all(zlib.crc32(row.text.encode()) % TENTH for row in learnt)
    assert authored_rows() == own


def test_nothing_is_learnt_from_the_challenge(own: tuple[list[Row], list[Row]]) -> None:
    (file,) = (file for file in files_of_own_rows() if file.name == CHALLENGE)
    kept = {" ".join(row.text.lower().split()) for row in read_rows(file)}
    known = {" ".join(row.text.lower().split()) for rows in own for row in rows}
    assert not kept & known
    assert not any(CHALLENGE in row.source for rows in own for row in rows)


def test_each_head_has_own_rows_of_either_label_to_learn_from_and_to_tune_with(own: tuple[list[Row], list[Row]]) -> None:
    for rows in own:
        for head in HEADS:
            assert {0, 1} <= set(labels(rows, head).tolist())


# ------------------------------------------------------------------------------------------------------ sources, windows


def test_a_source_is_benign_if_no_row_of_any_file_is_positive() -> None:
    benign, mixed, elsewhere = Row("a", {"hate": 0}, "a"), Row("b", {"hate": 0}, "b"), Row("c", {"hate": None}, "c")
    harmful = [Row("d", {"sexual": 1}, "b"), Row("e", {"hate": 1}, "c")]
    assert benign_sources([benign, mixed, elsewhere], harmful) == {"a"}


def test_the_windows_of_a_stream_are_those_of_a_policy_that_says_nothing_of_them() -> None:
    shape = StreamShape()
    assert (shape.first_window, shape.window, shape.context) == (STREAM_FIRST, STREAM_WINDOW, STREAM_CONTEXT)


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
