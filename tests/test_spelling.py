"""Words in disguise are read as they are meant, and what ordinary text has of signs and digits is left alone."""

# ruff: noqa: RUF001 - Russian words among English ones

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy import spelling
from safety_proxy.edits import Edges, origin

SIGNED = [
    "a b c d e f g",
    "W/A/S/D, x,y,w,h",
    "1 2 3 4 5",
    "a 1 b 2 c 3 d 4",
    "x=a*b+c",
    'r"[a-z_]{1,32}"',
    "火・水・木・金",
    "P_{i}(x)",
    "나 는 이 것",
]


@pytest.mark.parametrize(
    ("disguised", "meant"),
    [
        ("k i l l", "kill"),
        ("k.i.l.l them", "kill them"),
        ("k-i-l-l k_i_l_l k*i*l*l k/i/l/l", "kill kill kill kill"),
        ("k i l l   y o u", "kill you"),
        ("k.i.l.l y.o.u", "kill you"),
        ("d i e  n o w", "die now"),
        ("k.i-l*l", "kill"),
        ("k..i..l..l", "kill"),
        ("k - i - l - l", "kill"),
        ("k\ni\nl\nl", "kill"),
        ("k\u00a0i\u00a0l\u00a0l", "kill"),
        ("k\u2800i\u2800l\u2800l", "kill"),
        ("k 1 l l", "k1ll"),
        ("with a k.i.l.l", "with a kill"),
        ("h o w t o m a k e", "howtomake"),
        ("I will k i l l.", "I will kill."),
        ("у б и т ь", "убить"),
    ],
)
def test_letters_apart_are_a_word(disguised: str, meant: str) -> None:
    assert spelling.may_be_apart(disguised, list(map(len, disguised.split())))
    assert spelling.joined(disguised)[0] == meant


@pytest.mark.parametrize(
    "text",
    [
        "U.S.A. and e.g. J. R. R. Tolkien",
        "a b c",
        "A or B",
        "x - y",
        "I am a b",
        "p.m. on 5-6",
        "vitamin B 12 or C",
        *SIGNED,
    ],
)
def test_initials_are_no_word(text: str) -> None:
    assert spelling.joined(text) == (text, ())


def test_a_word_of_letters_apart_came_from_all_of_them() -> None:
    text, stage = spelling.joined("so k i l l them")
    assert text == "so kill them"
    assert origin([stage], 3, 7) == (3, 10)
    assert origin([stage], 4, 5) == (3, 10)
    assert origin([stage], 8, 12) == (11, 15)


@pytest.mark.parametrize(
    ("disguised", "meant"),
    [
        ("k1ll", "kill"),
        ("I h4te you", "I hate you"),
        ("sh!t", "shit"),
        ("you @ss", "you ass"),
        ("$ex, a$$hole", "sex, asshole"),
        ("5h00t", "shoot"),
        ("ki11 him", "kill him"),
        ('"k1ll" (h4te)', '"kill" (hate)'),
        ("k1ll3r murd3r p0rn v1agra", "killer murder porn viagra"),
        ("b0mb!", "bomb!"),
        ("4774ck 7h3 h4rb0ur 47 d4wn", "attack the harbour at dawn"),
        ("p0150n 7h31r w473r 5upply", "poison their water supply"),
        ("K1LL", "KILL"),
    ],
)
def test_digits_and_signs_in_words_are_letters(disguised: str, meant: str) -> None:
    assert spelling.unleeted(disguised)[0] == meant


@pytest.mark.parametrize(
    "text",
    [
        "mp3 utf8 x86 x86_64 covid19 v2.0 4th 10kg 1st 3D W1A b2b i18n k8s a11y p2p base64 sha256 h264 h265",
        "mail anna@example.org or see https://example.org/a1b2c3?x=1 #a1b, $5, 100%, me@home",
        "7f3a9c21-9d5c-4a6e-8f00-c0ffee123456 and 0x7fff5fbff8a0",
        'x = {"$ref": "#/a", "b": a[0]} # python3.11-slim',
        "Qwen3Guard, Win11Pro7, iPhone15Pro",
        "2026-11-25 at 10:30, 1,000 m",
        "wow! great!! really?!",
        "log4j neo4j gpt4o md5sum sha1sum conv2d int4 v1beta1 float32 ipv4only mp3s h5py s3fs a1c c4",
        "stop!now, if(!x) a!=b, f'{value!r}'",
        "$name $path $item @anna @tom $HOME",
    ],
)
def test_names_numbers_and_addresses_stay(text: str) -> None:
    assert spelling.unleeted(text) == (text, ())


@pytest.mark.parametrize(
    ("disguised", "meant"),
    [
        ("kiiiiill them", "kill them"),
        ("loooove", "love"),
        ("killlll", "kill"),
        ("haaaate aaaand huuuurt", "hate and hurt"),
        ("niiiice fuckkkk", "nice fuck"),
        ("killl", "kill"),
        ("goooood", "good"),
        ("haaappy", "happy"),
        ("уууубить", "убить"),
    ],
)
def test_drawn_out_letters_are_once(disguised: str, meant: str) -> None:
    assert spelling.shortened(disguised)[0] == meant


@pytest.mark.parametrize(
    "text",
    [
        "hmmm",
        "www",
        "XVIII",
        "Mississippi",
        "committee",
        "zzz",
        "aaab\\ufffd",
        "ZSVKdnfffT3E",
        "Schifffahrt",
        "Schneeeule",
        "yyyymmdd",
        "sooo",
    ],
)
def test_what_is_no_drawn_out_word_stays(text: str) -> None:
    assert spelling.shortened(text) == (text, ())


def test_half_a_token_at_an_open_edge_stays() -> None:
    assert spelling.unleeted("k1ll", Edges(left=True)) == ("k1ll", ())
    assert spelling.unleeted("we k1ll", Edges(right=True)) == ("we k1ll", ())
    assert spelling.unleeted("we k1ll", Edges(left=True))[0] == "we kill"


@given(st.text(st.sampled_from("kil1 .aA@$!-\n7\u2800"), max_size=30))
def test_the_quick_tests_miss_nothing(text: str) -> None:
    if spelling.joined(text)[1]:
        assert spelling.may_be_apart(text, [len(word) for word in text.split()])
    if spelling.unleeted(text)[1]:
        assert spelling.may_be_leet(text)
    if spelling.shortened(text)[1]:
        assert spelling.may_be_drawn_out(text)
