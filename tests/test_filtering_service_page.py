"""docs/filtering-service.md keeps its word: its snippets print what they say, its examples are valid, its routes are all."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import pytest

from safety_proxy import policy_file
from safety_proxy.dialects.moderations import NAMES, grade
from safety_proxy.documents import parse, validate
from safety_proxy.model import HARMS
from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import Settings, load_settings
from safety_proxy.settings_file import FileShape, expand

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "filtering-service.md").read_text(encoding="utf-8")
SNIPPETS: Final = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES: Final = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ADDRESS: Final = "http://127.0.0.1:8080"


def alone(folder: Path) -> Settings:
    """A service as ``serve --filter-only`` starts it, with a store in *folder*."""
    (folder / "proxy.yaml").write_text("service: {store: 'sqlite:///filter.db'}\n")
    return load_settings(config=folder / "proxy.yaml", flags={"filter_only": "true"}, environ={})


def printed(code: str) -> list[str]:
    """What *code* prints, line by line."""
    said: list[str] = []
    exec(code, {"print": lambda told: said.append(str(told))})  # noqa: S102 - our own examples
    return said


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.partition("\n")[0])
async def test_a_snippet_prints_what_it_says(snippet: str, tmp_path: Path) -> None:
    promised = re.findall(r"^print\(.*\)  # (.*)$", snippet, re.MULTILINE)
    assert promised
    async with running(create_app(alone(tmp_path))) as url:
        assert await asyncio.to_thread(printed, snippet.replace(ADDRESS, url)) == promised


def test_there_is_a_snippet_for_every_client() -> None:
    for client in ("ContentSafetyClient", "BlocklistClient", "OpenAI", "/v1/policy/evaluate"):
        assert any(client in snippet for snippet in SNIPPETS)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example: str) -> None:
    if example.startswith("version:"):
        assert policy_file.load(parse(example, "page")).name
    else:
        assert validate(FileShape, expand(parse(example, "page"), {"STORE_PASSWORD": "p"})).service


def test_every_route_of_the_service_is_listed(tmp_path: Path) -> None:
    routes = {resource.canonical for resource in create_app(alone(tmp_path)).router.resources()}
    own = {route for route in routes if re.match("/contentsafety|/integrations|/v1/policy|.*moderations", route)}
    table = PAGE.partition("\n## Routes\n")[2].partition("\n## ")[0].replace("NAME", "{blocklist}").replace("/ID", "/{item}")
    listed = set(re.findall(r"(/[\w/:.{}]+)", table)) | {
        f"/contentsafety/text/blocklists/{name}" for name in re.findall(r"`(\{blocklist\}:\w+)`", table)
    }

    assert own
    assert own <= listed


def test_the_scores_are_those_of_the_program() -> None:
    (row,) = re.findall(r"^\| score \| (.*) \|$", PAGE, re.MULTILINE)

    assert [float(score) for score in row.split(" | ")] == [grade(severity) for severity in range(8)]


@pytest.mark.parametrize("harm", sorted(HARMS))
def test_the_names_that_count_for_a_harm_are_those_of_the_program(harm: str) -> None:
    (row,) = re.findall(rf"^\| `{harm}` \| (.*) \|$", PAGE, re.MULTILINE)

    assert set(re.findall(r"`([\w/-]+)`", row)) == {name for name, harms in NAMES.items() if harm in harms}
