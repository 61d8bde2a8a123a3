"""JSON from clients is read strictly, JSON from backends leniently; whatever was read can be written."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.jsontext import MAX_DEPTH, as_object, parse, parse_lenient, strings, unescape, write
from safety_proxy.model import JSON

SECRET = "secret"
BROKEN = {
    "nothing": b"",
    "NaN": b'["secret", NaN]',
    "Infinity": b'["secret", Infinity]',
    "minus Infinity": b'["secret", -Infinity]',
    "a number beyond all floats": b'["secret", 1e400]',
    "an integer of 5,000 digits": b'["secret", %s]' % (b"9" * 5000),
    "an integer beyond all floats": b'["secret", %s]' % (b"9" * 400),
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"secret":' * 100_000,
    "nesting as deep as another parser would take": b"[" * 1100 + b"]" * 1100,
    "one level too many": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "one level too many with something in it": b"[" * (MAX_DEPTH + 1) + b'"secret"' + b"]" * (MAX_DEPTH + 1),
    "one object too many": b'{"secret":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "UTF-16": '["secret"]'.encode("utf-16"),
    "UTF-16 without a mark": '["secret"]'.encode("utf-16-le"),
    "UTF-32": '["secret"]'.encode("utf-32-be"),
    "single quotes": b"['secret']",
    "two values": b'"secret" "secret"',
    "cut off": b'["secret',
    "a raw control character": b'["secret\n"]',
}
UNTIDY: dict[str, tuple[bytes, JSON]] = {
    "a byte order mark": (b'\xef\xbb\xbf["a"]', ["a"]),
    "bytes that are no UTF-8": (b'["a\xff"]', ["a\ufffd"]),
    "half a character": (b'["\xe6\x9d"]', ["\ufffd"]),
    "an overlong form": (b'["\xc0\xaf"]', ["\ufffd\ufffd"]),
    "a surrogate in UTF-8": (b'["\xed\xa0\x80"]', ["\ufffd\ufffd\ufffd"]),
    "a lone high surrogate": (rb'["a\ud83d"]', ["a\ufffd"]),
    "a lone low surrogate": (rb'["\ude00b"]', ["\ufffdb"]),
    "surrogates in the wrong order": (rb'["\ude00\ud83d"]', ["\ufffd\ufffd"]),
    "a lone surrogate in a key": (rb'{"\ud83d": 1}', {"\ufffd": 1}),
    "big numbers beside a lone surrogate": (
        rb'["\ud83d", 9223372036854775807, 18446744073709551615, -9223372036854775808, 18446744073709551616]',
        ["\ufffd", 9223372036854775807, 18446744073709551615, -9223372036854775808, 18446744073709551616.0],
    ),
    "a pair beside a lone surrogate": (rb'["\ud83d\ude00\ud83d"]', ["\U0001f600\ufffd"]),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("read", [parse, parse_lenient])
def test_what_is_no_json_is_refused_and_the_error_does_not_tell_it(name: str, read: object) -> None:
    with pytest.raises(ValueError, match=r"valid JSON|nested deeper") as caught:
        read(BROKEN[name])  # type: ignore[operator]  # one of two functions

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", UNTIDY)
def test_what_backends_cut_in_two_is_mended(name: str) -> None:
    data, expected = UNTIDY[name]

    assert parse_lenient(data) == expected
    assert json.loads(write(parse_lenient(data)).decode()) == expected


@pytest.mark.parametrize("name", UNTIDY)
def test_clients_are_not_allowed_what_backends_are(name: str) -> None:
    with pytest.raises(ValueError, match="not valid JSON"):
        parse(UNTIDY[name][0])


@pytest.mark.parametrize("read", [parse, parse_lenient])
@pytest.mark.parametrize("data", [b'{"content": "one", "content": "two"}', rb'{"content": "one", "\u0063ontent": "two"}'])
def test_of_duplicate_keys_the_last_counts(read: object, data: bytes) -> None:
    assert read(data) == {"content": "two"}  # type: ignore[operator]  # one of two functions


def test_lenient_duplicates_count_alike() -> None:
    assert parse_lenient(rb'{"a": "one", "a": "two", "\ud800": 1, "\udfff": 2}') == {"a": "two", "\ufffd": 2}


@pytest.mark.parametrize("read", [parse, parse_lenient])
@pytest.mark.parametrize("inner", [b"", b"1", b'"x"'])
def test_the_deepest_nesting_is_taken(read: object, inner: bytes) -> None:
    value = read(b"[" * MAX_DEPTH + inner + b"]" * MAX_DEPTH)  # type: ignore[operator]  # one of two functions

    assert write({"choices": [{"delta": value}]})


def test_wide_is_not_deep() -> None:
    assert parse(b"[" + b"[]," * 500 + b"[]]") == [[]] * 501


def test_many_numbers_of_many_digits_cost_little() -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match="not valid JSON"):
        parse_lenient(b"[" + (b"9" * 4200 + b",") * 50 + b'"\\ud800"]')

    assert time.process_time() - started < 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.one_of(st.binary(), st.text().map(str.encode), json_values.map(lambda value: json.dumps(value).encode())))
def test_whatever_is_read_can_be_written_and_read_again(data: bytes) -> None:
    for read in (parse, parse_lenient):
        try:
            value = read(data)
        except ValueError:
            continue
        assert parse(write(value)) == value


@given(json_values.map(lambda value: json.dumps(value).encode()))
def test_what_is_read_strictly_is_read_alike_leniently(data: bytes) -> None:
    try:
        value = parse(data)
    except ValueError:
        return
    assert parse_lenient(data) == value


def test_strings_come_in_order_with_keys() -> None:
    value: JSON = {"a": ["b", {"c": "d"}, [], 1, None, True], "e": {}, "f": 2.5, "g": [["h"]], "i": ""}

    assert list(strings(value)) == ["a", "b", "c", "d", "e", "f", "g", "h", "i", ""]
    assert list(strings("alone")) == ["alone"]
    assert list(strings(5)) == []


def test_strings_of_deep_values_cost_no_more_than_those_of_flat_ones() -> None:
    value: JSON = ["x"] * 200_000
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    started = time.process_time()

    assert sum(1 for _ in strings(value)) == 200_000
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (r"\u006bill", "kill"),
        (r'{"a": "\u006b', '{"a": "k'),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud83d", "\ufffd"),
        (r"\ude00\ud83d!", "\ufffd\ufffd!"),
        (r"\n\t\"\\\/\b\f\r", '\n\t"\\/\b\f\r'),
        (r"\\u006b", r"\u006b"),
        (r"\u00", r"\u00"),
        (r"C:\Users\x", r"C:\Users\x"),
        ("plain \U0001f600", "plain \U0001f600"),
        ("", ""),
    ],
)
def test_escapes_are_replaced_by_what_they_stand_for(escaped: str, plain: str) -> None:
    assert unescape(escaped) == plain


@given(st.text())
def test_unescaping_undoes_what_a_writer_of_json_does(text: str) -> None:
    assert unescape(json.dumps(text)) == f'"{text}"'


def test_what_is_no_object_is_an_empty_one() -> None:
    assert as_object({"a": 1}) == {"a": 1}
    others: list[JSON] = [None, [1], "a", 5]
    assert [as_object(value) for value in others] == [{}] * 4


def test_json_is_written_in_one_line_of_utf8_without_blanks() -> None:
    assert write({"a": ["ü\u2028\n", 1]}) == '{"a":["ü\u2028\\n",1]}'.encode()
