from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import Case
from safety_proxy.harness.imported import Importer
from safety_proxy.harness.imports_columns import ALLOW_WORDS, FILTER_WORDS, Columns, read_csv, read_jsonl

PLAIN = {"text": "prompt", "label": "toxic"}


def table(text: str, columns: Mapping[str, str] = PLAIN, skipped: Counter[str] | None = None) -> list[Case]:
    lines = text.splitlines(keepends=True)
    return list(read_csv(lines, "t.csv", columns=Columns.of(columns), importer=Importer(skipped=skipped)))


def lines(text: str, columns: Mapping[str, str] = PLAIN) -> list[Case]:
    return list(read_jsonl(text.splitlines(), "t.jsonl", columns=Columns.of(columns), importer=Importer()))


def decisions(cases: list[Case]) -> list[str | None]:
    return [case.input.decision if case.input is not None else None for case in cases]


def told(case: Case) -> dict[str, bool | None]:
    assert case.input is not None
    return {category.value: expected.filtered for category, expected in case.input.categories.items()}


def refusal(text: str, columns: Mapping[str, str] = PLAIN) -> str:
    with pytest.raises(ConfigError) as caught:
        table(text, columns)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("word", [*sorted(FILTER_WORDS), "True", " YES "])
def test_words_for_harm_ask_for_a_filter(word: str) -> None:
    assert decisions(table(f"prompt,toxic\nhello,{word}\n")) == ["filter"]


@pytest.mark.parametrize("word", [*sorted(ALLOW_WORDS), "False", " Safe "])
def test_words_for_no_harm_ask_to_be_allowed(word: str) -> None:
    assert decisions(table(f"prompt,toxic\nhello,{word}\n")) == ["allow"]


def test_labels_may_have_words_of_their_own() -> None:
    columns = {**PLAIN, "filter": "spam|Abuse", "allow": "ham"}
    assert decisions(table("prompt,toxic\na,spam\nb,ABUSE\nc,ham\n", columns)) == ["filter", "filter", "allow"]
    assert "toxic: is no known label" in refusal("prompt,toxic\na,true\n", columns)


def test_a_label_that_nobody_knows_is_refused_and_not_cited() -> None:
    assert refusal("prompt,toxic\na,perhaps\n") == (
        "t.csv:2: toxic: is no known label; tell what words mean: filter=WORD|WORD,allow=WORD|WORD"
    )


def test_rows_without_a_label_or_a_text_are_counted() -> None:
    skipped: Counter[str] = Counter()
    assert len(table("prompt,toxic\na,\n,1\nb,1\n", skipped=skipped)) == 1
    assert skipped == {"without a label": 1, "without a text": 1}


# ----------------------------------------------------------------------------------------------------------- categories


def test_a_category_has_the_truth_of_the_label() -> None:
    columns = {**PLAIN, "category": "kind"}
    bad, good, plain = table("prompt,toxic,kind\na,1,Self-Harm\nb,0,hate; violence\nc,0,\n", columns)
    assert told(bad) == {"self_harm": True}
    assert told(good) == {"hate": False, "violence": False}
    assert told(plain) == {}


def test_without_a_label_a_category_is_one() -> None:
    cases = table("prompt,kind\na,hate|jailbreak\nb,none\nc,\n", {"text": "prompt", "category": "kind"})
    assert decisions(cases) == ["filter", "allow", "allow"]
    assert told(cases[0]) == {"hate": True, "jailbreak": True}


def test_a_category_that_does_not_exist_is_refused() -> None:
    assert refusal("prompt,toxic,kind\na,1,spam\n", {**PLAIN, "category": "kind"}).startswith(
        "t.csv:2: kind: must be of: hate, sexual, "
    )


def test_tags_and_names_are_taken_along() -> None:
    (case,) = table("prompt,toxic,tags,id\na,1,de|long; rude,case  seven\n", {**PLAIN, "tag": "tags", "name": "id"})
    assert case.tags == {"de", "long", "rude"}
    assert case.name == "case seven"


# ------------------------------------------------------------------------------------------------------------------ CSV


def test_rows_are_placed_by_the_line_they_begin_on() -> None:
    cases = table('prompt,toxic\n"a\nb",1\n\nc,0\n')
    assert [case.body["text"] for case in cases] == ["a\nb", "c"]
    assert [case.place for case in cases] == ["t.csv:2", "t.csv:5"]


def test_names_of_columns_may_have_blanks_around_them() -> None:
    assert decisions(table(" prompt , toxic \na,1\n")) == ["filter"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "t.csv: is empty"),
        ("text,toxic\n", "t.csv:1: no column is called `prompt`; there are: text, toxic"),
        ("prompt,toxic,toxic\n", "t.csv:1: two columns are called `toxic`; there are: prompt, toxic, toxic"),
        ("prompt,toxic\na\n", "t.csv:2: has 1 cells, and the first line 2"),
        ("prompt,toxic\na,1,2\n", "t.csv:2: has 3 cells, and the first line 2"),
        ('prompt,toxic\n"a"b,1\n', "t.csv:2: is not valid CSV: ',' expected after '\"'"),
        ('prompt,toxic\n"a\n\n', "t.csv:3: is not valid CSV: unexpected end of data"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(text: str, error: str) -> None:
    assert refusal(text) == error


# ----------------------------------------------------------------------------------------------------------- JSON Lines


@pytest.mark.parametrize(
    ("label", "decision"), [("true", "filter"), ("1", "filter"), ("0.0", "allow"), ('"safe"', "allow"), ("false", "allow")]
)
def test_labels_of_json_may_be_of_any_type(label: str, decision: str) -> None:
    assert decisions(lines(f'{{"prompt": "a", "toxic": {label}}}')) == [decision]


def test_json_may_have_lists_of_categories_and_tags() -> None:
    (case,) = lines(
        '{"prompt": "a", "toxic": 1, "kinds": ["hate", "violence"], "tags": ["x", 3]}',
        {**PLAIN, "category": "kinds", "tag": "tags"},
    )
    assert told(case) == {"hate": True, "violence": True}
    assert case.tags == {"x", "3"}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"toxic": 1}', "t.jsonl:1: prompt: must be text"),
        ('{"prompt": 3, "toxic": 1}', "t.jsonl:1: prompt: must be text"),
        ('{"prompt": "a", "toxic": {}}', "t.jsonl:1: toxic: is no known label"),
        ('{"prompt": "a", "toxic": 1, "kind": {}}', "t.jsonl:1: kind: must be text, or a list of texts"),
        ('{"prompt": "a"}', "t.jsonl:1: is without a label"),
    ],
)
def test_objects_that_do_not_fit_are_refused(line: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lines(line, {**PLAIN, "category": "kind"})
    assert str(caught.value).startswith(error)


# -------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({}, "--columns: must tell where the texts are: text=COLUMN"),
        ({"label": "a"}, "--columns: must tell where the texts are: text=COLUMN"),
        ({"txt": "a"}, "--columns: knows no `txt`; known are: text, label, category, tag, name, filter, allow"),
    ],
)
def test_columns_that_make_no_sense_are_refused(columns: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Columns.of(columns)
    assert str(caught.value) == error
