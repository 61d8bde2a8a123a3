"""The OpenAPI 3.1 description of all routes, built from one table and served at ``/openapi.json`` to everybody.

It tells nothing of a configuration but whether keys are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from safety_proxy import __version__
from safety_proxy.dialects.known_parameters import EXTRA_PARAMETERS, MODES
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, JSONObject
from safety_proxy.server.azure_api import API_VERSION, API_VERSION_SHAPE
from safety_proxy.server.deployments import DEPLOYMENT_HEADER
from safety_proxy.server.openapi_content_safety import CONTENT_SAFETY_SCHEMAS
from safety_proxy.server.openapi_routes import ERRORS, METRICS, OPERATIONS, Method, Route
from safety_proxy.server.openapi_schemas import SCHEMAS
from safety_proxy.server.openapi_service import SERVICE_SCHEMAS
from safety_proxy.sse import DONE

DESCRIPTION: Final = web.AppKey("description", bytes)
"""The document, written."""

# --------------------------------------------------------------------------------------------------------- components


def _parameter(name: str, place: str, description: str, **schema: JSON) -> JSONObject:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


_PARAMETERS: Final[JSONObject] = {
    "api-version": _parameter(
        API_VERSION, "query", "Any version; all are answered alike.", pattern=f"^({API_VERSION_SHAPE})$"
    ),
    "deployment-header": _parameter(DEPLOYMENT_HEADER, "header", "The deployment; beats the path and the body's `model`."),
    "extra-parameters": _parameter(
        EXTRA_PARAMETERS,
        "header",
        "What becomes of parameters that the API does not define.",
        enum=[*MODES],
        default=MODES[-1],
    ),
    "deployment": _parameter("deployment", "path", "The deployment."),
    "model": _parameter("model", "path", "The deployment."),
    "blocklist": _parameter("blocklist", "path", "Name of the blocklist.", pattern="^[0-9A-Za-z._~-]{1,64}$"),
    "item": _parameter("item", "path", "Id of the item.", minLength=1, maxLength=64),
    **{
        name: _parameter(name, "query", told, type="integer", minimum=least)
        for name, told, least in (
            ("top", "How many are wanted in all.", 0),
            ("skip", "How many to leave out at the beginning.", 0),
            ("maxpagesize", "How many to show at a time.", 1),
        )
    },
}
_HEADERS: Final[Mapping[str, tuple[str, JSONObject]]] = {
    "x-request-id": ("The caller's id of the request, if it has the shape of one, else ours.", {"type": "string"}),
    "x-safety-proxy-policy": ("Identity of the policy that judged; `off` if none did.", {"type": "string"}),
    "x-safety-proxy-classifiers": ("Identities of the classifiers that the policy names.", {"type": "string"}),
    "x-safety-proxy-mode": ("How text is held back.", {"enum": ["buffered", "whole", "asynchronous"]}),
    "x-safety-proxy-decision": ("The decision on the prompt.", {"enum": ["allow", "block", "error"]}),
    "x-ms-error-code": ("The error's `code` once more, as Azure's gateways tell it.", {"type": "string"}),
    "Retry-After": ("Seconds.", {"type": "integer"}),
    "retry-after-ms": ("The same in milliseconds.", {"type": "integer"}),
    **{
        f"x-ratelimit-{word}-{what}": (f"Where there is a quota: {told} {what} of this minute.", {"type": kind})
        for what in ("requests", "tokens")
        for word, told, kind in (
            ("limit", "all", "integer"),
            ("remaining", "what is left of the", "integer"),
            ("reset", "how long until there are new", "string"),
        )
    },
    "Allow": ("The methods that the route has.", {"type": "string"}),
}


def _headers(*names: str) -> JSONObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", *names)}


def _schema(name: str) -> JSONObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> JSONObject:
    return {"application/json": {"schema": _schema(name)}}


def _event(name: str) -> JSONObject:
    """One event; OpenAPI before 3.2 has no word for a sequence of them, and tools take the schema for that of each."""
    data: JSONObject = {"type": "string", "contentMediaType": "application/json", "contentSchema": _schema(name)}
    return {
        "type": "object",
        "description": f"Server-sent events, of which each is a line `data: ` with a {name}; the last is `data: [DONE]`.",
        "properties": {"data": {"anyOf": [{"const": DONE.decode()}, data]}},
        "required": ["data"],
    }


def _error(status: int, schema: str) -> JSONObject:
    limits = (name for name in _HEADERS if name.startswith("x-ratelimit-"))
    extra = {405: ("Allow",), 429: ("Retry-After", "retry-after-ms", *limits), 503: ("Retry-After",)}.get(status, ())
    return {"description": ERRORS[status], "headers": _headers("x-ms-error-code", *extra), "content": _json(schema)}


def _error_name(status: int, schema: str) -> str:
    return str(status) if schema == "Error" else f"{status}-{schema}"


# ------------------------------------------------------------------------------------------------------------ document


def describe(*, keys: bool, metrics_key: bool = False) -> bytes:
    """The document, as JSON. *keys*: callers need one. *metrics_key*: readers of metrics do."""
    errors = sorted(
        {
            (status, each.error)
            for operations in OPERATIONS.values()
            for each in operations.values()
            for status in each.errors
        }
    )
    document: JSONObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "safety_proxy",
            "version": __version__,
            "description": "Moderated access to language models, and moderation alone: the routes of OpenAI's API and of "
            "Azure's.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            path: {
                method: _operation(path, method, route, keys=metrics_key if path == METRICS else keys)
                for method, route in operations.items()
            }
            for path, operations in OPERATIONS.items()
        },
        "components": {
            "schemas": {**SCHEMAS, **CONTENT_SAFETY_SCHEMAS, **SERVICE_SCHEMAS},
            "parameters": _PARAMETERS,
            "headers": {name: {"description": told, "schema": schema} for name, (told, schema) in _HEADERS.items()},
            "responses": {_error_name(status, schema): _error(status, schema) for status, schema in errors},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }
    return write(document)


def _operation(path: str, method: Method, route: Route, *, keys: bool) -> JSONObject:
    in_path: list[str] = re.findall(r"\{(\w+)\}", path)
    operation: JSONObject = {
        "operationId": "_".join([method, *re.findall(r"\w+", path)]),
        "summary": route.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in (*in_path, *route.parameters)],
        "responses": _bodiless(route) if method == "head" else _responses(route),
        "security": [{"bearer": []}, {"api-key": []}] if keys and route.secured else [],
    }
    if route.request:
        content: JSONObject = {media: {"schema": _schema(route.request)} for media in route.media}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_PLAIN: Final[JSONObject] = {"text/plain": {"schema": {"type": "string"}}}


def _responses(route: Route) -> JSONObject:
    content = _json(route.answer) if route.answer else dict(_PLAIN)
    if route.events:
        content["text/event-stream"] = {"schema": _event(route.events)}
    answer: JSONObject = {"description": "As asked.", "headers": _headers(*route.judged)}
    found: JSONObject = {
        str(status): answer if status == 204 else {**answer, "content": content}  # noqa: PLR2004 - HTTP
        for status in route.statuses
    }
    for status in route.errors:
        found[str(status)] = {"$ref": f"#/components/responses/{_error_name(status, route.error)}"}
    unready: JSONObject = {"503": {**answer, "content": content, "description": "Not yet, or no longer."}}
    return found | (unready if route.unready else {})


def _bodiless(route: Route) -> JSONObject:
    statuses = ("200", "503") if route.unready else ("200",)
    return {status: {"description": "As GET, without the body.", "headers": _headers()} for status in statuses}


async def show_description(request: web.Request) -> web.Response:
    """The document."""
    return web.Response(body=request.app[DESCRIPTION], content_type="application/json")
