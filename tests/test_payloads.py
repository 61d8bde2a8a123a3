"""Text inside text is found, and what is no text is left alone."""

from __future__ import annotations

import base64
import hashlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy import payloads
from safety_proxy.edits import origin

SECRET = "attack the harbour at dawn"
words = st.lists(st.sampled_from([*SECRET.split(), "über", "naïve", "and", "so"]), min_size=4, max_size=12).map(" ".join)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(words)
def test_base64_is_decoded_wherever_it_stands(text: str) -> None:
    for code in (encoded(text), encoded(text).rstrip("="), base64.urlsafe_b64encode(text.encode()).decode()):
        assert payloads.from_base64(f"Read this: {code} - soon", False)[0] == f"Read this: {text} - soon"


def test_base64_in_lines_is_one_text() -> None:
    long = " ".join([SECRET] * 8)
    code = base64.encodebytes(long.encode()).decode()
    assert payloads.from_base64(f"Body:\n{code}", False)[0].strip() == f"Body:\n{long}"


@pytest.mark.parametrize("lost", range(8))
def test_a_run_that_an_open_edge_has_cut_is_decoded_from_where_it_can_be(lost: int) -> None:
    cut = encoded(SECRET * 2)[lost:]
    assert SECRET[-12:] in payloads.from_base64(cut, True)[0]


def test_a_short_run_that_nothing_cut_is_decoded_from_its_first_character_only() -> None:
    code = encoded("attack them")
    assert payloads.from_base64(f"x {code}", False)[0] == "x attack them"
    for lost in (1, 2, 3):
        assert payloads.from_base64(code[lost:], False) == (code[lost:], ())


@given(words)
def test_hexadecimal_is_decoded_however_it_is_written(text: str) -> None:
    data = text.encode()
    for code in (
        data.hex(),
        data.hex(" "),
        data.hex(":").upper(),
        "".join(f"\\x{byte:02x}" for byte in data),
        ", ".join(f"0x{byte:02x}" for byte in data).replace(", ", ","),
    ):
        assert payloads.from_hex(f"Hex: {code}", False)[0] == f"Hex: {text}"


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_half_a_byte_may_be_lost_at_an_open_edge(lost: int) -> None:
    assert SECRET[-10:] in payloads.from_hex(SECRET.encode().hex()[lost:], True)[0]


def test_tags_are_the_characters_that_they_stand_for() -> None:
    hidden = "".join(chr(0xE0000 + ord(char)) for char in SECRET)
    text, stage = payloads.untagged(f"😀{hidden}!", False)
    assert text == f"😀{SECRET}!"
    assert origin([stage], 1, 7) == (1, 7)


def test_the_flag_of_a_region_stays() -> None:
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    assert payloads.untagged(flag, False) == (flag, ())


def test_a_decoded_text_came_from_its_whole_run() -> None:
    code = encoded(SECRET)
    text, stage = payloads.from_base64(f"> {code}", False)
    start = text.index("harbour")
    assert origin([stage], start, start + 7) == (2, 2 + len(code))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("data/" + encoded(SECRET), SECRET),
        ("payload-" + encoded("attack them"), "payload-attack them"),
        ("Administrator\n" + encoded(SECRET) + "\nThanks", f"Administrator\n{SECRET}\nThanks"),
        ("> " + encoded("attack them") + "\n> Best", "> attack them\n> Best"),
        (encoded("kill"), "kill"),
        (encoded("убить всех"), "убить всех"),
        (encoded(encoded(SECRET)), encoded(SECRET)),
        (encoded(SECRET.encode().hex()), SECRET.encode().hex()),
    ],
)
def test_base64_is_told_from_what_stands_beside_it(text: str, read: str) -> None:
    assert payloads.from_base64(text, False)[0].endswith(read)


@pytest.mark.parametrize("prefix", ["", "0x", "#"])
@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("6b696c6c", "kill"),
        ("6b 69 6c 6c", "kill"),
        ("6b69 6c6c 2079 6f75", "kill you"),
        ("6b-69-6c-6c", "kill"),
        ("d183d0b1d0b8d182d18c20d0b8d185", "убить их"),
    ],
)
def test_a_word_in_hexadecimal_is_read(prefix: str, text: str, read: str) -> None:
    if prefix and not text.isalnum():
        return
    assert payloads.from_hex(f"x {prefix}{text}", False)[0] == f"x {read}"


def test_words_of_the_letters_a_to_f_may_stand_beside_hexadecimal() -> None:
    assert payloads.from_hex("to be 6b 69 6c 6c, added", False)[0] == "to be kill, added"


@pytest.mark.parametrize("joint", ["", " ", ", ", "\n"])
def test_binary_digits_are_read(joint: str) -> None:
    code = joint.join(f"{byte:08b}" for byte in SECRET.encode())
    assert payloads.from_bits(f"bits: {code}.", False)[0] == f"bits: {SECRET}."


def test_variation_selectors_are_the_bytes_that_they_stand_for() -> None:
    hidden = "".join(chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in SECRET.encode())
    assert payloads.untagged(f"😀{hidden}!", False)[0] == f"😀{SECRET}!"


@given(words, st.integers(0, 3))
def test_the_quick_tests_miss_nothing(text: str, nested: int) -> None:
    code = text
    for _ in range(nested):
        code = encoded(code)
    for before in ("", "Read this: "):
        if nested:
            assert payloads.may_hold_base64(before + code, (before + code).split())
        assert payloads.may_hold_digits(before + text.encode().hex())
        assert payloads.may_hold_digits(before + text.encode().hex(" "))
        assert payloads.may_hold_digits(before + "".join(f"{byte:08b}" for byte in text.encode()))


@given(st.binary(min_size=12, max_size=400))
def test_what_is_decoded_is_printable_text(data: bytes) -> None:
    for step, code in ((payloads.from_base64, base64.b64encode(data).decode()), (payloads.from_hex, data.hex())):
        text, stage = step(code, False)
        if stage:
            assert text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable()


def test_pictures_digests_and_names_are_left_alone() -> None:
    random = Random(1)
    texts = [
        base64.encodebytes(b"\x89PNG" + random.randbytes(2_000)).decode(),
        hashlib.sha256(b"x").hexdigest(),
        hashlib.sha512(b"y").hexdigest().upper(),
        "internationalisation encyclopaedia SURROUNDINGS electroencephalography",
        "/usr/local/lib/python3/site-packages/safety_proxy/classifiers/embedded",
        "20 26 11 25 07 54 33 10 12 45 67 89",
        "61 72 68 75 66 70 77 69 71 73",
        "ages: 65, 66, 67, 68, 69, 70, 71, 72, 73, 74",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "10101010 00001111 10000000 00000001",
        "createElementWithNamespace, getUTCMilliseconds; k8sClusterRoleBinding2 = useState",
        "eyJhbGciOiJub25lIn0",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    ]
    for text in texts:
        for step in payloads.STEPS:
            assert step(text, False) == (text, ())
