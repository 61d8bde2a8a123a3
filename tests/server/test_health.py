"""Ready means: every classifier has answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from safety_proxy.errors import ClassifierError
from safety_proxy.model import Query, Verdict
from safety_proxy.server import health
from safety_proxy.server.health import Readiness
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.server.conftest import Serve


async def test_readyz_waits_for_the_first_verdict_and_healthz_does_not(
    serve: Serve, backend: FakeBackend, http: aiohttp.ClientSession
) -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedClassifier):
        async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
            asked.set()
            await gate.wait()
            return await super().classify(queries)

    async with serve(backend, classifier=Slow()) as url, asyncio.timeout(5):
        await asked.wait()
        async with http.get(f"{url}/readyz") as response:
            assert response.status == 503
            assert await response.json() == {"ready": False, "draining": False, "classifiers": {"scripted": "waiting"}}
        async with http.get(f"{url}/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
        gate.set()
        report: dict[str, object] = {"ready": False}
        while not report["ready"]:
            async with http.get(f"{url}/readyz") as response:
                report = await response.json()
        assert report["classifiers"] == {"scripted": "answered"}


async def test_a_classifier_that_fails_is_asked_again() -> None:
    class Recovering(ScriptedClassifier):
        calls = 0

        async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
            self.calls += 1
            if self.calls == 1:
                raise ClassifierError("unreachable")
            return await super().classify(queries)

    classifier = Recovering()
    readiness = Readiness([classifier], pause=0)
    await readiness.probe()

    assert classifier.calls == 2
    assert readiness.ready
    assert health.PAUSE > 0


def test_draining_is_not_ready() -> None:
    readiness = Readiness([])
    assert readiness.ready

    readiness.draining = True
    assert not readiness.ready
