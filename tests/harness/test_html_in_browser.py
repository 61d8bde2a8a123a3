"""Claims about the page in a browser: it complains of nothing, asks for nothing, shows its charts, and can be searched."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest

from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import Cases, Page, Section, ShownCase
from tests.harness.browser import CHROMIUM, Tab, browser
from tests.harness.pages import failures, page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]

WIDTHS: Final = (360, 820, 1280)
SHOWN: Final = """[...document.querySelectorAll('.case')].filter(each => each.checkVisibility())
    .map(each => each.querySelector('.name').textContent)"""
FOCUSED: Final = "document.activeElement.id || document.activeElement.textContent"
SIZES: Final = """[...document.querySelectorAll('svg, svg path, svg rect, svg circle, svg text')].map(each => {
    const box = each.getBoundingClientRect();
    return [each.outerHTML.slice(0, 90), box.width, box.height];
})"""
OUTSIDE: Final = """[...document.querySelectorAll('.plot svg')].flatMap(svg => {
    const edge = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text, path, rect, circle')].filter(each => {
        const box = each.getBoundingClientRect();
        return box.left < edge.left - 1 || box.right > edge.right + 1
            || box.top < edge.top - 1 || box.bottom > edge.bottom + 1;
    }).map(each => each.outerHTML);
})"""
NAMES: Final = [each.case.name.replace("\u202e", "\ufffd") for each in failures()]


@pytest.fixture(name="tab")
async def _tab(tmp_path: Path) -> AsyncGenerator[Tab]:
    """The page, opened from a file."""
    async with browser() as tab:
        await show(tab, page(), tmp_path)
        yield tab
        assert tab.errors == []


async def show(tab: Tab, shown: Page, folder: Path) -> None:
    file = folder / "report.html"
    file.write_text(render(shown), encoding="utf-8")
    tab.asked.clear()
    await tab.look(WIDTHS[-1], 900)
    await tab.open(file.as_uri())


async def search(tab: Tab, words: str) -> list[str]:
    """What is shown of the cases once these words were typed."""
    await tab.evaluate("document.querySelector('.toolbar input').select()")
    await tab.type(words)
    await tab.evaluate("new Promise(resolve => setTimeout(resolve))")  # behind the one that the page waits for
    shown: list[str] = await tab.evaluate(SHOWN)
    return shown


async def test_it_asks_for_nothing_but_itself_and_complains_of_nothing(tab: Tab) -> None:
    assert [each.rpartition("/")[2] for each in tab.asked] == ["report.html"]
    assert tab.errors == []


async def test_what_goes_wrong_in_a_page_would_be_noticed(tab: Tab, tmp_path: Path) -> None:
    """The policy refuses what was written into the page afterwards, and the driver hears of it."""
    for i, evil in enumerate(("<script>1</script>", "<p style='color: red'>", "<img src='https://localhost/x.png'>")):
        file = tmp_path / f"evil-{i}.html"
        file.write_text(render(page()).replace("<main", f"{evil}<main", 1), encoding="utf-8")
        await tab.open(file.as_uri())
        assert any("Content Security Policy" in error for error in tab.errors), evil
        tab.errors.clear()
    with pytest.raises(RuntimeError, match="wrong"):
        await tab.evaluate("(() => { throw new Error('wrong') })()")
    await tab.evaluate("setTimeout(() => { throw new Error('later') })")
    await tab.evaluate("new Promise(resolve => setTimeout(resolve))")
    assert "later" in "".join(tab.errors)
    tab.errors.clear()


@pytest.mark.parametrize("width", WIDTHS)
async def test_every_drawing_is_seen_and_stays_inside(tab: Tab, width: int) -> None:
    await tab.look(width, 900)
    sizes: list[tuple[str, float, float]] = await tab.evaluate(SIZES)
    assert len([name for name, _, _ in sizes if name.startswith("<svg")]) > 8
    assert [name for name, across, down in sizes if max(across, down) <= 0] == []
    assert [name for name, across, down in sizes if name.startswith("<svg") and min(across, down) <= 0] == []
    assert await tab.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
async def test_it_fits_every_screen_in_either_mode(tab: Tab, width: int, dark: bool) -> None:
    await tab.look(width, 900, dark=dark)
    await tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert await tab.evaluate("document.documentElement.scrollWidth") <= width
    assert await tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(16, 20, 28)" if dark else "rgb(246, 247, 249)"
    )


async def test_the_search_shows_the_cases_that_hold_all_words(tab: Tab) -> None:
    assert await tab.evaluate(SHOWN) == NAMES
    assert await search(tab, "THREAT") == [NAMES[1], NAMES[2]]
    assert await tab.evaluate("document.querySelector('.toolbar output').value") == "2 of 4"
    assert await search(tab, "threat nothing") == [NAMES[1]]  # the second word only stands in its text
    assert await search(tab, "nowhere") == []
    assert await tab.evaluate("document.querySelector('.none').checkVisibility()") is True
    assert await search(tab, "house.yaml:58") == [NAMES[3]]


async def test_chips_choose_cases_and_can_be_taken_back(tab: Tab) -> None:
    async def click(chip: str) -> Any:  # noqa: ANN401 - any JSON
        await tab.evaluate(f"[...document.querySelectorAll('.chip')].find(e => e.textContent.startsWith({chip!r})).click()")
        return await tab.evaluate(SHOWN)

    assert await click("threat") == [NAMES[1], NAMES[2]]
    assert await click("long") == [NAMES[1]]
    assert await tab.evaluate("document.querySelectorAll('[aria-pressed=true]').length") == 2
    assert await click("long") == [NAMES[1], NAMES[2]]
    assert await click("threat") == NAMES
    assert await click("input: allow → error") == [NAMES[3]]


async def test_it_can_be_used_with_the_keyboard_alone(tab: Tab) -> None:
    await tab.press("/")
    assert await tab.evaluate(FOCUSED) == await tab.evaluate("document.querySelector('.toolbar input').id")
    assert await search(tab, "essay") == [NAMES[0]]
    await tab.press("Escape")
    assert await tab.evaluate(SHOWN) == NAMES
    reached = []
    while "Fold all" not in reached:
        await tab.press("Tab")
        reached.append(await tab.evaluate(FOCUSED))
    assert reached == ["Unfold all", "Fold all"]
    while await tab.evaluate("document.activeElement.tagName") != "SUMMARY":
        await tab.press("Tab")
    await tab.press("Enter")
    assert await tab.evaluate("document.querySelector('.case').open") is True


async def test_all_cases_that_are_shown_can_be_unfolded_and_folded(tab: Tab) -> None:
    unfolded = "[...document.querySelectorAll('.case[open]')].length"
    await search(tab, "threat")
    await tab.evaluate("document.querySelector('[data-unfold=yes]').click()")
    assert await tab.evaluate(unfolded) == 2
    await search(tab, "hostile")
    await tab.evaluate("document.querySelector('[data-unfold=no]').click()")
    assert await tab.evaluate(unfolded) == 1


async def test_an_address_that_names_a_case_unfolds_it(tab: Tab) -> None:
    address = await tab.evaluate("location.href")
    name = await tab.evaluate("document.querySelectorAll('.case')[1].id")
    await tab.evaluate(
        f"location.hash = {name!r}; new Promise(resolve => addEventListener('hashchange', resolve, {{once: true}}))"
    )
    assert await tab.evaluate(f"document.getElementById({name!r}).open") is True
    await tab.evaluate(f"location.href = {address!r} + '#%'")  # an address may hold anything


async def test_on_paper_every_case_is_unfolded_and_the_tools_are_gone(tab: Tab) -> None:
    await tab.look(800, 900, media="print")
    assert await tab.evaluate("document.querySelector('.toolbar').checkVisibility()") is False
    await tab.evaluate(
        """window.printed = 0;
        addEventListener('beforeprint', () => { printed = document.querySelectorAll('.case[open]').length })"""
    )
    await tab.call("Page.printToPDF")
    assert await tab.evaluate("printed") == 4
    assert await tab.evaluate("document.querySelectorAll('.case[open]').length") == 0


async def test_without_scripts_all_cases_are_shown_and_no_tool_that_would_not_work(tab: Tab) -> None:
    address = await tab.evaluate("location.href")
    await tab.call("Emulation.setScriptExecutionDisabled", value=True)
    await tab.open(address)
    assert await tab.evaluate(SHOWN) == NAMES
    assert await tab.evaluate("document.querySelector('.toolbar').checkVisibility()") is False


async def test_a_thousand_failures_are_there_and_searched_at_once(tab: Tab, tmp_path: Path) -> None:
    cases = [ShownCase.of(each) for each in failures() * 250]
    await show(
        tab, Page("t", "2026-01-02T03:04:05Z", "c", [Section("s", [Cases("Failed cases", cases, 100_000)])]), tmp_path
    )
    took = await tab.evaluate(
        """new Promise(resolve => {
            const search = document.querySelector('.toolbar input'), told = document.querySelector('.toolbar output');
            const began = performance.now();
            new MutationObserver(() => resolve(performance.now() - began)).observe(told, {childList: true});
            search.value = 'essay';
            search.dispatchEvent(new Event('input'));
        })"""
    )
    assert await tab.evaluate("document.querySelector('.toolbar output').value") == "250 of 1,000"
    assert took < 5_000


async def test_a_picture_of_it_is_not_empty(tab: Tab) -> None:
    assert len(await tab.screenshot()) > 20_000
