"""Texts that are hashed, masked or cut."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.errors import ClassifierError
from safety_proxy.jsontext import strings, write
from safety_proxy.model import (
    JSON,
    Action,
    Annotation,
    Category,
    Decision,
    Image,
    Kind,
    Prompt,
    PromptText,
    Query,
    Span,
    Verdict,
)
from safety_proxy.moderation import Judged
from safety_proxy.rule import Outcome
from safety_proxy.server.audit_texts import Cutter, Findings, Hashing, hashed_prompt, masked, withheld

VIOLENT = Decision(Action.FILTER, {Category.VIOLENCE: Annotation(True, 6)})
ALLOWED = Decision(Action.ALLOW, {Category.VIOLENCE: Annotation(False, 2)})

documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def judged(text: str, *spans: Span, decision: Decision = VIOLENT, **others: Outcome) -> Judged:
    return Judged(Query(text, Kind.USER_PROMPT), decision, {"c": Verdict(spans=spans), **others})


def heard(*told: Judged) -> Findings:
    findings = Findings()
    findings.hear(told)
    return findings


# ------------------------------------------------------------------------------------------------------------- hashing


def test_texts_and_pictures_are_hashed_by_their_place() -> None:
    image = Image("image/png", b"picture")
    prompt = Prompt(
        (
            PromptText(Query("ü", Kind.USER_PROMPT), "user", "messages[0].content"),
            PromptText(Query("", Kind.IMAGE, images=(image,)), "user", "messages[1].zebra"),
        )
    )
    text, picture = hashed_prompt(prompt, Hashing())
    assert text == {
        "field": "messages[0].content",
        "role": "user",
        "characters": 1,
        "sha256": hashlib.sha256("ü".encode()).hexdigest(),
    }
    assert picture == {
        "field": "messages[1].*",
        "role": "user",
        "bytes": 7,
        "sha256": hashlib.sha256(b"picture").hexdigest(),
    }


def test_a_secret_changes_the_hash_and_its_name_and_is_not_shown() -> None:
    one, other = Hashing(b"first"), Hashing(b"second")
    assert one.tell(b"a") != other.tell(b"a")
    assert set(one.tell(b"a")) == {"hmac_sha256"}
    assert "first" not in repr(one)


# ------------------------------------------------------------------------------------------------------------- masking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing to see", "nothing to see"),
        ("jo.doe+x@mail.example.org!", "[email]"),
        ("12 of 345", "[number] of [number]"),
        ("٣", "[number]"),
        (f"key {'aB3' * 30}", "key [data]"),
        ("語" * 80, "語" * 80),
    ],
)
def test_what_tells_who_somebody_is_is_masked(text: str, expected: str) -> None:
    assert heard().masks()(text) == expected


def test_what_was_found_is_masked_wherever_it_stands_the_longest_first() -> None:
    findings = heard(judged("kill them all", Span(0, 4, "violence"), Span(0, 9, "violence"), Span(10, 13, "words")))
    assert findings.masks()("do kill them, kill all") == "do [violence], [violence] [words]"


def test_words_of_the_formats_stay_and_keys_are_masked() -> None:
    findings = heard(judged("user zebra", Span(0, 4, "hate"), Span(5, 10, "hate")))
    body: JSON = {"role": "user", "zebra": ["zebra", 7, None, True]}
    assert masked(body, findings.masks()) == {"role": "user", "[hate]": ["[hate]", 7, None, True]}


def test_what_can_be_masked_is_not_withheld() -> None:
    findings = heard(judged("kill them", Span(0, 4, "violence")))
    assert not findings.withhold(["so kill"])


@pytest.mark.parametrize(
    "told",
    [
        judged("kill them"),
        judged("kill them", Span(0, 4, "another")),
        judged("kill them", Span(4, 5, "violence")),
        judged("a", decision=Decision(Action.FAIL, error="timeout"), d=ClassifierError("timeout")),
        judged("kill them", Span(0, 4, "violence"), decision=Decision(Action.FILTER, blocklists={"words": True})),
    ],
    ids=["no place", "another's place", "a blank", "no verdict", "a list without a place"],
)
def test_where_nobody_can_point_at_it_all_is_withheld(told: Judged) -> None:
    assert heard(told).withhold(["kill them"])
    assert withheld("kill them") == "[withheld]"


def test_what_stands_across_two_texts_withholds_them() -> None:
    """It was found in a seam."""
    assert heard(judged("kill them", Span(0, 9, "violence"))).withhold(["kill", "them"])


def test_what_was_only_annotated_withholds_nothing() -> None:
    findings = heard(judged("kill them", Span(0, 9, "violence"), decision=ALLOWED))
    assert not findings.withhold(["elsewhere"])


def test_many_places_withhold_all() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    findings = heard(*(judged(text[i], Span(0, 1, "violence")) for i in range(600)))
    assert findings.masks()(text) == "[withheld]"
    assert len(findings.words) < 600


# ------------------------------------------------------------------------------------------------------------- cutting


@given(documents)
def test_what_fits_stays_as_it_is(value: JSON) -> None:
    assert Cutter(100_000).cut(value) == value


@given(documents, st.integers(0, 50))
def test_what_does_not_fit_is_bounded_and_marked(value: JSON, room: int) -> None:
    cut = Cutter(room).cut(value)
    assert sum(map(len, strings(cut))) <= room + 40 * (1 + len([*strings(cut)]))
    if cut != value:
        assert " cut]" in json.dumps(cut)
    write(cut)


def test_a_text_is_cut_where_the_room_ends() -> None:
    assert Cutter(3).cut("abcde") == "abc[2 characters cut]"
    assert Cutter(10).cut(["abc", "d", "e"]) == ["abc", "[2 items cut]"]
    assert Cutter(9).cut({"a": "bcd", "e": 1}) == {"a": "bcd", "[cut]": "[1 fields cut]"}
