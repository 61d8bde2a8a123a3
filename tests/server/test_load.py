"""Calls and open streams are bounded apart; a place is given back however its holder leaves."""

from __future__ import annotations

import pytest

from safety_proxy.errors import RequestError
from safety_proxy.server.load import Load


def test_a_call_too_many_is_asked_to_come_back() -> None:
    load = Load(max_requests=1, max_streams=1)
    with load.request():
        with pytest.raises(RequestError) as caught, load.request():
            pass
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
    with load.request():
        assert load.requests == 1


def test_a_stream_counts_as_a_stream_and_no_longer_as_a_call() -> None:
    load = Load(max_requests=1, max_streams=1)
    with load.request(), load.stream():
        assert (load.requests, load.streams) == (0, 1)
        with load.request(), pytest.raises(RequestError), load.stream():
            pass
        with pytest.raises(RequestError):
            load.require_stream()
    assert (load.requests, load.streams) == (0, 0)


def test_a_place_is_given_back_by_those_who_fail() -> None:
    load = Load(max_requests=1, max_streams=1)
    with pytest.raises(ZeroDivisionError), load.request(), load.stream():
        raise ZeroDivisionError
    assert (load.requests, load.streams) == (0, 0)


def test_whoever_wants_to_know_is_told_of_every_change() -> None:
    told: list[tuple[int, int]] = []
    load = Load(max_requests=2, max_streams=1, tell=lambda requests, streams: told.append((requests, streams)))
    with load.request(), load.stream():
        pass
    assert told == [(1, 0), (0, 1), (1, 0), (0, 0)]
