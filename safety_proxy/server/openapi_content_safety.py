"""The JSON of Azure AI Content Safety as JSON Schema, for the description in `safety_proxy.server.openapi`.

Requests may hold fields that are not written here, which are ignored.
"""

from __future__ import annotations

from typing import Final

from safety_proxy.dialects.content_safety import (
    HARM_NAMES,
    LONGEST_DESCRIPTION,
    LONGEST_ITEM,
    LONGEST_TEXT,
    MOST_DOCUMENTS,
    MOST_ITEMS,
    SHORTEST_MATERIAL,
)
from safety_proxy.model import JSONObject
from safety_proxy.server.openapi_types import BOOLEAN, NULLABLE, OBJECT, STRING, array, optional, record, ref

_MATERIAL: Final[JSONObject] = {"type": "string", "minLength": SHORTEST_MATERIAL, "maxLength": LONGEST_TEXT}
_TEXT: Final[JSONObject] = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
_CATEGORIES: Final[JSONObject] = optional(array({"enum": [*HARM_NAMES]}))
_LEVELS: Final[JSONObject] = {"enum": ["FourSeverityLevels", "EightSeverityLevels", None]}
_ANALYSIS: Final = array(
    record(
        "The severity found in one category.",
        "category severity",
        category={"enum": [*HARM_NAMES]},
        severity={"type": "integer", "minimum": 0, "maximum": 7},
    )
)
_ATTACK: Final = record("Whether an attack was found.", "attackDetected", attackDetected=BOOLEAN)
_DESCRIPTION: Final[JSONObject] = {"type": ["string", "null"], "maxLength": LONGEST_DESCRIPTION}

CONTENT_SAFETY_SCHEMAS: Final[JSONObject] = {
    "AnalyzeTextRequest": record(
        "A text to judge.",
        "text",
        text=_TEXT,
        categories=_CATEGORIES,
        blocklistNames=optional(array(STRING)),
        haltOnBlocklistHit=optional(BOOLEAN),
        outputType=_LEVELS,
    ),
    "TextAnalysis": record(
        "What was found.",
        "blocklistsMatch categoriesAnalysis",
        blocklistsMatch=array(
            record(
                "An item of a blocklist that the text holds.",
                "blocklistName blocklistItemId blocklistItemText",
                blocklistName=STRING,
                blocklistItemId=STRING,
                blocklistItemText=STRING,
            )
        ),
        categoriesAnalysis=_ANALYSIS,
    ),
    "AnalyzeImageRequest": record(
        "An image to judge.",
        "image",
        image=record("Its bytes in base64; an address is refused.", "content", content=STRING),
        categories=_CATEGORIES,
        outputType={"enum": ["FourSeverityLevels", None]},
    ),
    "ImageAnalysis": record("What was found.", "categoriesAnalysis", categoriesAnalysis=_ANALYSIS),
    "ShieldPromptRequest": record(
        "A user's prompt, documents, or both.",
        userPrompt=optional({**STRING, "maxLength": LONGEST_TEXT}),
        documents=optional(array(STRING, maxItems=MOST_DOCUMENTS)),
    ),
    "ShieldPromptAnalysis": record(
        "What was found, for what was sent.", userPromptAnalysis=_ATTACK, documentsAnalysis=array(_ATTACK)
    ),
    "ProtectedMaterialRequest": record("A text to compare.", "text", text=_MATERIAL),
    "ProtectedCodeRequest": record("Code to compare.", "code", code=_MATERIAL),
    "ProtectedMaterial": record(
        "What was found.",
        "protectedMaterialAnalysis",
        protectedMaterialAnalysis=record("Whether it is known.", "detected", detected=BOOLEAN),
    ),
    "Blocklist": record("A blocklist.", "blocklistName", blocklistName=STRING, description=NULLABLE),
    "Blocklists": record("Blocklists.", "value", value=array(ref("Blocklist")), nextLink=STRING),
    "BlocklistChange": record("What to change; null takes it away.", description=_DESCRIPTION),
    "BlocklistItem": record("An item.", "blocklistItemId text", blocklistItemId=STRING, text=STRING, description=NULLABLE),
    "BlocklistItems": record("Items as they are now.", "blocklistItems", blocklistItems=array(ref("BlocklistItem"))),
    "BlocklistItemPage": record("Items.", "value", value=array(ref("BlocklistItem")), nextLink=STRING),
    "NewBlocklistItems": record(
        "Items to add; one whose text is there gets the description.",
        "blocklistItems",
        blocklistItems=array(
            record(
                "An item.",
                "text",
                text={"type": "string", "minLength": 1, "maxLength": LONGEST_ITEM},
                description=_DESCRIPTION,
            ),
            minItems=1,
            maxItems=MOST_ITEMS,
        ),
    ),
    "RemovedBlocklistItems": record(
        "Items to remove.", "blocklistItemIds", blocklistItemIds=array(STRING, minItems=1, maxItems=MOST_ITEMS)
    ),
    "ContentSafetyError": record(
        "An error.",
        "error",
        error=record(
            "What is wrong.",
            "code message",
            code=STRING,
            message=STRING,
            target=NULLABLE,
            details=array(OBJECT),
            innererror={**OBJECT, "description": "Our own word for it."},
        ),
    ),
}
"""By name."""
