"""The client of one model server: a POST goes out, bytes come back, and whatever goes wrong is told in our own words.

A backend is hostile until shown otherwise: nothing that it says about an error is passed on (it may echo the prompt),
redirects are not followed (prompt and key would go elsewhere), compressed answers are refused (bombs), every wait and
every size has a bound. Requests carry only the headers written here; a client's headers never reach a backend.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal

import aiohttp
import orjson
from yarl import URL

from safety_proxy.errors import BackendError

PASSED_HEADERS: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(shape, re.ASCII)
    for name, shape in {
        "openai-processing-ms": r"\d{1,12}",
        "openai-version": r"\d{4}-\d{2}-\d{2}",
        "x-ratelimit-limit-requests": r"-?\d{1,12}",
        "x-ratelimit-limit-tokens": r"-?\d{1,12}",
        "x-ratelimit-remaining-requests": r"-?\d{1,12}",
        "x-ratelimit-remaining-tokens": r"-?\d{1,12}",
        "x-ratelimit-reset-requests": r"[\d.hms]{1,32}",
        "x-ratelimit-reset-tokens": r"[\d.hms]{1,32}",
    }.items()
}
"""The headers of an answer that a client may see, each with the shape that its value must have: numbers, dates and
durations only, for free text in a header would reach the client unjudged."""

WORD: Final = re.compile(r"[A-Za-z0-9_.:/@\-\[\]]{1,128}")
"""The shape that ``code``, ``type`` and ``param`` of a backend's error must have to be passed on."""

_ERROR_BODY: Final = 64 * 1024
"""Bytes of an error's body that are read to find its code; real ones have a few hundred."""
_RAW_BODY: Final = 2**20
"""Longest body that aiohttp writes in one piece; above, it wants a file so that the loop is not held up."""
_ERROR_TIME: Final = 5.0
"""Seconds that an error's body may take; the status is known, so its code is not worth more."""
_GLANCE: Final = 1.0
"""Seconds of silence after which a look is taken at the connection. Where a body breaks its chunked framing, aiohttp
(seen with 3.14.5) closes the connection but lets the reader of the body wait on."""
_DAY: Final = 86_400
_KEEP_ALIVE: Final = 4.0
"""Seconds that an idle connection is kept: below the 5 s after which uvicorn (and so vLLM) closes its end. A POST that
meets a closing connection fails, and is not sent again."""


def open_session() -> aiohttp.ClientSession:
    """The HTTP session that all backends share. Needs a running event loop; the caller closes it.

    Any number of connections at a time (open streams are bounded elsewhere), no cookies, no proxies or ``.netrc`` from
    the environment, no decompression, no time-outs of its own.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent",),
        auto_decompress=False,
        trust_env=False,
    )


class Reply:
    """A backend's answer with status 200, whose body is still to be read: once, by `read` or by `chunks`."""

    status: Final = 200
    content_type: str
    """Lower case, without parameters; empty if the backend named none."""
    headers: Mapping[str, str]
    """Those that may be passed to the client (`PASSED_HEADERS`), names in lower case."""

    def __init__(self, response: aiohttp.ClientResponse, *, idle: float, limit: int) -> None:
        self._response, self._idle, self._limit = response, idle, limit
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.headers = {
            name: value
            for name, shape in PASSED_HEADERS.items()
            if (value := response.headers.get(name)) is not None and shape.fullmatch(value)
        }

    async def read(self) -> bytes:
        """The whole body. Raises `BackendError` as `chunks` does."""
        if (self._response.content_length or 0) > self._limit:
            raise _too_large()
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes: all that is there at a time, never empty.

        Raises `BackendError`: ``backend_timeout`` (504) if nothing comes for the idle time, ``backend_disconnected``
        if the body breaks off or is not framed as announced, ``backend_response_too_large`` beyond the limit.
        """
        length = 0
        while piece := await self._next():
            length += len(piece)
            if length > self._limit:
                raise _too_large()
            yield piece

    async def _next(self) -> bytes:
        """All that has come since; waits for something. Empty at the end."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._idle
        while True:
            try:
                async with asyncio.timeout(min(self._idle, _GLANCE)):
                    return await self._response.content.readany()
            except TimeoutError:
                connection = self._response.connection
                if connection is not None and connection.transport is None:
                    raise _broken_off() from None
                if clock() >= deadline:
                    raise BackendError("the backend fell silent", status=504, code="backend_timeout") from None
            except (aiohttp.ClientError, OSError):
                raise _broken_off() from None


@dataclass(eq=False, kw_only=True)
class Backend:
    """One model server. All times are in seconds."""

    session: aiohttp.ClientSession = field(repr=False)
    """From `open_session`; not closed here."""
    name: str
    """Its name in the configuration."""
    url: str = field(repr=False)
    """What ``/chat/completions`` is appended to; its own path is kept."""
    key: str | None = field(default=None, repr=False)
    auth: Literal["bearer", "api-key"] = "bearer"
    """The header that carries the key: ``Authorization: Bearer KEY`` or ``api-key: KEY``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent along with every request."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to every URL, such as Azure's ``api-version``."""
    connect: float = 5.0
    """Longest time for the name look-up and the connection."""
    first_byte: float = 60.0
    """Longest time until the head of the answer, the connection included."""
    idle: float = 60.0
    """Longest silence within the body; there is no limit to the whole."""
    response_limit: int = 64 * 2**20
    """Longest body of an answer, in bytes."""

    def __post_init__(self) -> None:
        self._urls: dict[str, URL] = {}
        self._timeout = aiohttp.ClientTimeout(total=None, connect=self.connect, sock_connect=self.connect)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            **self.headers,
        }
        if self.key is not None and self.auth == "bearer":
            self._headers["Authorization"] = f"Bearer {self.key}"
        elif self.key is not None:
            self._headers["api-key"] = self.key

    @asynccontextmanager
    async def post(self, path: str, body: bytes, *, request_id: str) -> AsyncIterator[Reply]:
        """Send *body*, a JSON document, to *path* (``/chat/completions``); yields the reply once its head has come.

        *path* is a constant of ours, never the client's. Leaving the context before the end of the body closes the
        connection, so that the backend stops. Nothing is sent twice.

        Raises `BackendError`: ``backend_unreachable``, ``backend_disconnected`` or ``backend_invalid_answer`` (502);
        ``backend_timeout`` (504); a 4xx or 5xx of the backend with that status.
        """
        response = await self._send(path, body, request_id)
        try:
            if response.status != HTTPStatus.OK:
                raise await self._refusal(response)
            _refuse_encoded(response)
            yield Reply(response, idle=self.idle, limit=self.response_limit)
        finally:
            # Lets go of the connection; one whose answer has not come to its end is closed, not used again.
            response.close()

    async def _send(self, path: str, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self.first_byte):
                return await self.session.post(
                    self._url(path),
                    data=body if len(body) <= _RAW_BODY else io.BytesIO(body),
                    headers={**self._headers, "x-request-id": request_id},
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            # The library's words hold addresses and parts of what was sent or received.
            raise _failure(error) from None

    def _url(self, path: str) -> URL:
        if path not in self._urls:
            self._urls[path] = URL(self.url.rstrip("/") + path).update_query(self.query)
        return self._urls[path]

    async def _refusal(self, response: aiohttp.ClientResponse) -> BackendError:
        status = response.status
        if status in range(300, 400):
            return BackendError("the backend redirects, which is not followed", code="backend_invalid_answer")
        if status not in range(400, 600):
            return BackendError(f"the backend answered with status {status}", code="backend_invalid_answer")
        words = await self._read_words(response)
        verb = "refused the request" if status in range(400, 500) else "failed"
        return BackendError(
            f"the backend {verb} with status {status}",
            status=status,
            code=words.get("code") or "backend_error",
            retry_after=_retry_after(response),
            error_type=words.get("type"),
            param=words.get("param"),
        )

    async def _read_words(self, response: aiohttp.ClientResponse) -> dict[str, str]:
        """``code``, ``type`` and ``param`` of an error's body, where they have the shape of a word."""
        body = b""
        try:
            async with asyncio.timeout(min(self.idle, _ERROR_TIME)):
                while (piece := await response.content.readany()) and len(body) <= _ERROR_BODY:
                    body += piece
            document = orjson.loads(body) if len(body) <= _ERROR_BODY else None
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError):
            return {}
        if not isinstance(document, dict):
            return {}
        # Azure's serverless endpoints write the same keys without the envelope, some with a text called "error".
        error = document["error"] if isinstance(document.get("error"), dict) else document
        words = {name: error.get(name) for name in ("code", "type", "param")}
        return {name: word for name, word in words.items() if isinstance(word, str) and WORD.fullmatch(word)}


def _refuse_encoded(response: aiohttp.ClientResponse) -> None:
    """Raise if the body is compressed: identity was asked for, and a small body may unpack to any size."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BackendError("the backend compressed its answer although asked not to", code="backend_invalid_answer")


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    """``Retry-After`` in seconds, if it is a number of at most a day (Azure says 86400)."""
    value = response.headers.get("Retry-After", "")
    if not re.fullmatch(r"\d{1,5}", value, re.ASCII) or int(value) > _DAY:
        return None
    return int(value)


def _broken_off() -> BackendError:
    return BackendError("the backend broke off its answer", code="backend_disconnected")


def _too_large() -> BackendError:
    return BackendError("the backend's answer is longer than allowed", code="backend_response_too_large")


def _failure(error: aiohttp.ClientError | OSError) -> BackendError:
    """What *error*, met before the head of the answer, means."""
    match error:
        case TimeoutError():
            return BackendError("the backend did not answer in time", status=504, code="backend_timeout")
        case aiohttp.ClientConnectorDNSError():
            return BackendError("the backend's host name is unknown", code="backend_unreachable")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return BackendError("no secure connection to the backend could be made", code="backend_unreachable")
        case aiohttp.ClientConnectorError():
            return BackendError("the backend cannot be reached", code="backend_unreachable")
        case aiohttp.ClientResponseError():
            return BackendError("the backend's answer is not valid HTTP", code="backend_invalid_answer")
        case _:
            return BackendError("the backend closed the connection", code="backend_disconnected")
