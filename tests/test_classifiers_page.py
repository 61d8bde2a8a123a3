"""docs/classifiers.md says what there is, and its examples are valid configurations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from safety_proxy.assembly import build_classifier
from safety_proxy.classifiers.hazards import GRANITE_GUARDIAN, LLAMA_GUARD, OPENAI, QWEN3_GUARD, SHIELD_GEMMA, Hazards
from safety_proxy.documents import parse, validate
from safety_proxy.errors import ClassifierError
from safety_proxy.settings_classifiers import ClassifierSettings
from safety_proxy.settings_file import FileShape, expand

PAGE = (Path(__file__).parent.parent / "docs" / "classifiers.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
TABLES = {
    "llama_guard": LLAMA_GUARD,
    "qwen3_guard": QWEN3_GUARD,
    "openai_moderation": OPENAI,
    "shield_gemma": SHIELD_GEMMA,
    "granite_guardian": GRANITE_GUARDIAN,
}


def classifiers(example: str) -> dict[str, ClassifierSettings]:
    environ = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", example), "https://h")
    return validate(FileShape, expand(parse(example, "page"), environ)).classifiers


@pytest.mark.parametrize("example", EXAMPLES)
async def test_every_example_makes_a_classifier(example: str) -> None:
    made = [build_classifier(name, settings) for name, settings in classifiers(example).items()]
    assert made
    for classifier in made:
        assert classifier.identity
        await classifier.close()


def test_every_type_that_asks_somebody_has_an_example() -> None:
    shown = {settings.type for example in EXAMPLES for settings in classifiers(example).values()}
    listed = set(re.findall(r"^\| `(\w+)` \| (?:text|images)", PAGE, re.MULTILINE))
    assert shown == listed - {"embedded"}


def rows(table: Hazards) -> Iterator[str]:
    for hazard, levels in table.table.items():
        yield f"| `{hazard}` | {', '.join(f'`{category}`' for category in levels) or 'none'} |"


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_hazards_are_those_of_the_program(name: str) -> None:
    section = PAGE.partition(f"\n### Hazards of `{name}`\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| `.*$", section, re.MULTILINE) == list(rows(TABLES[name]))


def test_every_reason_is_explained() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("by one of these words")[2].partition("\n## ")[0], re.MULTILINE))
    documented = ClassifierError.__doc__ or ""
    assert told == set(re.findall(r"``(\w+)``:", documented))
