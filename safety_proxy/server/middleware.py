"""What happens to every request: an id, one line in the log, and errors as clients of this field read them.

`error_response` is the one function that turns errors into HTTP.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from safety_proxy.dialects.annotations import error_body
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.jsontext import as_object, write
from safety_proxy.model import JSON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
"""The id of a request, in logs, in the answer and at the backend."""
FACTS: Final = web.RequestKey("facts", dict[str, str | int | float | bool | None])
"""What the handler wants in the line about its request: deployment, policy, decision. Never text."""

_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Routes that are called every few seconds and tell nothing."""
_KINDS: Final = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "server_error"}

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
    try:
        return await handler(request)
    except (RequestError, BackendError) as error:
        return error_response(error)
    except web.HTTPException as error:
        response = error_response(_as_request_error(error))
        if "Allow" in error.headers:  # RFC 9110 wants it with every 405
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("request.crashed")
        return error_response(None)


def error_response(error: RequestError | BackendError | None) -> web.Response:
    """An error as HTTP: status, OpenAI's ``error`` object, ``Retry-After`` where it helps. None: a bug of ours."""
    headers: dict[str, str] = {}
    match error:
        case RequestError():
            status = error.status
            headers |= error.headers
            body = error_body(
                error.message, kind=_KINDS.get(status, "invalid_request_error"), code=error.code, param=error.field
            )
        case BackendError():
            status = error.status
            kind = error.error_type or ("server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP
            body = error_body(error.message, kind=kind, code=error.code, param=error.param)
        case _:
            status = 500
            body = error_body("internal error", kind="server_error", code="internal_error")
    if error is not None and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    headers |= error_code_header(as_object(body["error"]).get("code"))
    return web.Response(status=status, body=write(body), content_type="application/json", headers=headers)


def error_code_header(code: JSON) -> dict[str, str]:
    """``x-ms-error-code``, by which Azure's gateways and clients tell errors apart; none for an error without a code."""
    return {"x-ms-error-code": code} if isinstance(code, str) else {}


def _as_request_error(error: web.HTTPException) -> RequestError:
    """Refusals of aiohttp's own (404, 405, 413 and the like) in our words."""
    words = {404: "no such route", 405: "method not allowed", 413: "the body is too large"}
    codes = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
    message = words.get(error.status, error.reason.lower())
    return RequestError(message, status=error.status, code=codes.get(error.status))
