"""Every row of the two request tables of the serverless Llama API: accepted, refused by name, and nothing added."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects import parameters
from safety_proxy.dialects.base import CompletionRequest, Dialect
from safety_proxy.dialects.chat_completions import ChatCompletions
from safety_proxy.dialects.completions import Completions
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, JSONObject

CHAT, TEXT = ChatCompletions(), Completions()
DIALECTS = [CHAT, TEXT]
SAID: JSON = [{"role": "user", "content": "hi"}]

FLAG: tuple[list[JSON], dict[str, list[JSON]]] = ([True, False], {"": [1, 0, 1.0, "true", "", [], {}]})
ROWS: Mapping[str, tuple[list[JSON], dict[str, list[JSON]]]] = {
    "max_tokens": ([16, 512, 1, 0, -1], {"": [16.0, 1.5, True, "16", [16], {}]}),
    "top_p": ([1, 1.0, 0.1, 0, 0.0], {"": [1.01, -0.1, 2, True, "1", [1], {}]}),
    "temperature": ([0, 0.0, 0.8, 1, 2, 2.0], {"": [2.01, -0.01, 3, True, "0.8", [0.8], {}]}),
    "n": ([1, 2, 128], {"": [0, -1, 1.5, 1.0, True, "2", [1], {}]}),
    "stop": (
        ["", "END", ["END", "\n"], []],
        {"": [5, True, {"a": "b"}], "[1]": [["END", 5], ["END", None], ["END", ["x"]]]},
    ),
    "best_of": ([1, 2, 20], {"": [0, -1, 2.0, True, "2", [2], {}]}),
    "presence_penalty": ([-2, -2.0, 0, 0.5, 2], {"": [-2.01, 2.01, 3, True, "0", [0], {}]}),
    "ignore_eos": FLAG,
    "use_beam_search": ([False], FLAG[1]),
    "stop_token_ids": ([[], [128001], [1, 2]], {"": [5, "5", {}, True], "[1]": [[1, "2"], [1, True], [1, 2.0], [1, None]]}),
    "skip_special_tokens": FLAG,
}
"""What both tables say: values to accept, and values to refuse by the path of the faulty part."""
LOGPROBS: Mapping[Dialect, tuple[list[JSON], dict[str, list[JSON]]]] = {
    TEXT: ([0, 1, 10], {"": [-1, 1.0, True, False, "5", [5], {}]}),
    CHAT: ([0, 1, 10, True, False], {"": [-1, 1.0, "5", "true", [5], {}]}),
}
"""The row that OpenAI's chat has otherwise."""


def read(dialect: Dialect, **fields: JSON) -> CompletionRequest:
    asked: JSONObject = {"messages": SAID} if dialect is CHAT else {"prompt": "hi"}
    return dialect.read_request({**asked, **fields})


def refused(dialect: Dialect, **fields: JSON) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(dialect, **fields)
    assert caught.value.status == 400
    return caught.value


def rows(dialect: Dialect) -> dict[str, tuple[list[JSON], dict[str, list[JSON]]]]:
    return {**ROWS, "logprobs": LOGPROBS[dialect]}


ACCEPTED = [
    (dialect, name, value)
    for dialect in DIALECTS
    for name, (values, _) in rows(dialect).items()
    for value in (*values, None)
]
REFUSED = [
    (dialect, name, value, name + path)
    for dialect in DIALECTS
    for name, (_, faults) in rows(dialect).items()
    for path, values in faults.items()
    for value in values
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_rule_is_shown_here(dialect: Dialect) -> None:
    assert set(rows(dialect)) == set(dialect.parameters)


@pytest.mark.parametrize(("dialect", "name", "value"), ACCEPTED)
def test_what_a_row_allows_is_passed_on_as_it_was_sent(dialect: Dialect, name: str, value: JSON) -> None:
    body = read(dialect, **{name: value}).body

    assert repr(body[name]) == repr(value)
    assert set(body) == {name, "messages" if dialect is CHAT else "prompt"}


@pytest.mark.parametrize(("dialect", "name", "value", "field"), REFUSED)
def test_what_a_row_does_not_allow_is_refused_by_its_name(dialect: Dialect, name: str, value: JSON, field: str) -> None:
    error = refused(dialect, **{name: value})

    assert error.field == field
    assert f"'{field}' must be " in error.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_says_what_would_be_right_and_nothing_of_what_was_sent(dialect: Dialect) -> None:
    sent: JSON = {"kill": "them"}
    messages = {name: refused(dialect, **{name: sent}).message for name in dialect.parameters}

    assert messages == {
        "max_tokens": "'max_tokens' must be an integer",
        "top_p": "'top_p' must be a number from 0 to 1",
        "temperature": "'temperature' must be a number from 0 to 2",
        "n": "'n' must be a positive integer",
        "stop": "'stop' must be a string or an array of strings",
        "best_of": "'best_of' must be a positive integer",
        "logprobs": f"'logprobs' must be {'true, false or ' if dialect is CHAT else ''}an integer of at least 0",
        "presence_penalty": "'presence_penalty' must be a number from -2 to 2",
        "ignore_eos": "'ignore_eos' must be true or false",
        "use_beam_search": "'use_beam_search' must be true or false",
        "stop_token_ids": "'stop_token_ids' must be an array of integers",
        "skip_special_tokens": "'skip_special_tokens' must be true or false",
    }


# ---------------------------------------------------------------------------------------------------- together


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("n", "best_of"), [(2, 3), (1, 2), (None, 2), (5, 20)])
def test_best_of_is_greater_than_n_and_does_not_multiply_the_choices(dialect: Dialect, n: int | None, best_of: int) -> None:
    assert read(dialect, n=n, best_of=best_of).prompt.choices == (n or 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("n", "best_of"), [(2, 2), (3, 2), (128, 127)])
def test_a_best_of_that_is_not_greater_than_n_is_refused(dialect: Dialect, n: int, best_of: int) -> None:
    error = refused(dialect, n=n, best_of=best_of)

    assert (error.field, "'n'" in error.message) == ("best_of", True)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("n", [None, 1, 2, 128])
@pytest.mark.parametrize("stream", [None, False, True, "true"])
def test_a_best_of_one_is_always_accepted(dialect: Dialect, n: int | None, stream: JSON) -> None:
    assert read(dialect, n=n, best_of=1, stream=stream).body["best_of"] == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, "true", "True"])
def test_a_best_of_greater_than_one_cannot_be_streamed(dialect: Dialect, stream: JSON) -> None:
    error = refused(dialect, best_of=2, stream=stream)

    assert (error.field, "'stream'" in error.message) == ("best_of", True)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [None, False, "False"])
def test_a_best_of_greater_than_one_goes_with_any_other_stream_flag(dialect: Dialect, stream: JSON) -> None:
    assert read(dialect, best_of=2, stream=stream).body["best_of"] == 2


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("temperature", [0, 0.0])
def test_beam_search_goes_with_best_of_and_a_temperature_of_zero(dialect: Dialect, temperature: float) -> None:
    sent: JSONObject = {"use_beam_search": True, "best_of": 4, "temperature": temperature}
    body = read(dialect, **sent).body

    assert {name: body[name] for name in sent} == sent


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, "best_of"),
        ({"temperature": 0}, "best_of"),
        ({"temperature": 0, "best_of": 1}, "best_of"),
        ({"temperature": 0, "best_of": None}, "best_of"),
        ({"best_of": 2}, "temperature"),
        ({"best_of": 2, "temperature": None}, "temperature"),
        ({"best_of": 2, "temperature": 0.1}, "temperature"),
    ],
)
def test_beam_search_alone_is_refused_and_told_what_it_needs(dialect: Dialect, fields: JSONObject, needed: str) -> None:
    error = refused(dialect, use_beam_search=True, **fields)

    assert (error.field, f"needs '{needed}'" in error.message) == ("use_beam_search", True)


# ---------------------------------------------------------------------------------------------------- nothing added


@st.composite
def requests(draw: st.DrawFn, dialect: Dialect) -> JSONObject:
    """Any subset of a table's parameters, and others, with values that go together."""
    values = {name: st.sampled_from([*values, None]) for name, (values, _) in rows(dialect).items()}
    values |= {
        "stream": st.sampled_from([True, False]),
        "seed": st.integers(0, 9),
        "top_k": st.just(-1),
        "odd": st.just([{}]),
    }
    fields: JSONObject = draw(st.fixed_dictionaries({}, optional=values))
    if fields.get("stream") is True:
        fields.pop("best_of", None)
    elif fields.get("best_of", 1) != 1:
        fields["best_of"] = 129
        if draw(st.booleans()):
            fields |= {"use_beam_search": True, "temperature": 0}
    return {**fields, **({"messages": SAID} if dialect is CHAT else {"prompt": "hi"})}


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_whatever_subset_was_sent_that_subset_is_passed_on(dialect: Dialect, data: st.DataObject) -> None:
    """No default of the tables is ever filled in: not `max_tokens` 16, not `ignore_eos` true."""
    body = data.draw(requests(dialect))
    before = repr(body)

    assert repr(dialect.read_request(body).body) == before
    assert repr(body) == before


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 9},
        {"top_logprobs": "5"},
        {"seed": "a"},
        {"max_completion_tokens": -5},
        {"min_p": [0.1]},
        {"repetition_penalty": True},
    ],
)
def test_a_parameter_that_the_tables_do_not_have_is_the_backends_to_refuse(dialect: Dialect, fields: JSONObject) -> None:
    assert read(dialect, **fields).body.items() >= fields.items()


# ---------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize(
    "rest", [{}, {"content": None}, {"content": None, "name": "Bo"}, {"name": "Bo", "tool_calls": None}]
)
def test_a_message_without_content_is_refused(role: str, rest: JSONObject) -> None:
    error = refused(CHAT, messages=[{"role": "user", "content": "hi"}, {"role": role, **rest}])

    assert (error.field, error.message) == ("messages[1].content", "'messages[1].content' is required")


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_an_empty_content_is_one(role: str) -> None:
    assert read(CHAT, messages=[{"role": role, "content": ""}]).body["messages"] == [{"role": role, "content": ""}]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "assistant", "refusal": "No."},
        {"role": "tool", "tool_call_id": "1"},
        {"role": "ipython"},
    ],
)
def test_what_an_assistant_says_otherwise_and_other_roles_need_no_content(message: JSON) -> None:
    parameters.require_content(message if isinstance(message, dict) else {}, "messages[0]")

    assert read(CHAT, messages=[message]).body["messages"] == [message]


def test_a_user_who_sends_something_else_has_to_say_something_all_the_same() -> None:
    assert refused(CHAT, messages=[{"role": "user", "tool_calls": [{"id": "1"}]}]).field == "messages[0].content"
