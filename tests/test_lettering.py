"""Letters in disguise are undone, and what ordinary text needs is left alone."""

# ruff: noqa: RUF001 - that letters mislead is the point

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from safety_proxy import lettering
from safety_proxy.edits import WHOLE, Edges, Stage

Step = Callable[[str, Edges], tuple[str, Stage]]


def undone(step: Step, text: str) -> str:
    plain, stage = step(text, WHOLE)
    assert bool(stage) == (plain != text)
    return plain


@pytest.mark.parametrize(
    ("step", "disguised", "plain"),
    [
        (lettering.turned, "say \u202enoos\u202c now", "say soon now"),
        (lettering.turned, "say \u202enoos", "say soon"),
        (lettering.without_hidden, "k\u200bi\u200cl\u2060l them", "kill them"),
        (lettering.without_hidden, "k\u00adill", "kill"),
        (lettering.without_hidden, "k\ufe0fi\ufe0fl\ufe0fl\ufe0f", "kill"),
        (lettering.without_hidden, "уби\u200bть", "убить"),
        (lettering.without_hidden, "k\u200b1ll", "k1ll"),
        (lettering.without_hidden, "k\u200b i\u200b l\u200b l", "k i l l"),
        (lettering.unstyled, "𝐤𝐢𝐥𝐥 ｋｉｌｌ ⓚⓘⓛⓛ 𝖐𝖎𝖑𝖑 𝓀𝒾𝓁𝓁", "kill kill kill kill kill"),
        (lettering.unstyled, "ᴋɪʟʟ ᴛʜᴇᴍ", "kill them"),
        (lettering.unstyled, "🅺🅸🅻🅻 🅚🅘🅛🅛", "kill kill"),
        (lettering.unstyled, "k𝒾ll Kℹll", "kill Kill"),
        (lettering.unstyled, "r🅰️ping".replace("\ufe0f", ""), "raping"),
        (lettering.unstyled, "ⓚ ⓘ ⓛ ⓛ ⒦⒤⒧⒧", "k i l l kill"),
        (lettering.unstyled, "ᵏⁱˡˡ", "kill"),
        (lettering.unstyled, "ｋｉｌｌ 人を", "kill 人を"),
        (lettering.unstyled, "Ｋｉｌｌ 𝐊𝐈𝐋𝐋", "Kill KILL"),
        (lettering.without_flags, "🇰🇮🇱🇱", "kill"),
        (lettering.without_flags, "🇰 🇮 🇱 🇱", "k i l l"),
        (lettering.unmarked, "k\u0336i\u0336l\u0336l\u0336", "kill"),
        (lettering.unmarked, "k\u0301\u0302\u0303i\u0307\u0323\u0330l\u0320\u0321\u0322l", "kill"),
        (lettering.unmasked, "kіll аttасk", "kill attack"),
        (lettering.unmasked, "kιll", "kill"),
        (lettering.unmasked, "асе", "ace"),
        (lettering.unmasked, "ΚΙΟ Kill", "KIO Kill"),
    ],
)
def test_a_disguise_is_undone(step: Step, disguised: str, plain: str) -> None:
    assert undone(step, disguised) == plain


@pytest.mark.parametrize(
    "text",
    [
        "naïve café, Zürich, façade, Việt Nam, Łódź",
        unicodedata.normalize("NFD", "naïve café, Zürich, façade, Việt Nam, ngõ hẻm"),
        "“quoted” – and … so on, 5½ m², H₂O, 20 °C, №7, ™ ﬁne ﬂow",
        "👨\u200d👩\u200d👧 ❤\ufe0f 🏳\ufe0f\u200d🌈 🇮🇹 👍🏽",
        "می\u200cخواهم کتاب\u200cها",
        "क्\u200dष श्री\u200dमान",
        "Москва, Россия: он и она, что это за рост",
        "Ελλάδα: ένα, δύο, τρία· ο και η",
        "α and β, Δx, π/2, 5 μm, TNFα, NFκB, sinα, β-carotene",
        "Мама мыла раму. СССР, хор, оса. USB-кабель, IT-отдел, iPhone'ом",
        "Kapıyı kapattım, kılıç kırıldı, ağır",
        "ˈkʌlə /ɡʊd/ ʃɪp",
        "ＮＨＫの番組とＤＶＤ、ｗｗｗ",
        "x² + y² = zⁿ, 1ˢᵗ, ℝ, ℕ, CO₂",
        "ẹ̀kọ́ ọmọ, m̀ kò lọ",
        "\ufeffHello \u2068John\u2069, \u200fשלום\u200f",
        "1ª 2º x² the blood type 🅰 or 🅱",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    for step in lettering.STEPS:
        assert undone(step, text) == text


def test_half_a_word_of_look_alikes_may_be_half_a_word_of_russian() -> None:
    assert lettering.unmasked("рос", Edges(left=True)) == ("рос", ())
    assert lettering.unmasked("the рос", Edges(right=True)) == ("the рос", ())
    assert lettering.unmasked("the рос", Edges(left=True))[0] == "the poc"


def test_flags_side_by_side_stay_flags_unless_they_are_a_word() -> None:
    assert undone(lettering.without_flags, "🇮🇹 and 🇫🇷, 🇫🇷🇩🇪") == "🇮🇹 and 🇫🇷, 🇫🇷🇩🇪"


@pytest.mark.parametrize("char", ["\ud800", "\x00", "\u202e", "\U000e0001", "\u0301"])
def test_no_text_is_too_odd(char: str) -> None:
    for step in lettering.STEPS:
        step(char * 5 + "a" + char * 5, WHOLE)
