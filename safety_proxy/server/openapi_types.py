"""The words that the schemas of the description are written in."""

from __future__ import annotations

from typing import Final

from safety_proxy.model import JSON, JSONObject


def record(description: str, required: str = "", /, **properties: JSON) -> JSONObject:
    """An object; *required* are the names of the properties that are never missing."""
    schema: JSONObject = {"type": "object", "description": description, "properties": properties}
    return schema | ({"required": [*required.split()]} if required else {})


def array(items: JSON, **more: JSON) -> JSONObject:
    """A list of *items*."""
    return {"type": "array", "items": items, **more}


def optional(schema: JSONObject) -> JSONObject:
    """*schema*, or null, which says as much as nothing."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> JSONObject:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def text_of(description: str) -> JSONObject:
    """A string."""
    return {"type": "string", "description": description}


STRING: Final[JSONObject] = {"type": "string"}
INTEGER: Final[JSONObject] = {"type": "integer"}
BOOLEAN: Final[JSONObject] = {"type": "boolean"}
OBJECT: Final[JSONObject] = {"type": "object"}
NULLABLE: Final[JSONObject] = {"type": ["string", "null"]}
