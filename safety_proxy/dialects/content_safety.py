"""The data plane of Azure AI Content Safety: what requests ask, and what they are answered.

Shapes and limits are those of its REST reference (api-versions 2023-10-01, 2024-09-01 and 2024-09-15-preview). Fields that
it does not have are ignored, and an optional one that is null is as good as absent. All readers raise `RequestError` 400
with the path of the field that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from safety_proxy.dialects.images import MAX_BYTES, read_data_url
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, Category, Image, JSONObject
from safety_proxy.normalise import term_length
from safety_proxy.policy import LONGEST_STORED

HARM_NAMES: Final[Mapping[str, Category]] = {
    "Hate": Category.HATE,
    "SelfHarm": Category.SELF_HARM,
    "Sexual": Category.SEXUAL,
    "Violence": Category.VIOLENCE,
}
"""In the order in which all four are answered."""
LONGEST_TEXT: Final = 10_000
"""Code points of a text, and of all documents of a request together."""
SHORTEST_MATERIAL: Final = 110
"""Code points of the shortest text that is looked through for protected material: a shorter one could be anybody's."""
MOST_DOCUMENTS: Final = 5
MOST_ITEMS: Final = 100
"""Items of a blocklist that are added or removed at a time."""
LONGEST_DESCRIPTION: Final = 1024
LONGEST_ITEM: Final = 128
"""Code points of an item's text."""
LONGEST_ID: Final = 64
MOST_LEVELS: Final = 8
"""Severities that are told apart, 0 to 7; 4 unless a request asks for all."""

_LIST_NAME: Final = re.compile("[0-9A-Za-z._~-]{1,64}")
_FOUR: Final = "FourSeverityLevels"
_EIGHT: Final = "EightSeverityLevels"
_MEDIA_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/bmp", "image/tiff", "image/webp")
_HEAD: Final = 24
"""Characters of base64 that tell an image's format: whole groups, for as many bytes as the longest signature has."""
_ENCODED: Final = (MAX_BYTES + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class TextAnalysis:
    """A request of ``text:analyze``."""

    text: str = field(repr=False)
    categories: tuple[Category, ...]
    """In the order in which they are answered."""
    levels: int
    """4 or 8."""
    lists: tuple[str, ...]
    """Names of the blocklists to search the text for, each once."""
    halt: bool
    """Whether harms are of no interest once a blocklist matches."""


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """A request of ``image:analyze``."""

    image: Image
    categories: tuple[Category, ...]


@dataclass(frozen=True, slots=True)
class Shielding:
    """A request of ``text:shieldPrompt``. None is what was not sent."""

    user_prompt: str | None = field(repr=False)
    documents: tuple[str, ...] | None = field(repr=False)


# ------------------------------------------------------------------------------------------------------------- reading


def read_text_analysis(body: JSON) -> TextAnalysis:
    """What ``text:analyze`` is asked."""
    fields = _object(body)
    return TextAnalysis(
        text=_required_text(fields, "text", LONGEST_TEXT),
        categories=_read_categories(fields),
        levels=_read_levels(fields, _FOUR, _EIGHT),
        lists=tuple(dict.fromkeys(_strings(fields, "blocklistNames") or ())),
        halt=_read_halt(fields),
    )


def read_image_analysis(body: JSON) -> ImageAnalysis:
    """What ``image:analyze`` is asked. Nothing that a client names is fetched, so an image comes as ``image.content``."""
    fields = _object(body)
    image = _object(fields.get("image"), "image")
    if image.get("blobUrl") is not None:
        raise _wrong("cannot be read: images are not fetched; send base64 in `image.content`", "image.blobUrl")
    content = _string(image, "content", None, "image.content")
    if content is None:
        raise _wrong("is required: the image as base64", "image.content")
    _read_levels(fields, _FOUR)
    return ImageAnalysis(_read_image(content), _read_categories(fields))


def read_shielding(body: JSON) -> Shielding:
    """What ``text:shieldPrompt`` is asked. There is at least one text."""
    fields = _object(body)
    prompt = _string(fields, "userPrompt", LONGEST_TEXT)
    documents = _strings(fields, "documents", MOST_DOCUMENTS)
    if prompt is None and not documents:
        raise _wrong("is required, or one of `documents`", "userPrompt")
    if sum(map(len, documents or ())) > LONGEST_TEXT:
        raise _wrong(f"have more than {LONGEST_TEXT} characters together", "documents")
    return Shielding(prompt, None if documents is None else tuple(documents))


def read_material(body: JSON, name: str) -> str:
    """The text to look through for protected material; *name* is its field, ``text`` or ``code``."""
    text = _required_text(_object(body), name, LONGEST_TEXT)
    if len(text) < SHORTEST_MATERIAL:
        raise _wrong(f"has fewer than {SHORTEST_MATERIAL} characters", name)
    return text


def require_list_name(name: str) -> None:
    """Raise `RequestError` if no blocklist may be called *name*."""
    if _LIST_NAME.fullmatch(name) is None:
        message = "the name of a blocklist has 1 to 64 letters, digits, or any of `-._~`"
        raise RequestError(message, code="InvalidResourceName", field="blocklistName")


def read_list_changes(body: JSON, name: str) -> dict[str, str | None]:
    """What a merge patch (RFC 7396) changes of the blocklist called *name*: its ``description``, which null takes away."""
    fields = _object(body)
    if fields.get("blocklistName") not in (None, name):
        raise _wrong("is not the name in the path", "blocklistName")
    if "description" not in fields:
        return {}
    return {"description": _description(fields, "description")}


def read_new_items(body: JSON) -> list[tuple[str, str | None]]:
    """Texts and descriptions to put on a blocklist. Each text can be searched for."""
    items = _entries(body, "blocklistItems")
    return [_read_item(item, f"blocklistItems[{index}]") for index, item in enumerate(items)]


def read_item_ids(body: JSON) -> list[str]:
    """Ids of the items to take off a blocklist."""
    _entries(body, "blocklistItemIds")
    ids = _strings(_object(body), "blocklistItemIds") or []
    for index, each in enumerate(ids):
        if len(each) > LONGEST_ID:
            raise _wrong(f"has more than {LONGEST_ID} characters", f"blocklistItemIds[{index}]")
    return ids


def _read_categories(fields: JSONObject) -> tuple[Category, ...]:
    """In the order given, each once. All four if there are none: the service's own tests send ``[]`` for that."""
    names = _strings(fields, "categories") or list(HARM_NAMES)
    for index, name in enumerate(names):
        if name not in HARM_NAMES:
            raise _wrong(f"is none of {', '.join(HARM_NAMES)}", f"categories[{index}]")
    return tuple(HARM_NAMES[name] for name in dict.fromkeys(names))


def _read_levels(fields: JSONObject, *known: str) -> int:
    wanted = _string(fields, "outputType", None)
    if wanted is not None and wanted not in known:
        raise _wrong(f"is not {' or '.join(known)}", "outputType")
    return MOST_LEVELS if wanted == _EIGHT else 4


def _read_halt(fields: JSONObject) -> bool:
    halt = fields.get("haltOnBlocklistHit")
    if halt is not None and not isinstance(halt, bool):
        raise _wrong("is not true or false", "haltOnBlocklistHit")
    return bool(halt)


def _read_image(content: str) -> Image:
    """The image that *content* is; which format it has is told by how it begins."""
    if len(content) > _ENCODED:
        raise _wrong("is larger than 4 MB", "image.content")
    for media_type in _MEDIA_TYPES:
        url = f"data:{media_type};base64,"
        if read_data_url(url + content[:_HEAD]) is not None and (image := read_data_url(url + content)) is not None:
            return image
    raise _wrong("is not the base64 of a JPEG, PNG, GIF, BMP, TIFF or WEBP of at most 4 MB", "image.content")


def _read_item(item: JSON, path: str) -> tuple[str, str | None]:
    fields = _object(item, path)
    if fields.get("isRegex"):
        # Some previews have it. Kept as a word, a pattern would match nothing, and nobody would be told.
        raise _wrong("is not supported; a policy's own blocklists take patterns", f"{path}.isRegex")
    text = _required_text(fields, "text", LONGEST_ITEM, f"{path}.text")
    if "\0" in text:
        raise _wrong("has a NUL character", f"{path}.text")
    length = term_length(text)
    if length == 0:
        raise _wrong("has nothing to search for", f"{path}.text")
    if length > LONGEST_STORED:
        raise _wrong(f"has more than {LONGEST_STORED} characters in the form in which it is searched for", f"{path}.text")
    return text, _description(fields, f"{path}.description")


# --------------------------------------------------------------------------------------------------------------- fields


def _wrong(message: str, path: str) -> RequestError:
    return RequestError(f"`{path}` {message}", code="InvalidRequestBody", field=path)


def _object(value: JSON, path: str | None = None) -> JSONObject:
    if isinstance(value, dict):
        return value
    if path is None:
        raise RequestError("the body is not a JSON object", code="InvalidRequestBody")
    raise _wrong("is required: an object", path)


def _entries(body: JSON, name: str) -> list[JSON]:
    """An array of something, but of no more than is dealt with at a time."""
    value = _object(body).get(name)
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_ITEMS:
        raise _wrong(f"is required: an array of 1 to {MOST_ITEMS}", name)
    return value


def _string(fields: JSONObject, name: str, longest: int | None, path: str | None = None) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong("is not a string", path or name)
    if longest is not None and len(value) > longest:
        raise _wrong(f"has more than {longest} characters", path or name)
    return value


def _required_text(fields: JSONObject, name: str, longest: int, path: str | None = None) -> str:
    text = _string(fields, name, longest, path)
    if not text:
        raise _wrong("is required: a string that is not empty", path or name)
    return text


def _strings(fields: JSONObject, name: str, most: int | None = None) -> list[str] | None:
    values = fields.get(name)
    if values is None:
        return None
    if not isinstance(values, list):
        raise _wrong("is not an array of strings", name)
    if most is not None and len(values) > most:
        raise _wrong(f"has more than {most} entries", name)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise _wrong("is not a string", f"{name}[{index}]")
    return [value for value in values if isinstance(value, str)]


def _description(fields: JSONObject, path: str) -> str | None:
    description = _string(fields, "description", LONGEST_DESCRIPTION, path)
    if description is not None and "\0" in description:
        raise _wrong("has a NUL character", path)
    return description


# -------------------------------------------------------------------------------------------------------------- answers


def analyses(severities: Mapping[Category, int], levels: int = 4) -> list[JSON]:
    """``categoriesAnalysis`` in the order of *severities* (0-7); at four levels, odd ones are rounded down."""
    names = {category: name for name, category in HARM_NAMES.items()}
    step = 1 if levels == MOST_LEVELS else 2
    return [{"category": names[harm], "severity": value - value % step} for harm, value in severities.items()]


def shielding_answer(user_prompt: bool | None, documents: Sequence[bool] | None) -> JSONObject:
    """What was found in what was sent."""
    answer: JSONObject = {}
    if user_prompt is not None:
        answer["userPromptAnalysis"] = {"attackDetected": user_prompt}
    if documents is not None:
        answer["documentsAnalysis"] = [{"attackDetected": found} for found in documents]
    return answer


def list_answer(name: str, description: str | None) -> JSONObject:
    """A blocklist."""
    return {"blocklistName": name, **_described(description)}


def item_answer(item_id: str, text: str, description: str | None) -> JSONObject:
    """An item of a blocklist."""
    return {"blocklistItemId": item_id, "text": text, **_described(description)}


def _described(description: str | None) -> JSONObject:
    return {} if description is None else {"description": description}
