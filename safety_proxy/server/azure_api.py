"""What Azure's APIs say beside the body of a request, and on which routes an answer looks like Azure's."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from safety_proxy.dialects.known_parameters import EXTRA_PARAMETERS, limit_parameters
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON

API_VERSION: Final = "api-version"
API_VERSION_SHAPE: Final = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(-preview)?|v1|preview|latest"
"""A day, perhaps with ``-preview``; and the words that Azure's v1 API takes instead. No version is told from another."""
_OPENAI: Final = ("/v1/", "/openai/v1/")
"""Where routes begin whose answers look like OpenAI's."""


def route_of(request: web.Request) -> str:
    """The pattern of the route that was called."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def is_azure_route(route: str) -> bool:
    """Whether *route* is Azure's own: streams begin with an event about the prompt, limits reset in whole seconds."""
    return not route.startswith(_OPENAI)


def require_api_version(request: web.Request) -> None:
    """Raise `RequestError` if the request names an ``api-version`` that is none. It need not name one."""
    if not all(re.fullmatch(API_VERSION_SHAPE, version) for version in request.query.getall(API_VERSION, ())):
        raise RequestError(f"'{API_VERSION}' must have the form YYYY-MM-DD or YYYY-MM-DD-preview", field=API_VERSION)


def apply_extra_parameters(request: web.Request, body: JSON, endpoint: str) -> JSON:
    """*body* as the request's header ``extra-parameters`` wants it. Raises `RequestError`."""
    wanted = request.headers.getall(EXTRA_PARAMETERS, ["pass-through"])
    return limit_parameters(body, ", ".join(wanted).strip(), endpoint)
