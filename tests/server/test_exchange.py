"""Admission: what is read of a body, before anybody is asked."""

from __future__ import annotations

import gzip
import json

import aiohttp
import pytest

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import HARM, Serve
from tests.server.wire import CHAT, asks, whole


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 5000, b'{"messages": "\\ud800"}', '{"a":1}'.encode("utf-16")]
)
async def test_what_is_no_json_is_refused(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession, raw: bytes
) -> None:
    async with serve(backend) as url, http.post(url + CHAT, data=raw) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_packed_body_is_unpacked_and_other_codings_are_refused(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    backend.answer = Answer.json(whole("Hi"))
    packed = gzip.compress(json.dumps(asks(HARM)).encode())
    async with serve(backend) as url:
        async with http.post(url + CHAT, data=packed, headers={"Content-Encoding": "gzip"}) as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == "content_filter"
        async with http.post(url + CHAT, data=b"{}", headers={"Content-Encoding": "gzip, gzip"}) as response:
            assert response.status in {400, 415}
