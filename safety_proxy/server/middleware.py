"""What happens to every request: an id, one line in the log, and errors as clients of this field read them.

`error_response` is the one function that turns errors into HTTP.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from safety_proxy.dialects.annotations import error_body
from safety_proxy.dialects.content_safety_errors import content_safety_error
from safety_proxy.errors import BackendError, RequestError, StoreError
from safety_proxy.jsontext import write
from safety_proxy.model import JSON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
"""The id of a request, in logs, in the answer and at the backend."""
FACTS: Final = web.RequestKey("facts", dict[str, str | int | float | bool | None])
"""What the handler wants in the line about its request: deployment, policy, decision. Never text."""

CONTENT_SAFETY: Final = re.compile("/+contentsafety/")
"""How the paths of Azure AI Content Safety begin. Its clients write two slashes if their endpoint ends with one."""

_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Routes that are called every few seconds and tell nothing."""
_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "server_error",
}

log = structlog.get_logger("safety_proxy.server")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id - the client's, if it has the shape of one - and log one event when it is over."""
    presented = request.headers.get("x-request-id", "")
    request_id = presented if _ID_SHAPE.fullmatch(presented) else uuid.uuid4().hex
    request[REQUEST_ID] = request_id
    facts: dict[str, str | int | float | bool | None] = {}
    request[FACTS] = facts
    started = time.monotonic()
    status: int | None = None
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        try:
            response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            facts["client_left"] = True
            raise
        finally:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else None
            milliseconds = round((time.monotonic() - started) * 1000, 1)
            tell = log.debug if route in _PROBES else log.info
            tell("request.served", method=request.method, route=route, status=status, milliseconds=milliseconds, **facts)
    if not response.prepared:
        response.headers["x-request-id"] = request_id
    return response


@web.middleware
async def translate_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as JSON; a bug is 500 without a word of what it was."""
    answer = partial(error_response, content_safety=CONTENT_SAFETY.match(request.path) is not None)
    try:
        return await handler(request)
    except (RequestError, BackendError, StoreError) as error:
        return answer(error)
    except web.HTTPException as error:
        response = answer(_as_request_error(error))
        if "Allow" in error.headers:  # RFC 9110 wants it with every 405
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("request.crashed")
        return answer(None)


Failed: TypeAlias = RequestError | BackendError | StoreError | None
"""Why there is no answer. None: a bug of ours."""


def error_response(error: Failed, *, content_safety: bool = False) -> web.Response:
    """An error as HTTP: status, body, ``Retry-After`` where it helps.

    The body is OpenAI's ``error`` object, or what clients of Azure AI Content Safety read.
    """
    if isinstance(error, StoreError):
        error = _as_unavailable(error)
    status = error.status if error is not None else 500
    code = error.code if error is not None else "internal_error"
    message = error.message if error is not None else "internal error"
    field, headers = (error.field, error.headers) if isinstance(error, RequestError) else (None, {})
    if content_safety:
        code, body = content_safety_error(status, message, code=code, target=field)
    else:
        kind = _KINDS.get(status, "server_error" if status == 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP
        if isinstance(error, BackendError):
            kind = error.error_type or ("server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP
            field = error.param
        body = error_body(message, kind=kind, code=code, param=field)
    if error is not None and error.retry_after is not None:
        headers = {**headers, "Retry-After": str(error.retry_after)}
    return web.Response(
        status=status,
        body=write(body),
        content_type="application/json",
        headers={**headers, **error_code_header(code)},
    )


def _as_unavailable(error: StoreError) -> RequestError:
    """The store is nothing that a client can mend; it may be back soon."""
    log.warning("store.failed", reason=error.reason)
    message = f"the store of blocklists cannot be used ({error.reason})"
    return RequestError(message, status=503, code="store_unavailable", retry_after=1)


def error_code_header(code: JSON) -> dict[str, str]:
    """``x-ms-error-code``, by which Azure's gateways and clients tell errors apart; none for an error without a code."""
    return {"x-ms-error-code": code} if isinstance(code, str) else {}


def _as_request_error(error: web.HTTPException) -> RequestError:
    """Refusals of aiohttp's own (404, 405, 413 and the like) in our words."""
    words = {404: "no such route", 405: "method not allowed", 413: "the body is too large"}
    codes = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
    message = words.get(error.status, error.reason.lower())
    return RequestError(message, status=error.status, code=codes.get(error.status))
