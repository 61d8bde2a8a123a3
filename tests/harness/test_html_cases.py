"""Claims about the list of cases: what is told of each, what they can be chosen by, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safety_proxy.harness.html_cases import case_list
from safety_proxy.harness.html_page import Cases, ShownCase
from safety_proxy.harness.outcome import FoundCategory, FoundSide, Outcome
from safety_proxy.harness.summary import KEPT
from safety_proxy.model import Category
from tests.harness.markup import Element, parsed
from tests.harness.pages import HOSTILE, LONG, failures


def listed(outcomes: Sequence[Outcome], total: int | None = None, *, show_texts: bool = True) -> Element:
    block = Cases("Failed cases", [ShownCase.of(each) for each in outcomes], len(outcomes) if total is None else total)
    return parsed(case_list(block, "cases-1", show_texts=show_texts))


def test_a_case_tells_its_name_place_tags_and_faults() -> None:
    card = listed(failures()).all("details", class_="case")[0]
    head = card.one("span", class_="name").text, card.one("code", class_="place").text
    assert head == ("a quotation in an essay", "cases/house.yaml:12")
    assert [each.text for each in card.all("span", class_="tag")] == ["fiction", "over-blocking"]
    assert [each.text for each in card.one("ul", class_="faults").all("li")] == list(failures()[0].faults)


def test_a_case_tells_what_was_decided_and_found() -> None:
    (line,) = listed(failures()[:1]).all("p", class_="side")
    assert line.one("span", class_="decision").text == "filter"
    findings = [each.text for each in line.all("span", class_="finding")]
    assert findings == ["hate 0", "violence 4 filtered", "blocklist house_words filtered"]


def test_a_detection_is_told_where_there_is_one() -> None:
    categories = {
        Category.JAILBREAK: FoundCategory(filtered=True, detected=True),
        Category.INDIRECT_ATTACK: FoundCategory(False),
    }
    found = FoundSide("filter", categories)
    assert [each.text for each in listed([replace(failures()[0], input=found)]).all("span", class_="finding")] == [
        "jailbreak filtered"
    ]


def test_a_case_without_a_verdict_tells_why() -> None:
    (line,) = listed(failures()[3:]).all("p", class_="side")
    assert line.one("span", class_="decision").classes == {"decision", "error"}
    assert [each.text for each in line.all("span", class_="finding") if "error" in each.classes] == ["timeout"]


def test_what_was_found_is_marked_in_its_text_and_listed() -> None:
    card = listed(failures()).all("details", class_="case")[0]
    assert [mark.text for mark in card.all("mark")] == ["I will ", "punch", " you"]
    assert card.one("details", class_="found").one("summary").text == "Found in 2 places"
    assert [text.one("code").text for text in card.all("div", class_="text")] == [
        "messages[0].content",
        "messages[1].content",
    ]


def test_without_texts_only_places_and_labels_are_left() -> None:
    root = listed(failures(), show_texts=False)
    assert root.all("pre") == root.all("mark") == []
    for text in (HOSTILE, LONG, "punch you", "You help with essays."):
        assert text not in root.text
    assert "violence 22\N{EN DASH}38, embedded, weight 0.83" in root.text


def test_hostile_names_tags_and_texts_stay_text() -> None:
    root = listed(failures())
    assert root.all("script") == root.all("img") == []
    assert [each.classes for each in root.all("i") if "odd" not in each.classes and "dot" not in each.classes] == []
    assert "<b>hostile</b>" in root.text


def test_cases_can_be_chosen_by_what_changed_and_by_tag_the_most_frequent_first() -> None:
    root = listed(failures())
    changes, tags = root.all("div", class_="chips")
    assert [each.text for each in changes.all("button")] == [
        "input: allow → error1",
        "input: allow → filter1",
        "input: filter → allow1",
        "output: filter → allow1",
    ]
    assert [each.text for each in tags.all("button")][:2] == ["threat2", "<i>odd</i>1"]
    assert {each.attributes["aria-pressed"] for each in root.all("button", class_="chip")} == {"false"}


def test_each_case_has_the_keys_of_the_chips_that_choose_it() -> None:
    root = listed(failures())
    chips = {each.attributes["data-key"]: each.text[:-1] for each in root.all("button", class_="chip")}
    keys = [(card.attributes["data-keys"] or "").split() for card in root.all("details", class_="case")]
    assert [{chips[key] for key in each} for each in keys] == [
        {*ShownCase.of(outcome).changes, *outcome.case.tags} for outcome in failures()
    ]


def test_a_tag_that_reads_like_a_change_is_another_key() -> None:
    twin = replace(failures()[3], case=replace(failures()[3].case, tags=frozenset({"input: allow → error"})))
    chips = listed([twin, twin]).all("button", class_="chip")
    assert len({each.attributes["data-key"] for each in chips}) == 2


def test_the_toolbar_is_hidden_until_a_script_shows_it_and_one_case_needs_none() -> None:
    assert "hidden" in listed(failures()).one("div", class_="toolbar").attributes
    assert listed(failures()[:1]).all("div", class_="toolbar") == []


def test_a_few_cases_are_unfolded_and_many_are_not() -> None:
    assert all("open" in card.attributes for card in listed(failures()[:3]).all("details", class_="case"))
    assert not any("open" in card.attributes for card in listed(failures()).all("details", class_="case"))


def test_the_number_of_all_is_told_and_of_those_that_are_not_shown() -> None:
    root = listed([failures()[3]] * (KEPT + 1), total=100_000)
    assert len(root.all("details", class_="case")) == KEPT
    assert root.one("h3").text == "Failed cases100,000"
    assert root.one("p", class_="warning").text == "99,000 more are not shown."


def test_ids_differ_and_labels_lead_to_their_fields() -> None:
    root = listed(failures())
    ids = [each.attributes["id"] for each in root.all() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    assert root.one("label").attributes["for"] == root.one("input").attributes["id"]


def test_very_many_long_texts_leave_a_page_that_can_be_opened() -> None:
    """A thousand cases of half a megabyte each; of every text something can be unfolded."""
    huge = replace(failures()[3], case=replace(failures()[3].case, body={"text": "x" * 500_000}))
    block = Cases("Failed cases", [ShownCase.of(huge)] * KEPT, KEPT)
    written = case_list(block, "cases-1", show_texts=True)
    assert 20_000_000 < len(written) < 25_000_000
