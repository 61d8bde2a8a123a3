"""Requests of Azure AI Content Safety are read as its reference has them; what is wrong is told by the path of its field."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.content_safety import (
    Shielding,
    analyses,
    item_answer,
    list_answer,
    read_image_analysis,
    read_item_ids,
    read_list_changes,
    read_material,
    read_new_items,
    read_shielding,
    read_text_analysis,
    require_list_name,
    shielding_answer,
)
from safety_proxy.dialects.images import MAX_BYTES
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, Category, Image, JSONObject
from tests.pictures import png

ALL = (Category.HATE, Category.SELF_HARM, Category.SEXUAL, Category.VIOLENCE)
CAT = base64.b64encode(png()).decode()
LONG = 10_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["text", "categories", "documents", "image", "blocklistItems", "blocklistItemIds", "blocklistName"])
FORMATS = {
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/png": png(),
    "image/gif": b"GIF89a",
    "image/bmp": b"BM",
    "image/tiff": b"MM\0*",
    "image/webp": b"RIFF\n\0\0\0WEBP",
}


def refusal(read: Callable[[JSON], object], body: JSON) -> tuple[str | None, str | None]:
    """The code and the field of the error that *body* leads to."""
    with pytest.raises(RequestError) as caught:
        read(body)
    assert caught.value.status == 400
    return caught.value.code, caught.value.field


def wrong(read: Callable[[JSON], object], body: JSON) -> str | None:
    code, field = refusal(read, body)
    assert code == "InvalidRequestBody"
    return field


# ------------------------------------------------------------------------------------------------------------------ texts


def test_a_text_alone_asks_for_all_four_harms_at_four_levels() -> None:
    asked = read_text_analysis({"text": "hi", "unknown": {"field": 1}})
    assert (asked.text, asked.categories, asked.levels, asked.lists, asked.halt) == ("hi", ALL, 4, (), False)


def test_everything_can_be_asked_for() -> None:
    asked = read_text_analysis(
        {
            "text": "hi",
            "categories": ["Violence", "Hate", "Violence"],
            "outputType": "EightSeverityLevels",
            "blocklistNames": ["b", "a", "b"],
            "haltOnBlocklistHit": True,
        }
    )
    assert asked.categories == (Category.VIOLENCE, Category.HATE)
    assert (asked.levels, asked.lists, asked.halt) == (8, ("b", "a"), True)


def test_null_is_as_good_as_absent_and_no_categories_are_all() -> None:
    fields = ("outputType", "blocklistNames", "haltOnBlocklistHit")
    nulls: JSONObject = dict.fromkeys(fields)
    assert read_text_analysis({"text": "hi", **nulls, "categories": None}) == read_text_analysis({"text": "hi"})
    assert read_text_analysis({"text": "hi", "categories": []}).categories == ALL


def test_a_text_is_as_long_as_its_code_points() -> None:
    assert len(read_text_analysis({"text": "\U0001f600" * LONG}).text) == LONG


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text": None}, "text"),
        ({"text": ""}, "text"),
        ({"text": ["hi"]}, "text"),
        ({"text": "x" * (LONG + 1)}, "text"),
        ({"categories": "Hate"}, "categories"),
        ({"categories": [1]}, "categories[0]"),
        ({"categories": ["Hate", "Hate", "hate"]}, "categories[2]"),
        ({"outputType": "SixSeverityLevels"}, "outputType"),
        ({"outputType": ""}, "outputType"),
        ({"outputType": 4}, "outputType"),
        ({"blocklistNames": "brands"}, "blocklistNames"),
        ({"blocklistNames": ["a", None]}, "blocklistNames[1]"),
        ({"haltOnBlocklistHit": "true"}, "haltOnBlocklistHit"),
    ],
)
def test_what_is_wrong_with_a_text_is_told_by_its_field(changes: JSONObject, field: str) -> None:
    assert wrong(read_text_analysis, {"text": "hi", **changes}) == field


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_a_body_is_an_object(body: JSON) -> None:
    assert wrong(read_text_analysis, body) is None


def test_no_error_repeats_what_was_sent() -> None:
    with pytest.raises(RequestError) as caught:
        read_text_analysis({"text": "hi", "categories": ["sesame"]})
    assert "sesame" not in str(caught.value)


@given(VALUES | st.dictionaries(FIELDS, VALUES))
def test_any_body_is_read_or_refused(body: JSON) -> None:
    readers = (read_text_analysis, read_image_analysis, read_shielding, read_new_items, read_item_ids)
    for read in (*readers, lambda b: read_list_changes(b, "x"), lambda b: read_material(b, "text")):
        with suppress(RequestError):
            read(body)


# ----------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("media_type", FORMATS)
def test_the_format_of_an_image_is_told_by_its_bytes(media_type: str) -> None:
    data = FORMATS[media_type]
    asked = read_image_analysis({"image": {"content": base64.b64encode(data).decode(), "blobUrl": None}})
    assert (asked.image, asked.categories) == (Image(media_type, data), ALL)


def test_an_image_has_four_megabytes_at_most() -> None:
    def sized(size: int) -> JSON:
        return {"image": {"content": base64.b64encode(png().ljust(size, b"\0")).decode()}}

    assert len(read_image_analysis(sized(MAX_BYTES)).image.data) == MAX_BYTES
    assert wrong(read_image_analysis, sized(MAX_BYTES + 1)) == "image.content"
    assert wrong(read_image_analysis, sized(MAX_BYTES + 10)) == "image.content"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image"),
        ({"image": "cat"}, "image"),
        ({"image": {}}, "image.content"),
        ({"image": {"content": ""}}, "image.content"),
        ({"image": {"content": 1}}, "image.content"),
        ({"image": {"content": "not base64"}}, "image.content"),
        ({"image": {"content": CAT + "!"}}, "image.content"),
        ({"image": {"content": base64.b64encode(b"<svg/>").decode()}}, "image.content"),
        ({"image": {"content": f"data:image/png;base64,{CAT}"}}, "image.content"),
        ({"image": {"blobUrl": "https://host/cat.png"}}, "image.blobUrl"),
        ({"image": {"content": CAT, "blobUrl": "https://host/cat.png"}}, "image.blobUrl"),
        ({"image": {"content": CAT}, "outputType": "EightSeverityLevels"}, "outputType"),
        ({"image": {"content": CAT}, "categories": ["Cats"]}, "categories[0]"),
    ],
)
def test_what_is_wrong_with_an_image_is_told_by_its_field(body: JSON, field: str) -> None:
    assert wrong(read_image_analysis, body) == field


# ---------------------------------------------------------------------------------------------------------------- shields


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"userPrompt": "u"}, Shielding("u", None)),
        ({"documents": ["a", "b"]}, Shielding(None, ("a", "b"))),
        ({"userPrompt": "u", "documents": []}, Shielding("u", ())),
        ({"userPrompt": "", "documents": None}, Shielding("", None)),
    ],
)
def test_a_prompt_or_documents_are_shielded(body: JSON, asked: Shielding) -> None:
    assert read_shielding(body) == asked


def test_the_prompt_has_its_own_limit_and_documents_share_one() -> None:
    body: JSONObject = {"userPrompt": "x" * LONG, "documents": ["x" * (LONG // 5)] * 5}
    assert read_shielding(body).user_prompt == "x" * LONG
    assert wrong(read_shielding, {**body, "documents": ["x" * LONG, "x"]}) == "documents"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "userPrompt"),
        ({"documents": []}, "userPrompt"),
        ({"userPrompt": "x" * (LONG + 1)}, "userPrompt"),
        ({"userPrompt": 1}, "userPrompt"),
        ({"documents": ["x"] * 6}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": ["x", {}]}, "documents[1]"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_told_by_its_field(body: JSON, field: str) -> None:
    assert wrong(read_shielding, body) == field


def test_what_was_not_sent_is_not_answered() -> None:
    assert shielding_answer(True, None) == {"userPromptAnalysis": {"attackDetected": True}}
    assert shielding_answer(None, [False, True]) == {
        "documentsAnalysis": [{"attackDetected": False}, {"attackDetected": True}]
    }


@pytest.mark.parametrize("name", ["text", "code"])
def test_material_has_110_to_10000_characters(name: str) -> None:
    def read(body: JSON) -> str:
        return read_material(body, name)

    assert [len(read({name: "x" * size})) for size in (110, LONG)] == [110, LONG]
    assert [wrong(read, {name: "x" * size}) for size in (0, 109, LONG + 1)] == [name] * 3
    assert wrong(read, {"other": "x" * 110}) == name


# -------------------------------------------------------------------------------------------------------------- blocklists


@pytest.mark.parametrize("name", ["a", "Brands_2.0~x-y", "x" * 64])
def test_a_list_may_have_this_name(name: str) -> None:
    require_list_name(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a:b", "a/b", "ä", "a\n"])
def test_a_list_may_not_have_this_name(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        require_list_name(name)
    assert (caught.value.status, caught.value.code) == (400, "InvalidResourceName")


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({}, {}),
        ({"blocklistName": "L", "description": "d"}, {"description": "d"}),
        ({"blocklistName": None, "description": None}, {"description": None}),
        ({"description": "x" * 1024, "unknown": 1}, {"description": "x" * 1024}),
    ],
)
def test_a_patch_changes_what_it_names(body: JSON, changes: dict[str, str | None]) -> None:
    assert read_list_changes(body, "L") == changes


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({"blocklistName": "M"}, "blocklistName"),
        ({"blocklistName": ["L"]}, "blocklistName"),
        ({"description": 1}, "description"),
        ({"description": "x" * 1025}, "description"),
        ({"description": "a\0b"}, "description"),
    ],
)
def test_what_is_wrong_with_a_patch_is_told_by_its_field(body: JSON, field: str | None) -> None:
    assert wrong(lambda b: read_list_changes(b, "L"), body) == field


def test_items_have_a_text_and_perhaps_a_description() -> None:
    items: JSON = [{"text": "acme", "description": "d", "blocklistItemId": "ignored"}, {"text": "x" * 128, "isRegex": False}]
    assert read_new_items({"blocklistItems": items}) == [("acme", "d"), ("x" * 128, None)]


@pytest.mark.parametrize(
    ("items", "field"),
    [
        (None, "blocklistItems"),
        ([], "blocklistItems"),
        ([{"text": "x"}] * 101, "blocklistItems"),
        (["x"], "blocklistItems[0]"),
        ([{"text": "x"}, {}], "blocklistItems[1].text"),
        ([{"text": ""}], "blocklistItems[0].text"),
        ([{"text": "  \u200b"}], "blocklistItems[0].text"),
        ([{"text": "x" * 129}], "blocklistItems[0].text"),
        ([{"text": "\ufdfa" * 128}], "blocklistItems[0].text"),
        ([{"text": "a\0b"}], "blocklistItems[0].text"),
        ([{"text": "x", "description": "x" * 1025}], "blocklistItems[0].description"),
        ([{"text": "x", "description": "\0"}], "blocklistItems[0].description"),
        ([{"text": "a.*", "isRegex": True}], "blocklistItems[0].isRegex"),
    ],
)
def test_what_is_wrong_with_an_item_is_told_by_its_field(items: JSON, field: str) -> None:
    assert wrong(read_new_items, {"blocklistItems": items}) == field


def test_items_are_removed_by_their_ids() -> None:
    assert read_item_ids({"blocklistItemIds": ["a", "x" * 64]}) == ["a", "x" * 64]


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        (None, "blocklistItemIds"),
        ([], "blocklistItemIds"),
        (["x"] * 101, "blocklistItemIds"),
        (["x", 1], "blocklistItemIds[1]"),
        (["x" * 65], "blocklistItemIds[0]"),
    ],
)
def test_what_is_wrong_with_an_id_is_told_by_its_field(ids: JSON, field: str) -> None:
    assert wrong(read_item_ids, {"blocklistItemIds": ids}) == field


def test_a_description_that_is_none_is_not_told() -> None:
    assert list_answer("L", None) == {"blocklistName": "L"}
    assert list_answer("L", "d") == {"blocklistName": "L", "description": "d"}
    assert item_answer("1", "x", None) == {"blocklistItemId": "1", "text": "x"}
    assert item_answer("1", "x", "d") == {"blocklistItemId": "1", "text": "x", "description": "d"}


# ---------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(("levels", "told"), [(4, [0, 0, 2, 2, 4, 4, 6, 6]), (8, [0, 1, 2, 3, 4, 5, 6, 7])])
def test_four_levels_round_down(levels: int, told: list[int]) -> None:
    found = [analyses({Category.HATE: severity}, levels) for severity in range(8)]
    assert found == [[{"category": "Hate", "severity": severity}] for severity in told]


def test_categories_are_told_in_the_order_given() -> None:
    found = analyses({Category.VIOLENCE: 2, Category.SELF_HARM: 0})
    assert found == [{"category": "Violence", "severity": 2}, {"category": "SelfHarm", "severity": 0}]
