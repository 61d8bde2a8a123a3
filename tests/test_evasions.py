"""docs/evasions.md says what is measured, and every disguise that it promises to see through is seen through."""

from __future__ import annotations

import re
from random import Random

import pytest

from benchmarks import evasions
from benchmarks.disguises import DISGUISES, UNDONE

PAGE = evasions.PAGE.read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+) \| (\d+ % \| \d+ % \| \d+ % \| \d+ %) \|$", PAGE, re.MULTILINE))
QUICK = ("spaced out", "base64", "zero-width spaces", "Cyrillic look-alikes")


def test_every_disguise_is_on_the_page_and_there_are_twenty_at_least() -> None:
    assert set(ROWS) == {"written plainly", *DISGUISES, *UNDONE}
    assert len(DISGUISES) >= 20


@pytest.mark.parametrize("name", DISGUISES)
def test_phrases_in_disguise_are_caught_wherever_they_are_said(name: str) -> None:
    assert ROWS[name].startswith("100 % | 100 %")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DISGUISES]
)
async def test_what_the_page_says_of_phrases_is_what_is_measured(name: str) -> None:
    caught = await evasions.phrases_caught(evasions.phrase_engine(), DISGUISES[name])
    assert caught == (1.0, 1.0)


@pytest.mark.slow
async def test_what_the_page_says_of_sentences_is_what_is_measured() -> None:
    engine = evasions.embedded_engine()
    for name, disguise in {**DISGUISES, **UNDONE}.items():
        shares = await evasions.sentences_caught(engine, disguise)
        assert ROWS[name].split(" | ")[2:] == [f"{100 * each:.0f} %" for each in shares], name


def test_every_cutting_keeps_the_text() -> None:
    text = evasions.BEFORE + evasions.PHRASES[0] + evasions.AFTER
    cut = list(evasions.cuttings(text, Random(1)))
    assert len(cut) == 4
    assert ["".join(pieces) for pieces in cut] == [text] * 4
