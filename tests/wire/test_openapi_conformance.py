"""schemathesis reads the description from the running proxy, and sends it what that allows and what it forbids."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from safety_proxy.testing import Answer, FakeBackend
from tests.server.conftest import Serve
from tests.server.wire import event, whole, words

CONFIG = """
backends: {{one: {{url: 'BACKEND'}}}}
deployments: {{test: {{backend: one, policy: {policy}}}}}
default_deployment: test
metrics: {{sha256: "{digest}"}}
keys: [{{name: k, sha256: "{digest}", deployments: [test], blocklists: write}}]
service: {{policy: test}}
"""
PINNED = 'warnings = false\n[parameters]\ndeployment = "test"\nmodel = "test"\nazureml-model-deployment = "test"\n'
"""Names of deployments cannot be guessed; everything else is up to schemathesis, which warns of names and ids of blocklists
that it could not guess, and of bodies that are refused for what no schema says."""
TEXT = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
NUMBERS = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}


class VersatileBackend(FakeBackend):
    """Answers each endpoint as it should be answered, with as many choices as were asked for."""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body.get("prompt")
        prompts = len(prompt) if isinstance(prompt, list) and not all(isinstance(each, int) for each in prompt) else 1
        choices = (body.get("n") or 1) * prompts
        if request.path.endswith("embeddings"):
            self.answer = Answer.json(NUMBERS)  # type: ignore[arg-type]  # JSON
        elif "chat" in request.path:
            chat = [each for i in range(choices) for each in words("Hi", i)]
            self.answer = (
                Answer.stream(*chat, {**event({}), "choices": []})
                if body.get("stream")
                else Answer.json(whole(*["Hi"] * choices))
            )
        else:
            text = {**TEXT, "choices": [{"index": i, "text": "Hi", "finish_reason": "stop"} for i in range(choices)]}
            self.answer = Answer.stream(text) if body.get("stream") else Answer.json(text)  # type: ignore[arg-type]  # JSON
        return await super()._serve(request)


@pytest.fixture(name="versatile")
async def _versatile() -> AsyncIterator[FakeBackend]:
    async with VersatileBackend().running() as backend:
        yield backend


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["test", "off"])
async def test_the_running_proxy_keeps_its_description(
    serve: Serve, versatile: FakeBackend, tmp_path: Path, policy: str
) -> None:
    """All checks of schemathesis but one.

    That whatever the schema allows is accepted cannot hold: with ``extra-parameters: error`` a request may not have the
    properties that without it it may, the unreadable is refused by the policy, and 1.0 is an integer to JSON Schema alone.
    """
    (tmp_path / "schemathesis.toml").write_text(PINNED)
    digest = hashlib.sha256(b"key").hexdigest()
    async with serve(versatile, config=CONFIG.format(policy=policy, digest=digest), flags={}) as url:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", "schemathesis.toml", "run", f"{url}/openapi.json", "-H", "Authorization: Bearer key"),
            *("--max-examples", "15", "--exclude-checks", "positive_data_acceptance", "--no-color"),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ""},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()

    report = told.decode()
    assert process.returncode == 0, report
    assert "No issues found" in report
    assert re.search(r"Selected: (\d+)/\1\s+Tested: \1\n", report)
    assert len(versatile.requests) > 100
