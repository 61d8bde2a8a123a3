"""`litellm` as a library, sync and async, pointed at the proxy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from safety_proxy.testing import FakeBackend
from tests.clients.litellm_environment import MISSING, PYTHON, VARIABLES
from tests.clients.situations import BREAK_OFF, SCRIPTED, SYSTEM, Seen, check_all
from tests.server.conftest import Serve

pytestmark = pytest.mark.slow
DRIVER = Path(__file__).with_name("litellm_driver.py")

SAYS_STOP = {name: Seen("", "stop") for name in ("classifier failure", "classifier failure, streamed")}
"""`litellm` turns every finish reason that it does not know into ``stop``."""
LOSES_CODE = {"classifier failure on the prompt": Seen(status=503)}


async def drive(url: str, situations: dict[str, Any]) -> dict[str, Any]:
    assert PYTHON.exists(), MISSING
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PYTHON, DRIVER, url, stdin=pipe, stdout=pipe, stderr=pipe, env=VARIABLES)
    out, err = await process.communicate(json.dumps({"system": SYSTEM, "situations": situations}).encode())
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out)
    return told


async def test_litellm_in_every_situation(serve: Serve, model: FakeBackend) -> None:
    async with serve(model) as url:
        seen = await drive(url, {**SCRIPTED, "broken": {"asks": BREAK_OFF, "streamed": True}})

    for told in (seen["sync"], seen["async"]):
        assert told.pop("broken") == {"status": 500, "code": None}, "an error, which it takes for one of the connection"
        check_all(told, instead=SAYS_STOP | LOSES_CODE)
    assert seen["native"]["classifier failure"] == "content_filter_error", "beside the `stop`, where it is not streamed"
