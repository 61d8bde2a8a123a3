"""The schemas of Azure AI Content Safety take what is taken and refuse what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from safety_proxy.dialects import content_safety
from safety_proxy.dialects.content_safety_errors import content_safety_error
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, Category
from safety_proxy.server.openapi_content_safety import CONTENT_SAFETY_SCHEMAS

ITEM = {"text": "acme", "description": None}


def fits(name: str, value: object) -> bool:
    schema: dict[str, Any] = {
        "$ref": f"#/components/schemas/{name}",
        "components": {"schemas": CONTENT_SAFETY_SCHEMAS},
    }
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    ("read", "name", "body"),
    [
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi"}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi", "categories": ["Hate"], "other": 1}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi", "outputType": "EightSeverityLevels"}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi", "categories": None, "outputType": None}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": ""}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "x" * 10_001}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi", "categories": ["hate"]}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {"text": "hi", "haltOnBlocklistHit": "yes"}),
        (content_safety.read_text_analysis, "AnalyzeTextRequest", {}),
        (content_safety.read_shielding, "ShieldPromptRequest", {"userPrompt": "hi", "documents": ["a"] * 5}),
        (content_safety.read_shielding, "ShieldPromptRequest", {"userPrompt": "hi", "documents": ["a"] * 6}),
        (content_safety.read_shielding, "ShieldPromptRequest", {"userPrompt": "hi", "documents": None}),
        (content_safety.read_new_items, "NewBlocklistItems", {"blocklistItems": [ITEM] * 100}),
        (content_safety.read_new_items, "NewBlocklistItems", {"blocklistItems": [ITEM] * 101}),
        (content_safety.read_new_items, "NewBlocklistItems", {"blocklistItems": [{"text": "x" * 129}]}),
        (content_safety.read_new_items, "NewBlocklistItems", {"blocklistItems": []}),
        (content_safety.read_item_ids, "RemovedBlocklistItems", {"blocklistItemIds": ["a"]}),
        (content_safety.read_item_ids, "RemovedBlocklistItems", {"blocklistItemIds": []}),
    ],
)
def test_a_schema_refuses_what_is_refused_and_takes_what_is_taken(
    read: Callable[[JSON], object], name: str, body: JSON
) -> None:
    try:
        read(body)
    except RequestError:
        assert not fits(name, body)
    else:
        assert fits(name, body)


def test_answers_and_errors_fit() -> None:
    assert fits(
        "TextAnalysis",
        {"blocklistsMatch": [], "categoriesAnalysis": content_safety.analyses({Category.HATE: 5, Category.SELF_HARM: 0}, 8)},
    )
    assert fits("ShieldPromptAnalysis", content_safety.shielding_answer(True, [False]))
    assert fits("Blocklist", content_safety.list_answer("house", None))
    assert fits("BlocklistItem", content_safety.item_answer("1", "acme", "a name"))
    for status in (400, 401, 404, 503):
        assert fits("ContentSafetyError", content_safety_error(status, "no", code="reason", target="text")[1])
