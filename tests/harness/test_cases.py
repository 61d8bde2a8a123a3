from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.evaluation import read_evaluation
from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import (
    DECISIONS,
    Case,
    ExpectedCategory,
    ExpectedSide,
    case_of,
    objects,
    read_cases,
    read_lines,
)
from safety_proxy.model import JSON, Category, JSONObject

LINE = '{"text": "hello", "expect": {"input": "allow"}}'


def case(**keys: JSON) -> Case:
    return case_of({"text": "hello", "expect": {"input": "allow"}, **keys}, "c.jsonl", 3)


def refusal(content: str) -> str:
    with pytest.raises(ConfigError) as caught:
        list(read_lines([content], "c.jsonl"))
    return str(caught.value).removeprefix("c.jsonl:1: ")


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_file_of_yaml_holds_several_cases_of_one_policy(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        """policy: default
cases:
  - name: hello is allowed
    text: hello
    expect: {input: allow}
    tags: [greeting]
  - completion: you fool
    expect: {output: {decision: block, categories: {hate: {filtered: true, min_severity: 2}}, blocklists: [fools]}}
"""
    )
    first, second = read_cases(path)
    assert (first.name, first.place, first.policy) == ("hello is allowed", f"{path}:3", "default")
    assert (first.body, first.input, first.output) == ({"text": "hello"}, ExpectedSide("allow"), None)
    assert first.tags == frozenset({"greeting"})
    assert (second.name, second.place, second.tags) == ("case 2", f"{path}:7", frozenset())
    assert (second.body, second.input) == ({"completion": "you fool"}, None)
    hate = {Category.HATE: ExpectedCategory(filtered=True, min_severity=2)}
    assert second.output == ExpectedSide("filter", hate, ("fools",))


def test_each_line_of_json_lines_is_a_case(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(f'\ufeff{LINE}\n\n{{"policy": "strict", "name": "n", {LINE[1:]}\n', encoding="utf-8")
    first, second = read_cases(path)
    assert (first.name, first.place, first.policy) == ("line 1", f"{path}:1", None)
    assert (second.name, second.place, second.policy) == ("n", f"{path}:3", "strict")


def test_lines_are_read_when_their_turn_comes() -> None:
    lines = iter([LINE, LINE])
    cases = read_lines(lines, "c.jsonl")
    next(cases)
    assert list(lines) == [LINE]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/a.jsonl", "a.jsonl", "c.txt", "b/b.yml", "z.yaml"):
        text = LINE if name.endswith("jsonl") else "cases: [{text: hello, expect: {input: allow}}]"
        (tmp_path / name).write_text(text)
    places = [Path(each.place.partition(":")[0]).relative_to(tmp_path).as_posix() for each in read_cases(tmp_path)]
    assert places == ["a.jsonl", "b/a.jsonl", "b/b.yml", "z.yaml"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.jsonl", None, ": cannot be read: No such file or directory"),
        ("none.yaml", None, ": cannot be read: No such file or directory"),
        ("c.jsonl", b'{"text": "\xff"}', ": is not UTF-8"),
        ("c.yaml", b"cases: []", ":1: cases: must have at least 1 item(s)"),
        ("c.yaml", b"policy: default", ": cases: is required"),
        ("c.yaml", b"cases:\n  - text: a\n    expcet: {}", ":3: cases[0].expcet: unknown key; did you mean `expect`?"),
        ("c.yaml", b"cases:\n  - text: a\n    expect:\n      input: deny", ":4: cases[0].expect.input: must be `allow`, "),
    ],
)
def test_files_that_are_wrong_are_refused_by_line(tmp_path: Path, name: str, content: bytes | None, error: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        list(read_cases(path))
    assert str(caught.value).removeprefix(str(path)).replace(":1: cases: is required", ": cases: is required")[
        : len(error)
    ] == (error)


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.yaml and no \*\.jsonl in this folder"):
        list(read_cases(tmp_path))


# ---------------------------------------------------------------------------------------------------------------- cases


def test_all_that_the_model_would_see_is_the_body() -> None:
    keys: JSONObject = {
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "functions": [{"name": "f"}],
        "documents": [{"text": "d"}],
        "response_format": {"type": "text"},
        "completion": ["a", {"role": "assistant", "content": "b"}],
    }
    read = case_of({**keys, "expect": {"input": "allow"}}, "c.jsonl", 3)
    assert read.body == keys
    evaluation = read_evaluation(dict(read.body))
    assert evaluation.prompt is not None
    assert len(evaluation.choices) == 2


@pytest.mark.parametrize("decision", DECISIONS)
def test_every_decision_can_be_expected(decision: str) -> None:
    assert case(expect={"input": decision}).input == case(expect={"input": {"decision": decision}}).input
    assert case(expect={"input": decision}).input == ExpectedSide(decision)  # type: ignore[arg-type]  # one of them


@pytest.mark.parametrize("category", Category)
def test_every_category_can_be_expected(category: Category) -> None:
    read = case(expect={"input": {"categories": {category.value: {"filtered": True, "max_severity": 0}}}})
    assert read.input is not None
    assert read.input.categories == {category: ExpectedCategory(filtered=True, max_severity=0)}


def test_block_is_another_word_for_filter() -> None:
    assert case(expect={"input": "block"}).input == ExpectedSide("filter")


def test_verdicts_are_kept_as_they_are_written() -> None:
    verdicts: JSONObject = {"a": {"hate": 4, "jailbreak": True}, "b": "error"}
    assert case(verdicts=verdicts).verdicts == verdicts
    assert case(verdicts={}).verdicts == {}
    assert case().verdicts is None


@pytest.mark.parametrize(
    "finding", ["failure", 4, None, ["hate"], {"hate": True}, {"hate": 8}, {"hate": -1}, {"jailbreak": 4}]
)
def test_what_no_classifier_could_find_is_refused_without_the_phrase(finding: JSON) -> None:
    line = orjson.dumps({"text": "a", "verdicts": {"secret": finding}, "expect": {"input": "allow"}}).decode()
    assert refusal(line) == (
        "verdicts: must be phrases, each with `error` or categories: the severity (0-7) of a harm, true for another"
    )


def test_a_verdict_on_no_category_is_refused() -> None:
    line = '{"text": "a", "verdicts": {"secret": {"hat": 4}}, "expect": {"input": "allow"}}'
    assert refusal(line) == "verdicts: no category is called hat"


def test_no_text_is_in_the_representation_of_a_case() -> None:
    assert "secret" not in repr(case(text="secret", completion="secret", verdicts={"secret": "error"}))


def test_the_object_that_a_case_is_made_of_stays_as_it_is() -> None:
    content: dict[str, Any] = {"policy": "p", "text": "a", "expect": {"input": "allow"}}
    case_of(content, "c.jsonl", 1)
    assert "policy" in content


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "is not JSON, or nested too deep"),
        ("NaN", "is not JSON, or nested too deep"),
        ('{"text": "\\ud800"}', "is not JSON, or nested too deep"),
        (f'{{"messages": {"[" * 101}{"]" * 101}}}', "is not JSON, or nested too deep"),
        ("[]", "is not an object"),
        ("{}", "expect: is required"),
        ('{"expect": {"input": "allow"}}', "has nothing to judge: write text, messages, prompt or completion"),
        ('{"text": "a", "prompt": "b", "expect": {"input": "allow"}}', "has text and prompt; a case has one input"),
        ('{"text": "a", "expect": {}}', "expects nothing"),
        ('{"text": "a", "expect": {"input": {}}}', "expects nothing"),
        ('{"text": "a", "expect": {"output": "allow"}}', "expects something of a completion that it does not have"),
        ('{"completion": "a", "expect": {"input": "allow"}}', "expects something of an input that it does not have"),
        ('{"text": "a", "expect": {"input": 1}}', "expect.input: must be a mapping (key: value)"),
        ('{"text": "a", "policy": 1, "expect": {"input": "allow"}}', "policy: must be text"),
        ('{"text": "a", "expect": {"input": {"categories": {"hat": {}}}}}', "expect.input.categories.hat: must be `hate`, "),
        (
            '{"text": "a", "expect": {"input": {"categories": {"hate": {"min_severity": 8}}}}}',
            "expect.input.categories.hate.min_severity: must be at most 7",
        ),
        ('{"text": "a", "expect": {"input": {"blocklists": "b"}}}', "expect.input.blocklists: must be a list"),
        ('{"text": "a", "documents": {}, "expect": {"input": "allow"}}', "documents: must be a list"),
    ],
)
def test_cases_that_make_no_sense_are_refused(line: str, error: str) -> None:
    assert refusal(line)[: len(error)] == error


def test_a_line_that_is_too_long_is_refused() -> None:
    assert refusal(" " * (8 * 2**20 + 1)) == "is longer than 8388608 characters"


def test_where_nothing_needs_to_be_expected_a_text_is_enough(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    (tmp_path / "b.yaml").write_text("cases: [{text: b}, {text: c, expect: {input: allow}}]")
    cases = list(read_cases(tmp_path, need_expectations=False))
    assert [each.input for each in cases] == [None, None, ExpectedSide("allow")]


def test_objects_are_numbered_by_their_lines() -> None:
    assert list(objects(['{"a": 1}\n', " \n", "{}"], "o.jsonl")) == [(1, {"a": 1}), (3, {})]


# ----------------------------------------------------------------------------------------------------------- properties

KEYS = ["text", "messages", "completion", "expect", "input", "output", "decision", "categories", "hate", "tags", "verdicts"]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["allow", "block", "hate", ""]) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
ALMOST = st.fixed_dictionaries(
    {"expect": st.fixed_dictionaries({}, optional={"input": VALUES, "output": VALUES})},
    optional={"text": st.text(), "completion": VALUES, "verdicts": VALUES, "tags": VALUES, "policy": VALUES, "name": VALUES},
)


@given(line=(VALUES | ALMOST).map(lambda value: orjson.dumps(value).decode()) | st.text())
def test_lines_of_any_kind_raise_nothing_but_config_errors(line: str) -> None:
    with suppress(ConfigError):
        for read in read_lines([line], "c.jsonl"):
            assert read.input is not None or read.output is not None


@given(text=st.text() | VALUES.map(lambda value: orjson.dumps({"cases": value}).decode()))
def test_files_of_any_kind_raise_nothing_but_config_errors(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cases") / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(ConfigError):
        assert list(read_cases(path))
