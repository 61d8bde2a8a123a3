"""Errors say where, whose fault, and what stays undecided."""

from __future__ import annotations

import pytest

from safety_proxy.errors import BackendError, ClassifierError, ConfigError, RequestError, SafetyProxyError
from safety_proxy.model import Category


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("is wrong"), "is wrong"),
        (ConfigError("is wrong", file="a.yaml", line=3, field="output.hate"), "a.yaml:3: output.hate: is wrong"),
        (ConfigError("is wrong", file="a.yaml"), "a.yaml: is wrong"),
        (ConfigError("is wrong", field="--port"), "--port: is wrong"),
    ],
)
def test_a_configuration_error_tells_file_line_and_field_as_far_as_they_are_known(error: ConfigError, text: str) -> None:
    assert str(error) == text


def test_a_request_error_is_the_clients_unless_it_says_otherwise() -> None:
    error = RequestError("no", field="n")

    assert (error.status, error.code, error.field, error.retry_after) == (400, None, "n", None)


def test_a_backend_error_is_a_bad_gateway_unless_it_says_otherwise() -> None:
    error = BackendError("no")

    assert (error.status, error.code, error.error_type, error.param) == (502, "backend_error", None, None)


def test_a_classifier_error_leaves_open_what_it_names_or_everything() -> None:
    some = ClassifierError("timeout", categories=[Category.HATE])

    assert (some.leaves_open(Category.HATE), some.leaves_open(Category.SEXUAL)) == (True, False)
    assert ClassifierError("timeout").leaves_open(Category.SEXUAL)
    assert [str(error) for error in (some, ClassifierError("timeout", "after 2 s"))] == ["timeout", "timeout: after 2 s"]


def test_all_of_them_can_be_caught_together() -> None:
    assert all(issubclass(each, SafetyProxyError) for each in (ConfigError, RequestError, BackendError, ClassifierError))
