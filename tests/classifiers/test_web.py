"""A service that takes JSON: one request in, one value out, everything else a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from safety_proxy.classifiers.service import ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.model import JSON
from tests.classifiers.loopback import JSON_TYPE, LoopbackService, Received


class Echo(LoopbackService):
    def answer(self, request: Received) -> web.Response:
        return web.json_response({"path": request.path, "said": request.body})


@pytest.fixture(name="echo")
async def _echo() -> AsyncIterator[Echo]:
    service = Echo()
    await service.start()
    yield service
    await service.stop()


async def failure(service: Echo) -> ServiceError:
    client = JSONService(service.url)
    with pytest.raises(ServiceError) as failed:
        await client.post("/x", {"secret": "Zwetschge"})
    await client.close()
    assert "Zwetschge" not in repr(failed.value) + str(failed.value.__cause__)
    return failed.value


@pytest.mark.parametrize("body", [{"a": ["ü", None, 1.5]}, [], "text", None])
async def test_a_value_goes_and_a_value_comes(echo: Echo, body: JSON) -> None:
    client = JSONService(echo.url + "/v1/", {"Authorization": "Bearer k", "x-more": "1"})
    assert await client.post("/judge", body) == {"path": "/v1/judge", "said": body}
    assert await client.post("", body) == {"path": "/v1/", "said": body}
    await client.close()
    headers = echo.received[0].headers
    assert (headers["Authorization"], headers["x-more"]) == ("Bearer k", "1")
    assert (headers["Accept-Encoding"], headers["Content-Type"]) == ("identity", "application/json")


@pytest.mark.parametrize(
    ("fault", "reason", "again"),
    [
        ({"status": 500}, "server_error", True),
        ({"status": 429, "headers": {"Retry-After": "7"}}, "rate_limited", True),
        ({"status": 401}, "unauthorized", False),
        ({"status": 422, "body": b'{"detail": "Zwetschge"}'}, "rejected", False),
        ({"status": 307, "headers": {"Location": "http://127.0.0.1:9/"}}, "invalid_answer", False),
        ({"status": 204}, "invalid_answer", False),
        ({"body": b"<html>"}, "invalid_answer", False),
        ({"body": b""}, "invalid_answer", False),
        ({"body": b"[" * 100_000}, "invalid_answer", False),
        ({"body": b'"' + b"x" * 5_000_000 + b'"'}, "invalid_answer", False),
        ({"body": b"\x1f\x8b", "headers": {**JSON_TYPE, "Content-Encoding": "gzip"}}, "invalid_answer", False),
        ({"drop": True}, "unreachable", True),
        ({"body": b"{", "cut": True}, "unreachable", True),
    ],
)
async def test_each_fault_has_its_reason(echo: Echo, fault: dict[str, object], reason: str, again: bool) -> None:
    echo.fail(**fault)
    failed = await failure(echo)
    assert (failed.reason, failed.again) == (reason, again)


async def test_a_server_that_is_not_there_is_unreachable(echo: Echo) -> None:
    await echo.stop()
    assert (await failure(echo)).reason == "unreachable"


async def test_a_text_that_is_no_unicode_is_rejected_and_not_sent(echo: Echo) -> None:
    client = JSONService(echo.url)
    with pytest.raises(ServiceError, match="rejected"):
        await client.post("", {"text": "\ud800"})
    await client.close()
    assert not echo.received


async def test_who_leaves_ends_the_request(echo: Echo) -> None:
    echo.fail(hang=True)
    client = JSONService(echo.url)
    asked = asyncio.ensure_future(client.post("", {}))
    await echo.received_by(1)
    asked.cancel()
    await echo.abandoned.wait()
    await client.close()


async def test_closing_is_possible_at_any_time() -> None:
    client = JSONService("http://127.0.0.1:9")
    await client.close()
    await client.close()
