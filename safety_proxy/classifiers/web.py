"""A service that takes JSON and answers JSON. One request in, one value out; everything else is a `ServiceError`.

A service is trusted no more than a backend: redirects are not followed (text and key would go elsewhere), the answer has
a limit, compressed answers are refused (bombs), and nothing that it says about an error is passed on. There is no timeout
here: whoever asks has a deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import aiohttp

from safety_proxy.classifiers.service import ServiceError, refused
from safety_proxy.jsontext import parse_lenient, write
from safety_proxy.model import JSON

_ANSWER: Final = 4 * 2**20
"""Longest answer in bytes; verdicts are short."""


class JSONService:
    """The server at *url*, asked with *headers*, which may hold a key.

    A slash at the end of *url* does not matter where a path is appended; where none is, the url is asked as it is.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        """Without a slash at its end."""
        self.address = url
        """As it was given: what is asked if no path is appended."""
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "safety-proxy",
            **(headers or {}),
        }
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: JSON) -> JSON:
        """What the server answers to *body* at *path*, which is appended to the url. Raises `ServiceError`."""
        try:
            data = write(body)
        except TypeError:  # half a surrogate pair has no form in UTF-8
            raise ServiceError("rejected") from None
        try:
            async with self._open().post(
                self.url + path if path else self.address, data=data, headers=self._headers, allow_redirects=False
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise refused(response.status, response.headers)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise ServiceError("invalid_answer")
                answer = await _read(response)
        except (aiohttp.ClientError, ConnectionError, TimeoutError):  # there is no timeout of aiohttp's but the system's
            raise ServiceError("unreachable", again=True) from None
        try:
            return parse_lenient(answer)
        except ValueError:
            raise ServiceError("invalid_answer") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made at the first request: a session belongs to the event loop that runs.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=0),  # the frame limits concurrency
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for data in response.content.iter_any():
        read += data
        if len(read) > _ANSWER:
            raise ServiceError("invalid_answer")
    return bytes(read)
