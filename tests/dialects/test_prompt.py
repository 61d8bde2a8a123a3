"""Roles, fields and seams: what of a request is judged, as what, and at what cost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.prompt import (
    OPAQUE_FIELDS,
    SEAM,
    field_strings,
    kind_of,
    laid_out,
    opaque_fields,
    other_fields,
    role_of,
    seams,
    spoken,
)
from safety_proxy.model import JSON, Kind, PromptText

PHRASE = "drown the kittens"


def talk(*turns: tuple[str, str]) -> list[PromptText]:
    """A conversation of (role, text)."""
    return [text for i, (role, said) in enumerate(turns) for text in spoken(said, f"messages[{i}].content", role)]


def seam_texts(*turns: tuple[str, str]) -> list[str]:
    return [text.query.text for text in seams(talk(*turns))]


@pytest.mark.parametrize(
    ("role", "counts_as", "kind"),
    [
        ("system", "system", Kind.MESSAGE),
        ("developer", "developer", Kind.MESSAGE),
        ("user", "user", Kind.USER_PROMPT),
        ("assistant", "assistant", Kind.MESSAGE),
        ("tool", "tool", Kind.DOCUMENT),
        ("function", "tool", Kind.DOCUMENT),
        ("ipython", "user", Kind.USER_PROMPT),
        ("System", "user", Kind.USER_PROMPT),
        ("", "user", Kind.USER_PROMPT),
    ],
)
def test_a_role_that_nobody_knows_has_no_privilege(role: str, counts_as: str, kind: Kind) -> None:
    assert (role_of(role), kind_of(role)) == (counts_as, kind)
    assert {(text.role, text.query.kind) for text in (*spoken("hi", "f", role), *laid_out("hi", "f", role))} == {
        (counts_as, kind)
    }


def test_strings_that_say_something_come_in_order_also_decoded() -> None:
    value: JSON = {"type": "function", "name": "f", "arguments": r'{"a": "\u006bill"', "strange": [" ", "x"]}

    assert field_strings(value) == ["f", r'{"a": "\u006bill"', '{"a": "kill"', "strange", "x"]


def test_a_field_is_laid_out_a_line_each_and_nothing_if_it_says_nothing() -> None:
    (text,) = laid_out({"a": "one", "b": ["two"]}, "field", "tool", history=True)

    assert (text.query.text, text.field, text.role, text.history, text.spoken) == (
        "a\none\nb\ntwo",
        "field",
        "tool",
        True,
        False,
    )
    assert list(laid_out({"type": "object", "n": 5}, "field", "tool")) == []


def test_a_text_of_the_conversation_is_judged_as_it_stands_and_with_its_escapes_decoded() -> None:
    texts = list(spoken(r'{"a": "\u006bill"}', "f", "tool"))

    assert [(text.query.text, text.spoken) for text in texts] == [(r'{"a": "\u006bill"}', True), ('{"a": "kill"}', False)]
    assert len(list(spoken(r"C:\users", "f", "user"))) == 1


@pytest.mark.parametrize(
    "field", ["tools", "functions", "response_format", "documents", "structured_outputs", "guided_json"]
)
def test_definitions_schemas_and_documents_count_as_tool(field: str) -> None:
    (text,) = other_fields({field: [{"description": PHRASE}]}, ())

    assert (text.role, text.query.kind, text.field) == ("tool", Kind.DOCUMENT, field)
    assert PHRASE in text.query.text


def test_other_fields_count_as_user_and_unknown_keys_are_read() -> None:
    (text,) = other_fields({PHRASE: 5, "known": "a", "stop": "stop"}, {"known"})

    assert (text.query.text, text.role, text.query.kind) == (PHRASE, "user", Kind.USER_PROMPT)


@pytest.mark.parametrize("field", sorted(OPAQUE_FIELDS))
def test_what_nobody_can_read_is_named_and_not_taken_for_text(field: str) -> None:
    assert list(opaque_fields({field: "x", "temperature": 1})) == [field]
    assert list(opaque_fields({field: None})) == []
    assert list(other_fields({field: "x"}, ())) == []


def test_a_template_among_the_variables_of_a_template_is_named_too() -> None:
    assert list(opaque_fields({"chat_template_kwargs": {"chat_template": "{{x}}"}})) == [
        "chat_template_kwargs.chat_template"
    ]
    assert list(opaque_fields({"chat_template_kwargs": {"enable_thinking": True}})) == []
    assert list(opaque_fields({"chat_template_kwargs": 5})) == []


@given(
    st.lists(st.integers(0, len(PHRASE)), max_size=4), st.booleans(), st.lists(st.integers(0, 900), min_size=2, max_size=2)
)
def test_a_phrase_split_over_texts_is_found_in_a_seam(cuts: list[int], spaced: bool, around: list[int]) -> None:
    cuts = sorted({5, *cuts}) if not spaced else [5, 9]
    pieces = [PHRASE[a:b] for a, b in zip([0, *cuts], [*cuts, len(PHRASE)], strict=True)]
    if spaced:
        pieces = [piece.strip() for piece in pieces]
    texts = ["x" * around[0] + pieces[0], *pieces[1:-1], pieces[-1] + "x" * around[1]]
    roles = ["user", "assistant", "tool", "system", "user", "user"]

    assert any(PHRASE in seam for seam in seam_texts(*zip(roles, texts, strict=False)))


def test_seams_join_with_nothing_and_with_a_space() -> None:
    assert seam_texts(("user", "a"), ("user", ""), ("user", "b")) == ["ab", "a b"]


def test_a_single_text_has_no_seam() -> None:
    assert seam_texts() == seam_texts(("user", "a")) == []


def test_a_seam_reaches_200_characters_to_either_side_and_says_what_is_open() -> None:
    long = "l" * (2 * SEAM + 1)
    seam, _ = seams(talk(("user", "a" + long), ("user", "b"), ("user", long + "c")))

    assert seam.query.text == "l" * SEAM + "b" + "l" * SEAM
    assert (seam.query.open_left, seam.query.open_right) == (True, True)
    assert (seam.field, seam.role) == ("messages[0].content to messages[2].content", "user")
    closed, _ = seams(talk(("user", "a" * SEAM), ("user", "b" * SEAM)))
    assert (closed.query.open_left, closed.query.open_right) == (False, False)


def test_a_seam_of_several_kinds_is_a_message_and_those_of_one_kind_are_of_that_kind() -> None:
    found = list(seams(talk(("system", "s"), ("user", "a"), ("user", "b"), ("tool", "t"), ("tool", "u"))))

    assert [(seam.query.text, seam.query.kind) for seam in found] == [
        ("sabtu", Kind.MESSAGE),
        ("s a b t u", Kind.MESSAGE),
        ("ab", Kind.USER_PROMPT),
        ("a b", Kind.USER_PROMPT),
        ("tu", Kind.DOCUMENT),
        ("t u", Kind.DOCUMENT),
    ]


def test_a_seam_is_history_if_all_of_it_is() -> None:
    old = [text for said in "ab" for text in spoken(said, "f", "user", history=True)]
    new = list(spoken("c", "f", "user"))

    assert [seam.history for seam in seams(old)] == [True, True]
    assert [seam.history for seam in seams([*old, *new])] == [False, False]


def test_a_conversation_that_grows_changes_only_its_last_seams() -> None:
    """So that verdicts on the others, which are kept, need not be asked for again."""
    turns = [("user" if i % 2 else "assistant", f"this is turn number {i}, and it is rather short. ") for i in range(120)]
    before: set[str] = set()
    for length in range(2, len(turns) + 1):
        now = set(seam_texts(*turns[:length]))
        assert len(now - before) <= 4  # one with nothing and one with a space between, and each may have begun a new one
        before = now


def test_only_what_is_spoken_has_seams() -> None:
    texts = [*laid_out("a", "f", "user"), *spoken("b", "f", "user"), *laid_out("c", "f", "user")]

    assert list(seams(texts)) == []


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.integers(0, 1000)), max_size=30))
def test_the_cost_of_seams_is_linear_in_the_conversation(turns: list[tuple[str, int]]) -> None:
    conversation = [(role, "x" * length) for role, length in turns]
    total = sum(length for _, length in turns)

    assert sum(map(len, seam_texts(*conversation))) <= 4 * (total + len(turns))


def test_reading_long_fields_costs_little() -> None:
    escaped = "[" + ",".join(f'"\\u0061{i}"' for i in range(50_000)) + "]"
    started = time.process_time()

    assert len(field_strings(escaped)) == 2
    assert time.process_time() - started < 1
