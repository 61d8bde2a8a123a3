"""Stores of every kind, and a PostgreSQL for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from safety_proxy.store.sql import SQLStore
from tests.store.postgres import Postgres, missing


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if reason := missing():
        pytest.skip(f"{reason}: the store in PostgreSQL goes UNTESTED")
    server = Postgres.start()
    yield server
    server.end()


@pytest.fixture(params=["file", "postgres"])
async def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that processes can share."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return await server.empty_database()
    return f"sqlite:///{tmp_path / 'lists.db'}"


@pytest.fixture(params=["memory", "file", pytest.param("postgres", marks=pytest.mark.slow)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return await server.empty_database()
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'lists.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[SQLStore]:
    made = SQLStore(url, most_items=20)
    await made.open()
    yield made
    await made.close()
