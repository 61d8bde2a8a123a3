"""Claims about the page: it is whole, loads nothing, lets nothing in, and can be read by everybody."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.harness.cases import Case
from safety_proxy.harness.html import render
from safety_proxy.harness.html_page import (
    Block,
    Cases,
    Cell,
    Figure,
    Figures,
    Grid,
    Matrix,
    Note,
    Page,
    Section,
    ShownCase,
    Table,
)
from safety_proxy.harness.intervals import Estimate
from safety_proxy.harness.outcome import FoundSide, FoundSpan
from tests.harness.markup import Element, parsed
from tests.harness.pages import HOSTILE, curve, page

EVIL = st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "</style><style>*{}",
        "</title><img src=x onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "' autofocus onfocus=alert(1) x='",
        "<!--",
        "]]>",
        "\x00\ud800\u202e",
    ]
)
ANY = st.text(st.characters(exclude_categories=()), max_size=20) | EVIL


def alone(*blocks: Block) -> Element:
    return parsed(render(Page("t", "2026-01-02T03:04:05Z", "c", [Section("s", blocks)])))


# ------------------------------------------------------------------------------------------------------ what it lets in


def test_the_page_loads_nothing() -> None:
    root = parsed(render(page()))
    assert root.all("link") == root.all("img") == root.all("iframe") == root.all("object") == []
    addresses = [
        value for each in root.all() for name, value in each.attributes.items() if name in {"href", "src", "action"}
    ]
    assert addresses
    assert all((value or "").startswith("#") for value in addresses)
    assert "url(" not in root.one("style").text
    assert "@import" not in root.one("style").text


def test_the_security_policy_allows_its_own_style_and_script_and_nothing_else() -> None:
    root = parsed(render(page()))

    def digest(name: str) -> str:
        return b64encode(hashlib.sha256(root.one(name).text.encode()).digest()).decode()

    (policy,) = (each for each in root.all("meta") if each.attributes.get("http-equiv") == "Content-Security-Policy")
    assert (policy.attributes["content"] or "").split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest('style')}'",
        f"script-src 'sha256-{digest('script')}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_security_policy_comes_before_what_it_is_about() -> None:
    names = [each.name for each in parsed(render(page())).one("head").all()]
    assert names[:3] == ["head", "meta", "meta"]
    assert names.index("style") > 2


def test_no_element_has_a_style_or_a_script_of_its_own() -> None:
    attributes = {name for each in parsed(render(page())).all() for name in each.attributes}
    assert {name for name in attributes if name == "style" or name.startswith("on")} == set()


@pytest.mark.parametrize("name", ["report.css", "report.js"])
def test_style_and_script_can_stand_in_an_element(name: str) -> None:
    content = files("safety_proxy.harness").joinpath(name).read_text(encoding="utf-8")
    assert "</" not in content
    assert "<!--" not in content
    assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|eval|document.write|fetch|XMLHttp", content)


@given(ANY, ANY, ANY)
def test_nothing_breaks_out(one: str, other: str, third: str) -> None:
    """Whatever stands where, the elements are those of a page with harmless words."""

    def made(one: str, other: str, third: str) -> Element:
        found = FoundSide("filter", {}, {other: True}, third, (FoundSpan("text", 0, 3, other, third),))
        shown = ShownCase(Case(one, other, {"text": third}, tags=frozenset({one})), [other], [(third, found)], [one])
        blocks: list[Block] = [
            Note(one),
            Figures([Figure(one, other, "plain", third)]),
            Table(one, [other], [[third]], frozenset({0}), one),
            Matrix(one, ["r"], ["c"], {}, other, third),
            Cases(one, [shown, shown], 2),
        ]
        return parsed(render(Page(one, other, third, [Section(one, blocks, other), Section(other, [])])))

    def names(root: Element) -> list[str]:
        return [each.name for each in root.all() if each.name not in {"mark", "i"}]

    assert names(made(one or "x", other or "x", third or "x")) == names(made("a", "b", "c"))


# ----------------------------------------------------------------------------------------------------------- what it shows


def test_the_page_tells_what_made_it_and_when() -> None:
    root = parsed(render(page()))
    assert root.one("head").one("title").text == root.one("h1").text == "Policies put to the test"
    assert root.one("time").attributes["datetime"] == "2026-01-02T03:04:05Z"
    assert "safety-proxy policy test" in root.one("header").text


def test_the_same_page_is_always_the_same_text() -> None:
    assert render(page()) == render(page())


def test_a_page_can_be_written_whatever_the_texts_hold() -> None:
    assert "U+D800" in render(page())
    render(page()).encode()


def test_texts_are_only_there_if_they_are_asked_for() -> None:
    assert HOSTILE[:20] in parsed(render(page())).text
    without = parsed(render(page(), show_texts=False))
    assert HOSTILE[:20] not in without.text
    assert "Texts of cases are left out." in without.text
    assert "<b>hostile</b>" in without.text  # names are shown all the same


def test_a_page_without_sections_is_refused() -> None:
    with pytest.raises(ValueError, match="without sections"):
        render(replace(page(), sections=[]))


def test_contents_lead_to_every_section() -> None:
    root = parsed(render(page()))
    links = [(each.attributes["href"] or "")[1:] for each in root.one("nav").all("a")]
    assert links == [each.attributes["id"] for each in root.all("h2")]
    assert [each.text for each in root.one("nav").all("span")] == ["4 failed", "2 better", "no case ran"]


def test_one_section_needs_no_contents() -> None:
    assert alone(Note("n")).all("nav") == []


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("<low>", "<low>"),
        (1234, "1,234"),
        (0.25, "0.25"),
        (None, "\N{EN DASH}"),
        (Estimate(None), "\N{EN DASH}"),
        (Estimate(0.5, 0.25, 0.75), "0.500 (0.250\N{EN DASH}0.750)"),
    ],
)
def test_a_table_shows_words_numbers_and_estimates(cell: Cell, text: str) -> None:
    root = alone(Table("caption", ("head", "value"), [("row", cell)]))
    assert root.one("td").text == text
    assert ("number" in root.one("td").classes) == (not isinstance(cell, str))
    assert root.one("caption").text == "caption"


def test_a_marked_row_says_so_in_words() -> None:
    root = alone(Table("caption", ("head", "value"), [("low", 1), ("high", 2)], frozenset({1})))
    assert root.one("tr", class_="marked").one("th").text == "high (marked)"


def test_a_row_that_does_not_fit_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="not as long as the header"):
        alone(Table("caption", ("head", "value"), [("row",)]))


def test_a_matrix_tells_what_agrees_from_what_differs_and_leaves_out_no_zero() -> None:
    root = alone(Matrix("m", ["allow", "filter"], ["allow", "filter"], {("allow", "allow"): 50, ("filter", "allow"): 1}))
    cells = [(each.text, sorted(each.classes - {"number"})) for each in root.all("td")]
    assert cells == [("50", ["agree", "h5"]), ("0", ["differ", "h0"]), ("1", ["differ", "h1"]), ("0", ["agree", "h0"])]


def test_charts_beside_each_other_have_ids_of_their_own() -> None:
    root = alone(Grid([curve(), curve()]), curve())
    ids = [each.attributes["id"] for each in root.all() if "id" in each.attributes]
    assert len(root.all("figure")) == 3
    assert len(ids) == len(set(ids))


# ------------------------------------------------------------------------------------------------------ who can read it


def test_whatever_is_referred_to_is_there() -> None:
    root = parsed(render(page()))
    ids = {each.attributes["id"] for each in root.all() if "id" in each.attributes}
    named = {value for each in root.all() for name, value in each.attributes.items() if name in {"for", "aria-labelledby"}}
    assert named
    assert named <= ids


def test_headings_do_not_skip_a_level() -> None:
    levels = [int(each.name[1]) for each in parsed(render(page())).all() if re.fullmatch("h[1-6]", each.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_heads_for_its_rows_and_columns() -> None:
    for table in parsed(render(page())).all("table"):
        assert len(table.all("caption")) == 1
        assert {each.attributes["scope"] for each in table.one("thead").all("th")} == {"col"}
        assert all(row.all("th")[0].attributes["scope"] == "row" for row in table.one("tbody").all("tr"))


def test_every_drawing_has_a_title_or_is_hidden_from_who_cannot_see_it() -> None:
    drawings = parsed(render(page())).all("svg")
    assert drawings
    for svg in drawings:
        assert "aria-labelledby" in svg.attributes or svg.attributes["aria-hidden"] == "true"


def test_what_scrolls_can_be_reached_with_the_keyboard_and_has_a_name() -> None:
    for each in parsed(render(page())).all("div", class_="wide"):
        assert each.attributes["tabindex"] == "0"
        assert each.attributes["aria-label"]


COLOURS = re.compile(r"--([\w-]+): #([0-9a-f]{6})")


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_enough_contrast(mode: int) -> None:
    """4.5 for text and 3 for what is drawn, as WCAG 2.2 asks at level AA."""
    style = files("safety_proxy.harness").joinpath("report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(COLOURS.findall(blocks[mode]))
    marks = ["hate", "sexual", "violence", "self-harm", "jailbreak", "indirect-attack", "blocklist"]
    marks += ["protected-material-text", "protected-material-code"]
    pairs = [
        (ink, ground, 4.5) for ink in ("ink", "soft", "link", "good", "bad", "warning") for ground in ("paper", "ground")
    ]
    pairs += [(tone, f"{tone}-ground", 4.5) for tone in ("good", "bad", "warning")]
    pairs += [("soft", "faint", 4.5), ("paper", "link", 4.5), *(("ink", mark, 4.5) for mark in marks)]
    pairs += [(f"s{i}", "paper", 3) for i in range(6)]
    low = {}
    for ink, ground, least in pairs:
        light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        if (light + 0.05) / (dark + 0.05) < least:
            low[ink, ground] = (light + 0.05) / (dark + 0.05)
    assert low == {}
