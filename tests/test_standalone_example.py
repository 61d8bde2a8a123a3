"""examples/standalone starts as it is, and its README shows what comes back."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from safety_proxy.classifiers.stored_blocklists import StoredBlocklists
from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.server.service import SERVICE
from safety_proxy.settings import load_settings

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "standalone"
README: Final = (EXAMPLE / "README.md").read_text()
ADDRESS: Final = "http://127.0.0.1:8080"
CALLS: Final = re.findall(r"```sh\n(curl .*?)```(?:\n+```json\n(.*?)```)?", README, re.DOTALL)


def told(answer: str) -> Any:  # noqa: ANN401 - JSON
    """An answer without the ids that are made up each time."""
    return json.loads(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "an id", answer))


@pytest.fixture(name="example")
async def _example(tmp_path: Path) -> AsyncIterator[tuple[str, StoredBlocklists]]:
    """A service like the example, with a store of its own, and the lists as its policy sees them."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "standalone")
    settings = load_settings(config=folder / "proxy.yaml", flags={"filter_only": "true"}, environ={})
    app = create_app(settings)
    async with running(app) as url:
        yield url, app[SERVICE].lists
    assert (folder / "filter.db").exists()


def test_the_example_listens_where_its_readme_says_and_on_this_machine_only() -> None:
    settings = load_settings(config=EXAMPLE / "proxy.yaml", flags={"filter_only": "true"}, environ={})

    assert f"http://{settings.listen.host}:{settings.listen.port}" == ADDRESS
    assert settings.service.policy == "house-rules"
    assert settings.deployments == {}


async def test_every_call_of_the_readme_is_answered_as_it_shows(example: tuple[str, StoredBlocklists]) -> None:
    url, lists = example
    assert len(CALLS) >= 6
    for command, shown in CALLS:
        arguments = shlex.split(command.replace("\\\n", " ").replace(ADDRESS, url))
        outcome = await asyncio.to_thread(
            subprocess.run, [*arguments, "--fail-with-body"], capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, (command, outcome.stdout)
        if shown:
            assert told(outcome.stdout) == told(shown), command
        await lists.refresh()  # which would be within a second


async def test_before_the_list_is_made_nothing_passes(example: tuple[str, StoredBlocklists]) -> None:
    url, _ = example
    chat = {"messages": [{"role": "user", "content": "How far is the Moon?"}]}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/readyz") as ready, http.post(f"{url}/v1/policy/evaluate", json=chat) as answer:
            evaluated = await answer.json()

    assert ready.status == 503
    assert (evaluated["decision"], evaluated["stages"]["input"]["error"]) == ("error", "blocklist_missing")
