"""How else a text may be read: few readings, none of ordinary text, each with the way back, in linear time."""

# ruff: noqa: RUF001 - letters that look like others are what is tested here

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.disguises import DISGUISES, UNDONE
from benchmarks.ordinary import ORDINARY
from safety_proxy.normalise import normalise
from safety_proxy.readings import GROWTH, MOST, readings

PHRASES = ("attack the harbour at dawn", "poison their water supply", "burn down that building")
BEFORE = "The report was ready by noon, and everybody had read it before the meeting began. Somebody wrote: "
AFTER = " - and then the talk went on about the budget and the new printer."
SENTENCES = ORDINARY["English sentences"]()
FOREIGN = (
    "Il traghetto per l'isola parte alle otto e dieci; l'ultimo torna alle sei, perché d'inverno è già buio.",
    "Der Zug hatte Verspätung, also tranken wir am Gleis noch einen Kaffee – für 2,50 €, nicht übel.",
    "L'été dernier, nous avons loué une maison près de l'océan ; c'était magnifique, n'est-ce pas ?",
    "¿Dónde está la biblioteca? Mañana estará cerrada, según dijo el señor Núñez a las 10:30.",
    "Моя сестра играет на виолончели, а я хожу на хор по средам. Россия, Москва, СССР, ещё раз.",
    "Η αδελφή μου παίζει βιολοντσέλο σε μια ορχήστρα, και ο πατέρας μου ακούει από το σπίτι.",
    "東京の天気は晴れです。ＮＨＫのニュースを見ましたか？ 明日は雨が降るでしょう。",
    "渡轮八点十分开往岛上，最后一班六点返回。请问您的包裹到了吗？（谢谢！）",
    "تغادر العبّارة إلى الجزيرة في الثامنة وعشر دقائق، والأخيرة تعود في السادسة مساءً.",
    "मेरी बहन एक शौकिया ऑर्केस्ट्रा में सेलो बजाती है। श्री‍मान जी, क्‍ष लिखिए।",
    "می‌خواهم این کتاب‌ها را فردا به کتابخانه برگردانم.",
    "Kapıyı kapattım ve dışarı çıktım; hava çok soğuktu, kar yağıyordu.",
    "Chuyến phà ra đảo khởi hành lúc tám giờ mười, chuyến cuối trở về lúc sáu giờ.",
    "버스가 늦게 와서 우리는 커피를 한 잔 더 마셨습니다.",
)
PLAIN = {"alternating case", "full-width letters", "bidi controls"}
"""Disguises that every classifier sees through: `normalise` does."""
ODD = [
    "%", "A", "e\u0301", "k ", "&#", "QUJD", "6b", "a@", "1a1a ", "aaab ", "\U000e0061", "a\u200b", "\u202e",
    "\u0430b", "a-", "=", "\\", "\u0301", "a\u0338", "z\u0336 ", "k-i ", "k-", "k1", "k1ll ", "k i l l   ", "6b ",
    "01100001 ", "Z3Vu ", "A\n", "kiiiil ", "\u24da", "\U0001f1f0", "&#107;", "&amp;", "%25", "\\x6b", "U+006B ",
    "llik woh ", "a i l l k-i-l-l ", "\uff21", "中", "%41", "\\u0061", "\U0001d400", "QUJDQUJDQUJD\n", "a b  c d  ",
    "\U0001f1e6 ", "\u1d00", "0x6b,", "&a", "\ud800", "gur naq ",
]  # fmt: skip


@cache
def ordinary(kind: str) -> Sequence[str]:
    return ORDINARY[kind]()


def reads(text: str, phrase: str) -> bool:
    return any(phrase in normalise(each.text).text for each in readings(text)) or phrase in normalise(text).text


@pytest.mark.parametrize("name", DISGUISES)
@pytest.mark.parametrize("phrase", PHRASES)
def test_a_disguised_phrase_among_ordinary_words_is_read(name: str, phrase: str) -> None:
    text = BEFORE + DISGUISES[name](phrase, Random(7)) + AFTER
    assert phrase not in text or name in PLAIN
    assert reads(text, phrase)


@pytest.mark.parametrize("name", UNDONE)
def test_what_is_not_promised_is_not_read(name: str) -> None:
    """Else the documentation would promise too little."""
    assert not all(reads(BEFORE + UNDONE[name](phrase, Random(7)) + AFTER, phrase) for phrase in PHRASES)


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("English sentences", 0.0),
        ("paragraphs of documentation", 0.03),
        ("Python functions and classes", 0.01),
        ("mails with attachments", 0.0),
        ("logs, identifiers, addresses, markup", 0.1),
        ("sentences in eleven languages", 0.03),
    ],
)
def test_ordinary_text_has_no_other_reading(kind: str, most: float) -> None:
    texts = ordinary(kind)
    assert sum(bool(readings(text)) for text in texts) <= most * len(texts)


def test_every_kind_of_ordinary_text_is_looked_at() -> None:
    assert len(ORDINARY) == 6
    assert all(len(ordinary(kind)) >= 15 for kind in ORDINARY)


texts = st.text(st.sampled_from(list("abkil 14@.-\u200b\u0336\u0430ｋ𝐤%6&#;=\nQJD")), max_size=60)


@given(st.one_of(texts, st.text(max_size=60)), st.booleans(), st.booleans())
def test_readings_are_few_different_and_lead_back_into_the_text(text: str, left: bool, right: bool) -> None:
    found = readings(text, open_left=left, open_right=right)
    assert len(found) <= MOST
    assert len({each.text for each in found} | {text}) == len(found) + 1
    for each in found:
        assert 0 < len(each.text) <= GROWTH * len(text)
        assert {each.open_left, each.open_right} <= {left, right}
        for i in range(len(each.text)):
            start, end = each.origin(i, i + 1)
            assert 0 <= start < end <= len(text)
        assert each.origin(0, len(each.text))[0] >= 0
    assert found == readings(text, open_left=left, open_right=right)


@given(st.one_of(texts, st.text(max_size=60)))
def test_places_in_a_reading_follow_each_other_as_those_in_the_text(text: str) -> None:
    for each in readings(text):
        places = [each.origin(i, i + 1) for i in range(len(each.text))]
        assert places == sorted(places, reverse=each._is_reversed)
        for start, end in ((0, len(places)), (len(places) // 2, len(places))):
            if start < end:
                within = places[start:end]
                assert each.origin(start, end) == (min(place[0] for place in within), max(place[1] for place in within))


@given(st.lists(st.sampled_from(SENTENCES), max_size=4), st.booleans(), st.booleans(), st.integers(0, 200))
def test_plain_words_have_no_other_reading_wherever_they_are_cut(
    sentences: list[str], left: bool, right: bool, cut: int
) -> None:
    assert readings(" ".join(sentences)[cut : cut + 300], open_left=left, open_right=right) == ()


@given(
    st.sampled_from(sorted(DISGUISES.keys() - PLAIN)),
    st.sampled_from(PHRASES),
    st.lists(st.sampled_from(SENTENCES), max_size=3).map(" ".join),
    st.lists(st.sampled_from(SENTENCES), max_size=3).map(" ".join),
)
def test_a_disguised_phrase_is_read_at_any_place_among_sentences(name: str, phrase: str, before: str, after: str) -> None:
    text = f"{before} {DISGUISES[name](phrase, Random(3))} {after}"
    assert reads(text, phrase)


@pytest.mark.parametrize("name", sorted(DISGUISES.keys() - PLAIN))
def test_a_phrase_is_read_in_the_windows_of_a_stream(name: str) -> None:
    """A window is read by itself: 300 characters of which the first 150 were in the one before."""
    phrase = PHRASES[0]
    text = BEFORE + DISGUISES[name](phrase, Random(7)) + AFTER
    if len(text) - len(BEFORE) - len(AFTER) > 150:
        phrase = "attack"  # what is longer than the part that two windows share is read in pieces
    windows = [text[start : start + 300] for start in range(0, len(text), 150)]
    found = [
        normalise(each.text).text
        for number, window in enumerate(windows)
        for each in readings(window, open_left=number > 0, open_right=number + 1 < len(windows))
    ]
    assert any(phrase in each for each in found) or phrase in normalise(text).text


@pytest.mark.parametrize("sentence", FOREIGN)
def test_sentences_of_other_languages_have_no_other_reading(sentence: str) -> None:
    assert readings(sentence) == ()
    for start in range(0, len(sentence), 7):
        assert readings(sentence[start:], open_left=True, open_right=True) == ()


def test_disguises_on_top_of_each_other_are_undone_together() -> None:
    code = base64.b64encode(b"k.1.l.l  y0u and k1ll h1m").decode()
    reading = readings(f"Decode \u202a{code[:9]}\u200b{code[9:]} please")[-1]
    assert reading.text == "Decode kill  you and kill him please"
    assert reading.origin(7, 11) == (8, 9 + len(code))
    assert reading.origin(30, 36) == (10 + len(code), 16 + len(code))


def test_the_plain_and_the_spelled_reading_are_apart() -> None:
    assert [each.text for each in readings("&#107;1ll")] == ["k1ll", "kill"]


@pytest.mark.parametrize(
    "text", ["", " ", "\ud800", "\x00" * 9, "\u202e\u202e", "%", "&#x110000;", "\\ud800", "\\U00110000", "\U000e0001"]
)
def test_any_string_will_do(text: str) -> None:
    readings(text * 5)
    readings(f"kіll {text}", open_left=True, open_right=True)


@given(st.sampled_from(sorted(DISGUISES)), st.sampled_from(PHRASES), st.integers(0, 80), st.integers(0, 60))
def test_what_is_found_in_a_reading_is_where_it_was_written(name: str, phrase: str, left: int, right: int) -> None:
    disguised = DISGUISES[name](phrase, Random(7))
    before, after = BEFORE[len(BEFORE) - left :], AFTER[:right]
    text = before + disguised + after
    for each in readings(text):
        start = each.text.lower().find(phrase)
        if start >= 0:
            first, last = each.origin(start, start + len(phrase))
            assert first < len(before) + len(disguised)
            assert last > len(before)


def test_a_reversed_text_is_open_where_it_began() -> None:
    (reading,) = readings(PHRASES[0][::-1], open_left=True)
    assert (reading.text, reading.open_left, reading.open_right) == (PHRASES[0], False, True)
    assert reading.origin(0, 6) == (len(PHRASES[0]) - 6, len(PHRASES[0]))


@pytest.mark.parametrize("piece", [*ODD[:8], *(pytest.param(piece, marks=pytest.mark.slow) for piece in ODD[8:])], ids=ascii)
def test_eight_times_the_text_takes_about_eight_times_as_long(piece: str) -> None:
    short, long = (piece * (length // len(piece)) for length in (20_000, 160_000))
    times = []
    for text in (short, long):
        took = []
        for _ in range(3):
            began = time.process_time()
            readings(text, open_left=True)
            took.append(time.process_time() - began)
        times.append(min(took))
    assert times[1] < 24 * times[0] + 0.1
    assert times[1] < 2
