"""Codes for letters are decoded where none is needed, and left alone where they are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.edits import origin
from safety_proxy.escapes import decoded, may_hold_any

WAYS = {
    "decimal": lambda char: f"&#{ord(char)};",
    "hexadecimal": lambda char: f"&#x{ord(char):X};",
    "without an end": lambda char: f"&#{ord(char):03};",
    "twice": lambda char: f"&amp;#{ord(char)};",
    "percent": lambda char: "".join(f"%{byte:02x}" for byte in char.encode()),
    "percent twice": lambda char: "".join(f"%25{byte:02X}" for byte in char.encode()),
    "four digits": lambda char: f"\\u{ord(char):04x}",
    "in braces": lambda char: f"\\u{{{ord(char):x}}}",
    "eight digits": lambda char: f"\\U{ord(char):08x}",
}


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("&#107;i&#x6C;l", "kill"),
        ("%6b%69%6c%6c", "kill"),
        ("%256b%2569%25256cl", "kill"),
        ("&amp;#107;i&#108&#108 you", "kill you"),
        ("\\u{6b}i\\U0000006cl", "kill"),
        ("\\153\\151\\154\\154", "kill"),
        ("U+006B U+0069 U+006C U+006C", "kill"),
        ("k\\u0069ll k\\x69ll", "kill kill"),
        ("q=attack%20the%20town", "q=attack the town"),
    ],
)
def test_a_code_is_decoded(code: str, plain: str) -> None:
    assert decoded(code)[0] == plain


@given(st.sampled_from(sorted(WAYS)), st.text("abkilz", min_size=1, max_size=8), st.sampled_from(["", "say ", "5 < 6 "]))
def test_words_in_codes_are_read_in_the_midst_of_others(way: str, word: str, before: str) -> None:
    code = before + "".join(map(WAYS[way], word))
    assert may_hold_any(code)
    text, stage = decoded(code + " now")
    assert text == f"{before}{word} now"
    assert origin([stage], len(text) - 3, len(text)) == (len(code) + 1, len(code) + 4)


@pytest.mark.parametrize(
    "text",
    [
        "R&D; Q&A; fish &amp; chips &lt;b&gt; &euro;5",
        "&lt;b&gt;&quot;&#39;&amp;&quot;&lt;/b&gt;",
        "https://example.org/My%20Old%20Photo%20Album.jpg and \\x1b[0m",
        "caf%C3%A9 100% of %s and %d",
        "C:\\users\\new \\n \\t regex \\d+",
        '{"name": "caf\\\\u00e9 au lait", "city": "Z\\\\u00fcrich"}',
        "GET /?q=a%2Fb%3Ac&x;=1&nosuch;&quot;x&quot; HTTP/1.1 and the rest of a request that is ordinary",
        "b'\\\\x89PNG\\\\r\\\\n\\\\x1a\\\\n' is what a picture begins with",
        "10&nbsp;km and 5&nbsp;kg",
        "50%25 off, 100%-ig",
    ],
)
def test_codes_that_are_needed_stay(text: str) -> None:
    assert decoded(text) == (text, ())


def test_codes_that_make_up_the_text_are_decoded_whatever_letters_they_stand_for() -> None:
    assert decoded("%D1%83%D0%B1%D0%B8%D1%82%D1%8C")[0] == "убить"


def test_blanks_in_codes_between_words_are_blanks() -> None:
    assert decoded("how%20to%20make it, and then the rest of what was asked")[0].startswith("how to make it")
    assert decoded("https://example.org/?q=how%20to%20make and the rest of it all")[0].startswith(
        "https://example.org/?q=how to"
    )


def test_what_stands_for_nothing_stays() -> None:
    for text in ("a%FFb %zz &nosuch; \\ud800", "&#1114112; &#xD800;", "\\u{110000} \\U000fffff\\u{d800}k"):
        assert "\ufffd" not in decoded(text + "&#107;")[0]
    assert decoded("a%FFb %zz &nosuch; \\ud800")[1] == ()


@pytest.mark.parametrize(
    "piece", ["%", "&", "&#", "&amp;", "%25", "\\", "\\x", "&#107", "%20a", "a%20", "U+006B", "\\153", "&a"]
)
def test_long_texts_take_little_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    begin = time.process_time()
    decoded(text)
    assert time.process_time() - begin < 10  # measured coverage and a busy machine included
