"""The table of routes names only what there is."""

from __future__ import annotations

import re

import pytest

from safety_proxy.server.openapi_content_safety import CONTENT_SAFETY_SCHEMAS
from safety_proxy.server.openapi_routes import ERRORS, OPERATIONS, Route
from safety_proxy.server.openapi_schemas import SCHEMAS
from safety_proxy.server.openapi_service import SERVICE_SCHEMAS

ALL = {**SCHEMAS, **CONTENT_SAFETY_SCHEMAS, **SERVICE_SCHEMAS}
ROUTES = [(path, method, route) for path, methods in OPERATIONS.items() for method, route in methods.items()]


@pytest.mark.parametrize(("path", "method", "route"), ROUTES, ids=[f"{method} {path}" for path, method, _ in ROUTES])
def test_every_route_has_schemas_that_there_are_and_errors_that_are_explained(path: str, method: str, route: Route) -> None:
    named = {name for name in (route.answer, route.request, route.events, route.error) if name}
    assert named <= ALL.keys()
    assert set(route.errors) <= ERRORS.keys()
    assert bool(route.request) is (method in {"post", "patch"})
    assert route.secured or path in {"/openapi.json", "/healthz", "/readyz"}


def test_no_schema_hides_another_of_its_name() -> None:
    assert len(ALL) == len(SCHEMAS) + len(CONTENT_SAFETY_SCHEMAS) + len(SERVICE_SCHEMAS)


def test_what_changes_blocklists_may_be_forbidden_to_a_key() -> None:
    forbidden = {path for path, _, route in ROUTES if 403 in route.errors}
    assert {path for path in OPERATIONS if re.search("locklists", path)} <= forbidden
