"""What goes wrong with a service has a reason, and a pause if the service asked for one."""

from __future__ import annotations

import pytest

from safety_proxy.classifiers.service import ServiceError, clean, pause_of, refused
from safety_proxy.model import HARMS, Category, Verdict


@pytest.mark.parametrize(
    ("status", "reason", "again"),
    [
        (400, "rejected", False),
        (401, "unauthorized", False),
        (403, "unauthorized", False),
        (404, "rejected", False),
        (408, "timeout", True),
        (413, "rejected", False),
        (424, "server_error", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (501, "server_error", False),
        (503, "server_error", True),
        (529, "server_error", False),
        (302, "invalid_answer", False),
        (204, "invalid_answer", False),
    ],
)
def test_a_status_has_a_reason(status: int, reason: str, again: bool) -> None:
    error = refused(status, {})
    assert (error.reason, error.again, error.pause) == (reason, again, None)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Fri, 31 Dec 99999999 23:59:59 GMT"}, None),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:40 GMT"}, 0.0),
    ],
)
def test_a_pause_is_what_the_service_asks_for(headers: dict[str, str], pause: float | None) -> None:
    assert pause_of(headers, lambda: 60.0) == pause
    assert refused(503, {"Retry-After": "3"}).pause == 3.0


def test_an_error_tells_its_reason_and_nothing_else() -> None:
    assert str(ServiceError("timeout", again=True, pause=1.0)) == "timeout"


def test_a_clean_verdict_decides_everything() -> None:
    assert clean(HARMS | {Category.JAILBREAK}) == Verdict(dict.fromkeys(HARMS, 0), {Category.JAILBREAK: False})
    assert clean(frozenset()) == Verdict()
