from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from safety_proxy.documents import LARGEST, Document, parse, read, seconds, validate
from safety_proxy.errors import ConfigError


def refusal(model: type[BaseModel], text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(model, parse(text, "f.yaml"))
    hidden = caught.value.__suppress_context__ and caught.value.__cause__ is None
    assert hidden, "pydantic's own error, which cites values, would be printed too"
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------- reading


def test_a_document_knows_the_line_of_a_key_or_of_what_is_around_it() -> None:
    document = parse("# c\na:\n  b: [1,\n    2]\n", "f.yaml")
    assert document.content == {"a": {"b": [1, 2]}}
    assert document.line(()) == 2
    assert document.line(("a", "b")) == 3
    assert document.line(("a", "b", 1)) == 4
    assert document.line(("a", "b", 7, "x")) == 3
    assert document.line(("a", "missing")) == 2
    assert document.line(("missing",)) == 2


def test_an_object_that_came_as_json_has_no_lines() -> None:
    document = Document("request", {"a": 1})
    assert document.line(("a",)) is None
    assert str(document.error("is wrong", ("a",))) == "request: a: is wrong"


def test_an_error_tells_file_line_and_field() -> None:
    error = parse("a: 1\nb:\n  - c: 1\n", "f.yaml").error("is wrong", ("b", 0, "c"))
    assert (error.file, error.line, error.field, error.message) == ("f.yaml", 3, "b[0].c", "is wrong")
    assert str(error) == "f.yaml:3: b[0].c: is wrong"


def test_an_error_about_the_whole_document_names_no_field() -> None:
    assert str(parse("\na: 1", "f.yaml").error("is wrong")) == "f.yaml:2: is wrong"


def test_a_file_is_read_as_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 1\r\n")
    document = read(path)
    assert document.content == {"a": "é", "b": 1}
    assert document.line(("b",)) == 2
    assert document.file == str(path)


def test_a_file_in_another_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"p\.yaml:2: is not UTF-8$"):
        read(path)


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("excess", [0, 1])
def test_a_file_may_be_one_mebibyte_long_and_no_longer(tmp_path: Path, excess: int) -> None:
    path = tmp_path / "p.yaml"
    text = "a: é".ljust(LARGEST - 1 + excess)
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size == LARGEST + excess
    if not excess:
        assert read(path).content == {"a": "é"}
        return
    with pytest.raises(ConfigError, match="is longer than 1048576 bytes"):
        read(path)
    with pytest.raises(ConfigError, match="is longer than 1048576 bytes"):
        parse(text, "p.yaml")


@pytest.mark.parametrize(("written", "meant"), [("250ms", 0.25), ("1.5s", 1.5), ("15s", 15.0), ("2m", 120.0), ("0s", 0.0)])
def test_durations_have_a_unit(written: str, meant: float) -> None:
    assert seconds(written) == meant


@pytest.mark.parametrize(
    "written", ["", "15", "s", "1h", "-1s", "1 s", "1e3s", ".5s", "1.s", "1s\n", "\u0661s", "inf", "9" * 400 + "s"]
)
def test_anything_else_is_no_duration(written: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 250ms"):
        seconds(written)


# ---------------------------------------------------------------------------------------------------------- validating


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Cat(Strict):
    type: Literal["cat"]
    lives: int = Field(default=9, ge=1, le=9)


class Dog(Strict):
    type: Literal["dog"]
    tail: float = Field(default=0.5, gt=0, lt=1)


class House(Strict):
    cat: Cat


class Yard(Strict):
    name: str = Field(default="x", pattern="^[a-z]+$", min_length=1, max_length=5)
    mood: Literal["calm", "loud"] = "calm"
    open: bool = True
    pets: dict[str, Annotated[Cat | Dog, Field(discriminator="type")]] = {}
    key: str | Cat = "none"
    friends: list[Cat] = Field(default=[], max_length=2)
    pair: Annotated[list[int], Field(min_length=1)] = [1]
    gate: Cat | None = Field(default=None, alias="front-gate")
    house: str | House = "none"
    odd: tuple[int, ...] | None = None
    secret: str = ""

    @field_validator("secret")
    @classmethod
    def _refuse_short(cls, secret: str) -> str:
        if len(secret) == 3:
            raise ValueError("is too easy to guess")
        return secret


def test_a_valid_document_becomes_a_model() -> None:
    yard = validate(Yard, parse("pets: {tom: {type: cat, lives: 7}}\nfront-gate: {type: cat}", "f.yaml"))
    assert yard.pets == {"tom": Cat(type="cat", lives=7)}
    assert yard.gate == Cat(type="cat")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mod: calm", "f.yaml:1: mod: unknown key; did you mean `mood`?"),
        ("front_gate: {}", "f.yaml:1: front_gate: unknown key; did you mean `front-gate`?"),
        ("front-gate:\n  type: cat\n  life: 3", "f.yaml:3: front-gate.life: unknown key; did you mean `lives`?"),
        ("friends:\n  - type: cat\n    live: 3", "f.yaml:3: friends[0].live: unknown key; did you mean `lives`?"),
        ("pets:\n  tom:\n    type: cat\n    zzz: 3", "f.yaml:4: pets.tom.zzz: unknown key; known here: type, lives, tail"),
        ("name: 12", "f.yaml:1: name: must be text (put numbers and the like in quotes)"),
        ("name: UPPER", "f.yaml:1: name: must have the form ^[a-z]+$"),
        ("name: ''", "f.yaml:1: name: must have at least 1 character(s)"),
        ("name: abcdef", "f.yaml:1: name: must have at most 5 characters"),
        ("\nmood: angry", "f.yaml:2: mood: must be `calm` or `loud`"),
        ("open: 1", "f.yaml:1: open: must be true or false"),
        ("friends: {}", "f.yaml:1: friends: must be a list"),
        ("pets: []", "f.yaml:1: pets: must be a mapping (key: value)"),
        ("friends: [1]", "f.yaml:1: friends[0]: must be a mapping (key: value)"),
        ("friends:\n- {type: cat}\n- {lives: 1}", "f.yaml:3: friends[1].type: is required"),
        ("friends: [{type: cat}, {type: cat}, {type: cat}]", "f.yaml:1: friends: must have at most 2 items"),
        ("pair: []", "f.yaml:1: pair: must have at least 1 item(s)"),
        ("pair: [1.5]", "f.yaml:1: pair[0]: must be a whole number"),
        ("pair: [true]", "f.yaml:1: pair[0]: must be a whole number"),
        ("pets:\n  tom: {type: cat, lives: 0}", "f.yaml:2: pets.tom.lives: must be at least 1"),
        ("pets:\n  tom: {type: cat, lives: 10}", "f.yaml:2: pets.tom.lives: must be at most 9"),
        ("pets: {rex: {type: dog, tail: 0}}", "f.yaml:1: pets.rex.tail: must be more than 0.0"),
        ("pets: {rex: {type: dog, tail: 1}}", "f.yaml:1: pets.rex.tail: must be less than 1.0"),
        ("pets: {rex: {type: dog, tail: x}}", "f.yaml:1: pets.rex.tail: must be a number"),
        ("pets: {rex: {type: cow}}", "f.yaml:1: pets.rex: must have `type` set to one of `cat`, `dog`"),
        ("pets: {rex: {}}", "f.yaml:1: pets.rex: must have `type` set"),
        ("key: {type: cat, lives: 0}", "f.yaml:1: key.lives: must be at least 1"),
        ("key: {type: cat, live: 1}", "f.yaml:1: key.live: unknown key; did you mean `lives`?"),
        ("key: {live: 1}", "f.yaml:1: key.live: unknown key; did you mean `lives`?"),
        ("house: {cat: {type: cat, live: 1}}", "f.yaml:1: house.cat.live: unknown key; did you mean `lives`?"),
        ("odd: [1]", "f.yaml:1: odd: must be a list"),
        ("secret: abc", "f.yaml:1: secret: is too easy to guess"),
    ],
)
def test_a_mistake_is_told_in_our_words_with_its_place(text: str, error: str) -> None:
    assert refusal(Yard, text) == error


def test_the_first_mistake_of_the_file_is_told_whatever_the_order_of_the_model() -> None:
    assert refusal(Yard, "open: 1\nname: 2") == "f.yaml:1: open: must be true or false"


def test_a_misspelt_key_is_told_before_the_key_that_is_missing_for_it() -> None:
    assert refusal(Cat, "lives: 3\ntpye: cat") == "f.yaml:2: tpye: unknown key; did you mean `type`?"


def test_a_key_where_nothing_is_known_is_told_so() -> None:
    class Empty(Strict):
        pass

    assert refusal(Empty, "a: 1") == "f.yaml:1: a: unknown key; known here: none"


def test_an_error_that_has_no_words_yet_does_not_cite_the_value() -> None:
    class Other(Strict):
        path: Annotated[list[int], Field(strict=False)] | set[int]
        when: Annotated[complex, Field(strict=True)] = 0

    assert refusal(Other, "path: [1]\nwhen: hunter2") == "f.yaml:2: when: is not valid"


@pytest.mark.parametrize("field", ["name", "mood", "open", "friends", "pair", "key", "front-gate", "odd", "pets"])
def test_no_value_is_ever_shown(field: str) -> None:
    for value in ("HUNTER2-HUNTER2", "[HUNTER2-HUNTER2]", "{type: HUNTER2-HUNTER2}", "{HUNTER2: {type: HUNTER2-HUNTER2}}"):
        try:
            validate(Yard, parse(f"{field}: {value}", "f.yaml"))
        except ConfigError as error:
            assert "HUNTER2-HUNTER2" not in str(error)  # noqa: PT017  # some of the values are valid somewhere
