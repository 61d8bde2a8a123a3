"""Images that a request brings along, as classifiers can read them: inline data, of a format that is what it says.

What is given by an address stays unread: nothing that a client names is ever fetched. Nor is anything guessed. If two
readers could see two different images in a part, or in its data, it is none that was judged.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Image, JSONObject

MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest image that is read: what Azure AI Content Safety takes."""
MAX_IMAGES: Final = 50
"""Images of one request that are read: more than models take at once."""

_FORMATS: Final = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/bmp": re.compile(rb"BM"),
    "image/tiff": re.compile(rb"II\*\0|MM\0\*"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
"""What the bytes of each format begin with."""
_ALIASES: Final = {"image/jpg": "image/jpeg"}
"""Not registered, but common."""
_DATA_URL: Final = re.compile(r"data:(image/[a-z]+);base64,", re.IGNORECASE)
"""RFC 2397 without parameters: nobody agrees on what they would mean here."""
_TYPES: Final = ("image_url", "input_image")
_FIELD: Final = "image_url"
_OTHER_CONTENT: Final = ("text", "refusal", "thinking", "uuid")
"""Fields that make an image part more than an image: text that some backend may show to its model, and vLLM's name for
media that it keeps, which stands in for the image if it knows it."""


def read_image(part: JSONObject, media: frozenset[str]) -> Image | None:
    """The image of a content part whose fields *media* hold pictures, sound or files; None if nobody here can read it.

    The address stands in ``image_url`` or in its ``url``.
    """
    if part.get("type") not in _TYPES or media != {_FIELD}:
        return None
    value = part[_FIELD]
    url = as_object(value).get("url") if isinstance(value, dict) else value
    others = (*_OTHER_CONTENT, "data", "file_data")
    if any(holder.get(key) is not None for holder in (part, as_object(value)) for key in others):
        return None
    return read_data_url(url)


def read_data_url(url: JSON) -> Image | None:
    """The image in a ``data:`` URL; None for any other URL, and for data that is broken, too large or not what it says."""
    if not isinstance(url, str):
        return None
    head = _DATA_URL.match(url)
    if head is None:
        return None
    media_type = head[1].lower()
    media_type = _ALIASES.get(media_type, media_type)
    if media_type not in _FORMATS or len(url) - head.end() > (MAX_BYTES + 2) // 3 * 4:
        return None
    try:
        # Strict: a reader that skips what is no base64, or reads on behind the padding, would see another image.
        data = base64.b64decode(url[head.end() :], validate=True)
    except ValueError:
        return None
    if len(data) > MAX_BYTES or not _FORMATS[media_type].match(data):
        return None
    return Image(media_type, data)
