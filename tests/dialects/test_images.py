"""Inline images are read if they are what they say and only that; nothing is fetched, nothing is guessed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.images import MAX_BYTES, read_data_url, read_image
from safety_proxy.model import JSON, Image, JSONObject
from tests.pictures import PNG_HEAD, data_url, png

FORMATS = {
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/png": PNG_HEAD,
    "image/gif": b"GIF89a",
    "image/bmp": b"BM",
    "image/tiff": b"MM\0*",
    "image/webp": b"RIFF\n\0\0\0WEBP",
}
CAT = png()
MEDIA = frozenset({"image_url"})


@pytest.mark.parametrize("media_type", FORMATS)
def test_each_format_is_told_by_its_first_bytes(media_type: str) -> None:
    for other, head in FORMATS.items():
        found = read_data_url(data_url(head + b"rest", media_type))
        assert found == (Image(media_type, head + b"rest") if other == media_type else None)


@pytest.mark.parametrize("head", [b"GIF87a", b"II*\0"])
def test_a_format_may_have_two_beginnings(head: bytes) -> None:
    assert read_data_url(data_url(head, "image/gif")) or read_data_url(data_url(head, "image/tiff"))


@pytest.mark.parametrize("written", ["image/PNG", "IMAGE/png", "image/jpg"])
def test_common_spellings_of_a_type_are_known(written: str) -> None:
    found = read_data_url(data_url(CAT if "jpg" not in written else FORMATS["image/jpeg"], written).replace("data", "Data"))
    assert found is not None
    assert found.media_type in FORMATS


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        {"url": data_url(CAT)},
        "",
        "data:",
        "https://example.org/cat.png",
        "HTTP://169.254.169.254/latest",
        "file:///etc/passwd",
        "//example.org/cat.png",
        " " + data_url(CAT),
        data_url(CAT, "image/svg"),
        data_url(CAT, "text/html"),
        data_url(b"<svg/>", "image/svg+xml"),
        data_url(b"", "image/png"),
        data_url(CAT[1:], "image/png"),
        data_url(CAT, "image/png;charset=utf-8"),
        data_url(CAT).replace(";base64", ""),
        data_url(CAT) + "\n",
        data_url(CAT) + "#page=2",
        data_url(CAT) + "%3D",
        data_url(CAT).replace(",", ", "),
        data_url(CAT)[:-1] + "!",
        data_url(CAT[:16]) + base64.b64encode(CAT).decode(),
        data_url(CAT).rstrip("=")[:-1],
        data_url(CAT) + "é",
    ],
)
def test_all_else_is_no_image(url: JSON) -> None:
    assert read_data_url(url) is None


def test_an_image_of_four_mebibytes_is_read_and_a_larger_one_is_not() -> None:
    largest = CAT.ljust(MAX_BYTES, b"\0")
    for data in (largest, largest + b"\0", largest + b"\0\0\0\0"):
        found = read_data_url(data_url(data))
        assert (found is not None) == (data is largest)


@given(st.text(max_size=30), st.integers(0, len(data_url(CAT))))
def test_what_is_put_into_an_address_is_never_skipped(garbage: str, place: int) -> None:
    """Either the data decodes as a whole, or there is no image: no reader can see less, more or other than we did."""
    url = data_url(CAT)[:place] + garbage + data_url(CAT)[place:]
    found = read_data_url(url)
    if found is not None:
        assert base64.b64encode(found.data).decode().rstrip("=")[:-1] == url.partition(",")[2].rstrip("=")[:-1]


def test_the_bytes_of_an_image_are_in_no_representation() -> None:
    assert repr(read_data_url(data_url(CAT))) == "Image(media_type='image/png')"


GOOD: JSONObject = {"url": data_url(CAT), "detail": "high"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": GOOD},
        {"type": "image_url", "image_url": data_url(CAT)},
        {"type": "input_image", "image_url": data_url(CAT), "detail": "low"},
        {"type": "image_url", "image_url": {**GOOD, "data": None}, "uuid": None, "cache_control": {"type": "ephemeral"}},
    ],
)
def test_the_address_of_an_image_stands_in_one_of_two_places(part: JSONObject) -> None:
    assert read_image(part, MEDIA) == Image("image/png", CAT)


@pytest.mark.parametrize(
    ("part", "media"),
    [
        ({"image_url": GOOD}, MEDIA),
        ({"type": ["image_url"], "image_url": GOOD}, MEDIA),
        ({"type": "text", "text": "hi", "image_url": GOOD}, MEDIA),
        ({"type": "image_url", "image_url": None}, frozenset()),
        ({"type": "image_url", "image_url": GOOD, "image": "https://example.org"}, MEDIA | {"image"}),
        ({"type": "input_image", "input_image": GOOD}, frozenset({"input_image"})),
        ({"type": "image_url", "image_url": GOOD, "text": "hi"}, MEDIA),
        ({"type": "image_url", "image_url": GOOD, "uuid": "kept"}, MEDIA),
        ({"type": "image_url", "image_url": {**GOOD, "uuid": "kept"}}, MEDIA),
        ({"type": "image_url", "image_url": {**GOOD, "data": "AAAA"}}, MEDIA),
        ({"type": "image_url", "image_url": GOOD, "file_data": "AAAA"}, MEDIA),
        ({"type": "image_url", "image_url": {"detail": "high"}}, MEDIA),
        ({"type": "image_url", "image_url": [GOOD]}, MEDIA),
    ],
)
def test_a_part_in_which_two_readers_could_see_two_things_is_no_image(part: JSONObject, media: frozenset[str]) -> None:
    assert read_image(part, media) is None
