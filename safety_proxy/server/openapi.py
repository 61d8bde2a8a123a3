"""The OpenAPI 3.1 description of all routes, built from one table and served at ``/openapi.json`` to everybody.

It tells nothing of a configuration but whether keys are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from safety_proxy import __version__
from safety_proxy.dialects import DIALECTS, EMBEDDINGS
from safety_proxy.dialects.known_parameters import EXTRA_PARAMETERS, MODES
from safety_proxy.jsontext import write
from safety_proxy.model import JSON, JSONObject
from safety_proxy.server.azure_api import API_VERSION, API_VERSION_SHAPE
from safety_proxy.server.deployments import DEPLOYMENT_HEADER
from safety_proxy.server.openapi_schemas import SCHEMAS
from safety_proxy.sse import DONE

DESCRIPTION: Final = web.AppKey("description", bytes)
"""The document, written."""

# ------------------------------------------------------------------------------------------------------------- errors

_COMMON: Final = (405,)
_CALLER: Final = (400, 401, *_COMMON)
_MODEL: Final = (*_CALLER, 404, 413, 415, 422, 429, 500, 502, 503, 504)
_ERRORS: Final[Mapping[int, str]] = {
    400: "The request is wrong (`param` names the field), holds what no classifier can read (`unsupported_content`), or its "
    "prompt was filtered (`content_filter`). Or the backend refused it.",
    401: "No valid key was presented.",
    403: "The configuration shows metrics to nobody.",
    404: "No such deployment, or not for this key.",
    405: "The route has other methods.",
    413: "The body is too large, or the prompt too long to be judged.",
    415: "The body has a content coding that is not supported.",
    422: "The backend refused the request. Other statuses of a refusing backend are passed on as well.",
    429: "The deployment's quota for this minute is used up, or the backend's; `Retry-After` says when to come back.",
    500: "A mistake of the proxy, or the backend's own error.",
    502: "The backend cannot be reached, or its answer cannot be used.",
    503: "The prompt could not be judged (`content_filter_error`), or there is too much to do (`overloaded`).",
    504: "The backend did not answer in time.",
}

# ------------------------------------------------------------------------------------------------------------- routes


@dataclass(frozen=True, slots=True)
class _Route:
    summary: str
    answer: str
    """Name of the schema of an answer with status 200; empty: plain text."""
    errors: tuple[int, ...] = _COMMON
    request: str = ""
    """Name of the schema of a request's body; empty: a GET."""
    events: str = ""
    """Name of the schema of a streamed event's data; empty: never streamed."""
    parameters: tuple[str, ...] = ()
    secured: bool = True
    unready: bool = False
    """Status 503 has the same schema as 200."""
    head: bool = False


_AZURE: Final = ("api-version", "deployment-header")
_ASKING: Final = (*_AZURE, "extra-parameters")
_DIALECTS: Final[Mapping[str, _Route]] = {
    "chat_completions": _Route(
        "A chat completion, moderated", "ChatCompletion", _MODEL, "ChatRequest", "ChatCompletionChunk", _ASKING
    ),
    "completions": _Route(
        "A text completion, moderated", "Completion", _MODEL, "CompletionRequest", "CompletionChunk", _ASKING
    ),
}
_EMBEDDINGS: Final = _Route("Embeddings of moderated inputs", "Embeddings", _MODEL, "EmbeddingsRequest", "", _ASKING)
_LIST: Final = _Route("The deployments open to the caller", "Models", _CALLER, parameters=("api-version",))
_SHOW: Final = _Route("One of the deployments open to the caller", "Model", (*_CALLER, 404), parameters=("api-version",))

_METRICS: Final = "/metrics"
_ROUTES: Final[Mapping[str, _Route]] = {
    **{path: _DIALECTS[dialect.name] for path, dialect in DIALECTS.items()},
    **dict.fromkeys(EMBEDDINGS, _EMBEDDINGS),
    "/v1/models": _LIST,
    "/openai/v1/models": _LIST,
    "/v1/models/{model}": _SHOW,
    "/openai/v1/models/{model}": _SHOW,
    "/info": _Route("The default deployment, or the one that a header names", "Info", (*_CALLER, 404), parameters=_AZURE),
    "/openapi.json": _Route("This description", "OpenAPI", secured=False),
    "/healthz": _Route("Whether the process lives", "Health", secured=False, head=True),
    _METRICS: _Route("Counters in Prometheus' text format", "", (401, 403, *_COMMON)),
    "/readyz": _Route("Whether requests can be judged", "Readiness", secured=False, unready=True, head=True),
}
"""The table: every route that the application has."""

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
}
_HEADERS: Final[Mapping[str, tuple[str, JSONObject]]] = {
    "x-request-id": ("The caller's id of the request, if it has the shape of one, else ours.", {"type": "string"}),
    "x-safety-proxy-policy": ("Identity of the policy that judged; `off` if none did.", {"type": "string"}),
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


_JUDGED: Final = ("x-safety-proxy-policy", "x-safety-proxy-mode", "x-safety-proxy-decision")
_LIMITS: Final = tuple(name for name in _HEADERS if name.startswith("x-ratelimit-"))


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


def _error(status: int) -> JSONObject:
    extra = {405: ("Allow",), 429: ("Retry-After", "retry-after-ms", *_LIMITS), 503: ("Retry-After",)}.get(status, ())
    return {"description": _ERRORS[status], "headers": _headers("x-ms-error-code", *extra), "content": _json("Error")}


# ------------------------------------------------------------------------------------------------------------ document


def describe(*, keys: bool, metrics_key: bool = False) -> bytes:
    """The document, as JSON. *keys*: callers need one. *metrics_key*: readers of metrics do."""
    statuses = sorted({status for route in _ROUTES.values() for status in route.errors})
    document: JSONObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "safety_proxy",
            "version": __version__,
            "description": "Moderated access to language models: the routes of OpenAI's API and of Azure's.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            path: _path(path, route, keys=metrics_key if path == _METRICS else keys) for path, route in _ROUTES.items()
        },
        "components": {
            "schemas": SCHEMAS,
            "parameters": _PARAMETERS,
            "headers": {name: {"description": told, "schema": schema} for name, (told, schema) in _HEADERS.items()},
            "responses": {str(status): _error(status) for status in statuses},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }
    return write(document)


def _path(path: str, route: _Route, *, keys: bool) -> JSONObject:
    in_path: list[str] = re.findall(r"\{(\w+)\}", path)
    method = "post" if route.request else "get"
    operation: JSONObject = {
        "operationId": "_".join([method, *re.findall(r"\w+", path)]),
        "summary": route.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in (*in_path, *route.parameters)],
        "responses": _responses(route),
        "security": [{"bearer": []}, {"api-key": []}] if keys and route.secured else [],
    }
    if route.request:
        operation["requestBody"] = {"required": True, "content": _json(route.request)}
    if not route.head:
        return {method: operation}
    return {method: operation, "head": {**operation, "operationId": f"head_{path[1:]}", "responses": _bodiless(route)}}


_PLAIN: Final[JSONObject] = {"text/plain": {"schema": {"type": "string"}}}


def _responses(route: _Route) -> JSONObject:
    content = _json(route.answer) if route.answer else dict(_PLAIN)
    if route.events:
        content["text/event-stream"] = {"schema": _event(route.events)}
    judged = (*_JUDGED, *_LIMITS) if route.request else ()
    answer: JSONObject = {"description": "As asked.", "headers": _headers(*judged), "content": content}
    errors: Iterable[int] = route.errors
    found: JSONObject = {"200": answer, **{str(status): {"$ref": f"#/components/responses/{status}"} for status in errors}}
    return found | ({"503": {**answer, "description": "Not yet, or no longer."}} if route.unready else {})


def _bodiless(route: _Route) -> JSONObject:
    statuses = ("200", "503") if route.unready else ("200",)
    return {status: {"description": "As GET, without the body.", "headers": _headers()} for status in statuses}


async def show_description(request: web.Request) -> web.Response:
    """The document."""
    return web.Response(body=request.app[DESCRIPTION], content_type="application/json")
