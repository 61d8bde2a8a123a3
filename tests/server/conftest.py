"""A real proxy on a real socket, in front of a scripted backend, with a scripted classifier under the name `embedded`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from safety_proxy.model import Category
from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import load_settings
from safety_proxy.testing import Answer, FakeBackend, ScriptedClassifier

HARM = "kill them all tonight"
"""What the scripted classifier takes for violence."""
OUTAGE = "outage of the classifier"
"""What it cannot judge."""

Serve = Callable[..., AbstractAsyncContextManager[str]]


def scripted(**options: object) -> ScriptedClassifier:
    return ScriptedClassifier({HARM: (Category.VIOLENCE, 6)}, errors={OUTAGE: "timeout"}, **options)  # type: ignore[arg-type]  # passed on


@pytest.fixture(name="serve")
def _serve(tmp_path: Path) -> Serve:
    """Start a proxy: ``async with serve(backend, policy=..., config=..., classifier=...) as url``."""

    @asynccontextmanager
    async def serve(
        backend: FakeBackend,
        *,
        policy: str = "version: 1\nname: test\nclassifiers: [embedded]\ninput: {}\noutput: {}\n",
        config: str = "",
        classifier: ScriptedClassifier | None = None,
        flags: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[str]:
        (tmp_path / "policy.yaml").write_text(policy)
        (tmp_path / "proxy.yaml").write_text(f"policies: [policy.yaml]\n{config.replace('BACKEND', backend.url)}")
        given = flags if flags is not None else {"backend": backend.url, "policy": "test"}
        settings = load_settings(config=tmp_path / "proxy.yaml", flags=given, environ={})
        app = create_app(settings, classifiers={"embedded": classifier or scripted()}, clock=clock)
        async with running(app) as url:
            yield url

    return serve


@pytest.fixture(name="backend")
async def _backend() -> AsyncIterator[FakeBackend]:
    async with FakeBackend(Answer.stream()).running() as backend:
        yield backend


@pytest.fixture(name="http")
async def _http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
