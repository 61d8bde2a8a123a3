"""docs/compatibility.md keeps its word: no row is empty, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from safety_proxy.dialects.parameters import CHAT, TEXT

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "compatibility.md").read_text()
HEAD: Final = ["the article says", "what we do", "shown by"]
TABLES: Final = [
    [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
]
ROWS: Final = [row for table in TABLES for row in table[2:]]
NAME: Final = r"`(tests/[\w/]+\.py)::(test_\w+)`"


@cache
def named_in(file: str) -> frozenset[str]:
    """The tests of a file, without running it."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, functions))


def test_there_are_tables_and_each_has_the_same_three_columns() -> None:
    assert len(TABLES) >= 5
    assert all(table[0] == HEAD and len(table) > 2 for table in TABLES)
    assert [row for row in ROWS if len(row) != len(HEAD)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_no_cell_is_empty_and_every_test_that_is_named_exists(row: list[str]) -> None:
    assert all(row)
    assert re.fullmatch(rf"{NAME}(?: {NAME})*", row[-1])
    assert [name for file, name in re.findall(NAME, row[-1]) if name not in named_in(file)] == []


def test_nothing_is_promised_twice() -> None:
    promises = [row[0] for row in ROWS]

    assert len(promises) == len(set(promises))


def test_every_parameter_with_a_rule_has_a_row() -> None:
    rows = {match[1] for row in ROWS if (match := re.match(r"`(\w+)`(?: \(\w+\))?: ", row[0]))}

    assert rows >= {*TEXT, *CHAT, "prompt", "messages", "stream"}
