from __future__ import annotations

import gzip
import io
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case, ExpectedCategory
from safety_proxy.harness.imports import FORMATS, STANDARD_INPUT, columns_of, open_cases
from safety_proxy.model import Category

CASE = '{"text": "hello", "expect": {"input": "allow"}}\n'
NO = dict.fromkeys(("S", "H", "V", "HR", "SH", "S3", "H2", "V2"), 0)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sample(**labels: object) -> Case:
    line = orjson.dumps({"prompt": "hello", **labels}).decode()
    (case,) = open_cases(STANDARD_INPUT, format="openai-moderation", stdin=io.StringIO(line))
    return case


def truths(case: Case) -> dict[str, bool | None]:
    assert case.input is not None
    return {category.value: expected.filtered for category, expected in case.input.categories.items()}


# ---------------------------------------------------------------------------------------------------------------- which


def test_without_a_format_files_hold_cases(tmp_path: Path) -> None:
    yaml = written(tmp_path, "a.yaml", "cases: [{name: hi, text: hello, expect: {input: allow}}]")
    lines = written(tmp_path, "b.jsonl", CASE)
    assert [case.name for case in open_cases(yaml)] == ["hi"]
    assert [case.name for case in open_cases(lines)] == ["line 1"]
    assert [case.name for case in open_cases(tmp_path)] == ["hi", "line 1"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz"])
def test_tables_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    between = "\t" if "tsv" in name else ","
    table = f"prompt{between}toxic\nhello{between}yes\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(table, mtime=0) if name.endswith("gz") else table)
    (case,) = open_cases(tmp_path / name, columns={"text": "prompt", "label": "toxic"})
    assert case.input is not None
    assert case.input.decision == "filter"


@pytest.mark.parametrize("format_", ["cases", "openai-moderation", "jsonl"])
def test_lines_can_come_from_standard_input(format_: str) -> None:
    line = orjson.dumps({"prompt": "hello", **NO}).decode() if format_ != "cases" else CASE
    columns = {"text": "prompt", "label": "S"} if format_ == "jsonl" else {}
    (case,) = open_cases(STANDARD_INPUT, format=format_, columns=columns, stdin=io.StringIO(line))
    assert case.place == "standard input:1"


def test_cases_can_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(CASE.encode()))
    assert len(list(open_cases(tmp_path / "a.jsonl.gz"))) == 1


def test_cases_need_not_expect_anything_where_that_is_said() -> None:
    line = io.StringIO('{"text": "hello"}')
    assert len(list(open_cases(STANDARD_INPUT, stdin=line, need_expectations=False))) == 1


@pytest.mark.parametrize(
    ("path", "given", "error"),
    [
        ("a.csv", {"format": "xlsx"}, f"--format: must be one of: {', '.join(FORMATS)}"),
        ("a.yaml", {"columns": {"text": "a"}}, "--columns: is for the formats csv and jsonl, and this is read as cases"),
        ("a.csv", {}, "--columns: must tell where the texts are: text=COLUMN"),
        ("-", {}, "-: cannot be read from standard input"),
        ("-", {"format": "promptfoo", "stdin": io.StringIO()}, "-: cannot be read from standard input"),
    ],
)
def test_wrong_usage_is_told_at_once(path: str, given: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_cases(Path(path), **given)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.csv", None, "cannot be read: No such file or directory"),
        ("a.csv", b"prompt\n\xff\n", "is not UTF-8"),
        ("a.csv.gz", b"prompt\nhello\n", "is not a whole file of gzip"),
        ("b.csv.gz", gzip.compress(b"prompt\nhello\n", mtime=0)[:-9], "is not a whole file of gzip"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes | None, error: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        list(open_cases(path, columns={"text": "prompt"}, need_expectations=False))
    assert str(caught.value) == f"{path}: {error}"


def test_nothing_is_read_before_it_is_asked_for() -> None:
    lines = io.StringIO(CASE * 2)
    cases = open_cases(STANDARD_INPUT, stdin=lines)
    assert lines.tell() == 0
    assert next(cases).body == {"text": "hello"}
    assert lines.read() == CASE


@pytest.mark.parametrize(
    ("text", "columns"),
    [("text=prompt", {"text": "prompt"}), (" text = a b , label=c=d", {"text": "a b", "label": "c=d"})],
)
def test_columns_are_written_as_pairs(text: str, columns: dict[str, str]) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize("text", ["", "text", "text=", "=a", "text=a,", "text=a,text=b"])
def test_columns_that_are_written_otherwise_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--columns: must be written as "):
        columns_of(text)


# --------------------------------------------------------------------------------------------------------------- OpenAI


def test_a_sample_of_openai_tells_the_truth_of_each_category() -> None:
    case = sample(**NO | {"S": 1})
    assert case.body == {"text": "hello"}
    assert truths(case) == {"hate": False, "sexual": True, "violence": False, "self_harm": False}


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("S", "sexual"),
        ("S3", "sexual"),
        ("H", "hate"),
        ("H2", "hate"),
        ("HR", "hate"),
        ("V", "violence"),
        ("V2", "violence"),
        ("SH", "self_harm"),
    ],
)
def test_every_label_of_openai_belongs_to_a_category(label: str, category: str) -> None:
    case = sample(**{label: 1})
    assert truths(case) == {category: True}
    assert case.input is not None
    assert case.input.decision == "filter"


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        ({"S": 0}, {"sexual": False}),  # so it shows no minors
        ({"S3": 0, "SH": 0}, {"self_harm": False}),  # it may be sexual otherwise
        ({"H": 0, "V": 0}, {"violence": False}),  # it may be harassment
        ({"H": 0, "HR": 0}, {"hate": False}),
        ({"H": 0, "HR": 1}, {"hate": True}),
        ({"V": None, "V2": 1.0}, {"violence": True}),
    ],
)
def test_labels_that_are_missing_are_unknown(labels: dict[str, Any], known: dict[str, bool]) -> None:
    case = sample(**labels)
    assert truths(case) == known
    assert case.input is not None
    assert case.input.decision == ("filter" if True in known.values() else None)


def test_a_sample_is_to_be_allowed_if_it_is_known_to_be_harmless() -> None:
    case = sample(**NO)
    assert case.input is not None
    assert case.input.decision == "allow"


def test_samples_without_a_label_are_counted() -> None:
    skipped: Counter[str] = Counter()
    lines = io.StringIO('{"prompt": "hello"}\n{"prompt": "hello", "SH": 1}\n')
    (case,) = open_cases(STANDARD_INPUT, format="openai-moderation", stdin=lines, skipped=skipped)
    assert case.input is not None
    assert case.input.categories == {Category.SELF_HARM: ExpectedCategory(filtered=True)}
    assert skipped == {"without a label": 1}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "is not JSON, or nested too deep"),
        ("[]", "is not an object"),
        ('{"S": 1}', "prompt: must be text"),
        ('{"prompt": "a", "S": 2}', "S: must be 0 or 1"),
        ('{"prompt": "a", "S": "1"}', "S: must be 0 or 1"),
        ('{"prompt": "a", "S": [1]}', "S: must be 0 or 1"),
    ],
)
def test_samples_that_are_none_are_refused_with_their_line(line: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(open_cases(STANDARD_INPUT, format="openai-moderation", stdin=io.StringIO(f"\n{line}")))
    assert str(caught.value) == f"standard input:2: {error}"


# ----------------------------------------------------------------------------------------------------------- properties

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["prompt", "S", "tag"]), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("format_", ["openai-moderation", "jsonl"])
@given(line=VALUES.map(lambda value: orjson.dumps(value).decode()) | st.text())
def test_lines_of_any_kind_raise_nothing_but_config_errors(format_: str, line: str) -> None:
    columns = {"text": "prompt", "label": "S", "tag": "tag", "category": "tag"} if format_ == "jsonl" else {}
    with suppress(ConfigError):
        list(open_cases(STANDARD_INPUT, format=format_, columns=columns, stdin=io.StringIO(line, newline="")))


@given(text=st.text())
def test_tables_of_any_kind_raise_nothing_but_config_errors(text: str) -> None:
    stdin = io.StringIO(f"prompt,label\n{text}", newline="")
    with suppress(ConfigError):
        list(open_cases(STANDARD_INPUT, format="csv", columns={"text": "prompt", "label": "label"}, stdin=stdin))
