"""Claims about flags and environment variables."""

from __future__ import annotations

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.settings_sources import OPTIONS, Given, gather, unknown_variables


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_each_option_is_a_flag_and_a_variable_and_the_flag_counts(name: str) -> None:
    variable = f"SAFETY_PROXY_{name.upper()}"
    flag = f"--{name.replace('_', '-')}"
    assert gather({name: "a"}, {variable: "b"}) == {name: Given("a", flag)}
    assert gather({name: None}, {variable: "b"}) == {name: Given("b", variable)}
    assert gather({}, {variable: ""}) == {}


def test_flags_may_be_numbers() -> None:
    assert gather({"port": 0}, {})["port"].text == "0"


@pytest.mark.parametrize("text", ["1", "10", "007"])
def test_whole_numbers_within_bounds_are_read(text: str) -> None:
    assert Given(text, "--port").whole(1, 10) == int(text)


@pytest.mark.parametrize("text", ["0", "11", "-1", "1.5", "", "x", "\u0661", "1" * 10_000])
def test_other_numbers_are_refused_by_the_name_of_their_flag(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Given(text, "--port").whole(1, 10)
    assert str(caught.value) == "--port: must be a whole number from 1 to 10"


def test_a_word_must_be_one_of_the_known_ones() -> None:
    given = Given("loud", "SAFETY_PROXY_LOG_LEVEL")
    assert given.one_of("quiet", "loud") == "loud"
    with pytest.raises(ConfigError, match=r"^SAFETY_PROXY_LOG_LEVEL: must be one of a, b$"):
        given.one_of("a", "b")


def test_unknown_variables_of_ours_are_warned_of_without_their_values() -> None:
    environ = {
        "SAFETY_PROXY_POTR": "secret",
        "SAFETY_PROXY_PORT": "1",
        "SAFETY_PROXY_QQQQQQQQQQQQQQQQQQQQQQQQQQ": "secret",
        "PATH": "x",
    }
    assert list(unknown_variables(environ)) == [
        "SAFETY_PROXY_POTR: no such variable; did you mean SAFETY_PROXY_PORT?",
        "SAFETY_PROXY_QQQQQQQQQQQQQQQQQQQQQQQQQQ: no such variable",
    ]
