"""Images for tests: their first bytes are what a format asks for; what they show is written in the bytes that follow."""

from __future__ import annotations

import base64
import struct

from safety_proxy.model import Image, Kind, Query

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def png(shows: str = "a cat", width: int = 64, height: int = 64) -> bytes:
    return PNG_HEAD + struct.pack(">I4sII5x", 13, b"IHDR", width, height) + shows.encode()


def picture(shows: str = "a cat", width: int = 64, height: int = 64) -> Image:
    return Image("image/png", png(shows, width, height))


def looked_at(*shows: str) -> Query:
    """A query about images that show this."""
    return Query("", Kind.IMAGE, images=tuple(picture(each) for each in shows))


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
