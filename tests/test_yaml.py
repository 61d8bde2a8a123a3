from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, JSONObject
from safety_proxy.yaml import DEEPEST, LONGEST_KEY, compose, dotted


def content(text: str) -> JSONObject:
    return compose(text, "f.yaml")[0]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(text, "f.yaml")
    hidden = caught.value.__suppress_context__ or caught.value.__context__ is None
    hidden = hidden and caught.value.__cause__ is None
    assert hidden, "the parser's own error, which cites the text, would be printed too"
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("12", 12),
        ("-07", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.5s", "1.5s"),
        ("'12'", "12"),
        ('"off"', "off"),
        ("!".join("ab"), "a!b"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
        (">\n  one\n  two\n", "one two\n"),
        ("\n  - 1\n  - {b: [x]}", [1, {"b": ["x"]}]),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_scalars_mean_what_the_core_schema_of_yaml_1_2_says(written: str, meant: JSON) -> None:
    value = content(f"a: {written}")["a"]
    assert (value, type(value)) == (meant, type(meant))


def test_every_key_and_item_has_its_line() -> None:
    text = "# comment\na: 1\nb:\n  - x\n  - c: |\n      long\n      text\n    d: [y,\n        z]\n"
    assert compose(text, "f.yaml")[1] == {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 5,
        ("b", 1, "c"): 5,
        ("b", 1, "d"): 8,
        ("b", 1, "d", 0): 8,
        ("b", 1, "d", 1): 9,
    }


def test_a_document_may_begin_with_its_marker_and_a_directive_that_says_1_2() -> None:
    assert content("%YAML 1.2\n---\na: off\n...\n") == {"a": "off"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~", "null\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert refusal(text) == "f.yaml: is empty"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: &x 1", "f.yaml:1: a: anchors and aliases"),
        ("a: 1\nb: *x", "f.yaml:2: b: anchors and aliases"),
        ("&x a: 1", "f.yaml:1: anchors and aliases"),
        ("*x : 1", "f.yaml:1: anchors and aliases"),
        ("a:\n  - &x {b: 1}", "f.yaml:2: a[0]: anchors and aliases"),
        ("a:\n  - &x [1]", "f.yaml:2: a[0]: anchors and aliases"),
        ("a: !!python/object:os.system x", "f.yaml:1: a: tags (!) are not"),
        ("a: ! x", "f.yaml:1: a: tags (!) are not"),
        ("!!map {a: 1}", "f.yaml:1: tags (!) are not"),
        ("a: !!seq [1]", "f.yaml:1: a: tags (!) are not"),
        ("%YAML 1.1\n---\na: off", "f.yaml:2: directives are not supported"),
        ("%TAG ! tag:x,2000:\n---\na: off", "f.yaml:2: directives are not supported"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: a: is written twice"),
        ("b: {c: 1, 'c': 2}", "f.yaml:1: b.c: is written twice"),
        ("a: 1\n1: 2", "f.yaml:2: a key must be text"),
        ("a:\n  true: 2", "f.yaml:2: a: a key must be text"),
        (": 2", "f.yaml:1: a key must be text"),
        ("? [a]\n: 2", "f.yaml:1: a key must be text"),
        ("? {a: 1}\n: 2", "f.yaml:1: a key must be text"),
        ("a: 1\n---\nb: 2", "f.yaml:2: holds a second document"),
        ("- a\n- b", "f.yaml:1: must be a mapping"),
        ("\nword", "f.yaml:2: must be a mapping"),
        ("a: 1\nb: 123456789012345678901", "f.yaml:2: b: is a number out of range"),
        ("a: 1e999", "f.yaml:1: a: is a number out of range"),
        ('a: "\\ud800"', "f.yaml:1: a: holds half a surrogate pair"),
        ("a: 1\n\tb: 2", "f.yaml:2: is not valid YAML: found character '\\t'"),
        ("a: 1\n- b", "f.yaml:2: is not valid YAML"),
        ("a: [1,\n  2", "f.yaml:2: is not valid YAML"),
        ("a: 1\nb: \x07", "f.yaml:2: is not valid YAML: a control character"),
        ('a: "\\UFFFFFFFF"', "f.yaml: is not valid YAML"),
    ],
)
def test_what_could_mislead_a_reader_is_refused_with_its_line(text: str, error: str) -> None:
    assert refusal(text)[: len(error)] == error


def test_nesting_is_bounded_in_every_style() -> None:
    deep = DEEPEST - 1
    assert content("a: " + "[" * deep + "]" * deep)
    assert refusal("a: " + "[" * DEEPEST + "]" * DEEPEST) == "f.yaml:1: is nested more than 50 levels deep"
    for opened in ("a: " + "[" * 100_000, "{a: " * 1000, "- " * 1000, "".join(" " * i + "a:\n" for i in range(500))):
        assert "is nested more than 50 levels deep" in refusal(opened)


def test_no_part_of_a_value_is_shown_when_the_parser_fails() -> None:
    """A key that somebody forgot to quote: what stands before the second ! is a tag handle to YAML."""
    assert "hunter2" not in refusal("key: !hunter2hunter2!x y")
    assert "hunter2" not in refusal("key: *hunter2hunter2")
    assert "hunter2" not in refusal("key: 'hunter2\nb: 1")
    assert "hunter2" not in refusal("key: hunter2: hunter2")


def test_places_are_written_as_paths() -> None:
    assert dotted(()) == ""
    assert dotted(("output", "blocklists", 0, "name")) == "output.blocklists[0].name"


def test_keys_in_errors_are_short_and_printable() -> None:
    assert dotted(("a\n2024 all is well",)) == "'a\\n2024 all is well'"
    assert len(dotted(("x" * 1000,))) == LONGEST_KEY + 2


texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_json_reads_as_what_it_is(value: JSONObject) -> None:
    assert content(json.dumps(value)) == value


@given(st.text(st.sampled_from("a1-:?,[]{}#&*!|>'\"%@ \n\t\\~.\x85\u2028\ufeff\ud800"), max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(ConfigError):
        compose(text, "f.yaml")
