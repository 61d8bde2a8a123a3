"""Claims about the texts of cases: all are there under the names that spans use, and marks stand where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.dialects.evaluation import read_evaluation
from safety_proxy.harness.cases import Case
from safety_proxy.harness.html_markup import escape
from safety_proxy.harness.html_texts import CONTEXT, SHORT, Text, excerpts, kind_of, marked, places, text_block, texts_of
from safety_proxy.harness.outcome import FoundSpan
from safety_proxy.model import Category, JSONObject
from tests.harness.markup import parsed


def span(start: int, end: int, label: str = "violence", field: str = "text") -> FoundSpan:
    return FoundSpan(field, start, end, label, "embedded")


def texts(body: JSONObject) -> dict[str, str]:
    return {each.field: each.text for each in texts_of(Case("a", "a.yaml:1", body))}


SPANS = st.lists(
    st.builds(span, st.integers(0, 50), st.integers(0, 50), st.sampled_from(["violence", "hate", "list"])), max_size=6
)

# ---------------------------------------------------------------------------------------------------------- which texts

CALL: JSONObject = {"id": "1", "type": "function", "function": {"name": "buy", "arguments": '{"item": "knife"}'}}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"text": "Hi"}, {"text": "Hi"}),
        ({"prompt": "Hi", "completion": "Ho"}, {"prompt": "Hi", "completion[0].text": "Ho"}),
        ({"prompt": ["Hi", [1, 2]]}, {"prompt[0]": "Hi", "prompt[1]": "[\n  1,\n  2\n]"}),
        ({"completion": "Ho"}, {"completion[0].content": "Ho"}),
        ({"completion": ["Ho", "Hu"]}, {"completion[0].content": "Ho", "completion[1].content": "Hu"}),
        (
            {"completion": {"role": "assistant", "reasoning": "Hm", "content": None, "tool_calls": [CALL]}},
            {
                "completion[0].reasoning": "Hm",
                "completion[0].tool_call:0.name": "buy",
                "completion[0].tool_call:0.arguments": '{"item": "knife"}',
            },
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Ho", "x": 1}]}
                ]
            },
            {
                "messages[0].content[0].text": "Hi",
                "messages[0].content[1].text": "Ho",
                "messages[0].content[1]": '{\n  "x": 1\n}',
            },
        ),
        (
            {"messages": [{"role": "user", "content": ["Hi", {"type": "image_url", "image_url": {"url": "data:x"}}]}, "?"]},
            {
                "messages[0].content[0]": "Hi",
                "messages[0].content[1]": '{\n  "type": "image_url",\n  "image_url": {\n    "url": "data:x"\n  }\n}',
                "messages[1]": "?",
            },
        ),
        ({"text": "Hi", "tools": [{"a": "b"}]}, {"text": "Hi", "tools": '[\n  {\n    "a": "b"\n  }\n]'}),
    ],
)
def test_every_text_is_there_under_its_field(body: JSONObject, named: dict[str, str]) -> None:
    assert texts(body) == named


@pytest.mark.parametrize(
    "body",
    [
        {"text": "Hi there"},
        {"prompt": "Hi there"},
        {"prompt": ["Hi there", "you"]},
        {"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Yes", "refusal": "No"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi there"}, "you"]}]},
    ],
)
def test_fields_are_named_as_the_engine_names_them(body: JSONObject) -> None:
    """What is written there like this has an offset."""
    prompt = read_evaluation({**body}).prompt
    assert prompt is not None
    judged = {each.field: each.query.text for each in prompt.texts if each.query.offset is not None}
    assert judged
    assert judged.items() <= texts(body).items()


@pytest.mark.parametrize(
    "completion", ["Ho ho", {"content": "Ho ho", "reasoning": "Hm"}, {"tool_calls": [CALL]}, ["Ho ho", {"content": "Hu"}]]
)
def test_channels_of_a_completion_are_named_as_the_engine_names_them(completion: JSONObject) -> None:
    choices = read_evaluation({"completion": completion}).choices
    said = {
        f"completion[{i}].{each.channel}": each.text
        for i, chunk in enumerate(choices)
        for each in chunk.segments
        if each.text
    }
    assert said
    assert said.items() <= texts({"completion": completion}).items()


def test_who_wrote_a_text_is_told() -> None:
    case = Case("a", "a.yaml:1", {"messages": [{"role": "tool", "content": "Hi"}], "completion": "Ho"})
    assert [each.role for each in texts_of(case)] == ["tool", "assistant"]


# ---------------------------------------------------------------------------------------------------------------- marks


@given(st.text(max_size=40), SPANS)
def test_marks_change_no_text_and_stand_on_every_character_that_was_found(text: str, spans: list[FoundSpan]) -> None:
    letters = "".join(each if escape(each) != "\ufffd" else "?" for each in text)  # those have tests of their own
    root = parsed(marked(letters, spans, 0, len(letters)))
    assert root.text == letters
    labelled: list[set[str]] = []
    for child in root.children:
        labels = set() if isinstance(child, str) else set((child.attributes["title"] or "").split(", "))
        labelled += [labels] * len(child if isinstance(child, str) else child.text)
    assert labelled == [{each.label for each in spans if each.start <= i < each.end} for i in range(len(letters))]


def test_overlapping_spans_share_a_mark_where_they_overlap() -> None:
    marks = parsed(marked("abcdef", [span(0, 4), span(2, 6, "hate")], 0, 6)).all("mark")
    assert [(mark.text, mark.attributes["title"]) for mark in marks] == [
        ("ab", "violence"),
        ("cd", "hate, violence"),
        ("ef", "hate"),
    ]
    assert "several" in marks[1].classes


def test_the_same_thing_found_twice_is_one_mark() -> None:
    marks = parsed(marked("abcdef", [span(0, 4), span(2, 6)], 0, 6)).all("mark")
    assert "".join(mark.text for mark in marks) == "abcdef"
    assert not any("several" in mark.classes for mark in marks)


def test_spans_beyond_the_text_or_turned_around_mark_nothing() -> None:
    assert marked("abc", [span(3, 9), span(2, 1), span(-4, 0)], 0, 3) == "abc"


def test_characters_count_not_bytes() -> None:
    (mark,) = parsed(marked("👩é knife", [span(3, 8)], 0, 8)).all("mark")
    assert mark.text == "knife"


def test_hostile_text_and_labels_stay_inside() -> None:
    text = Text("</code><script>", "</pre></mark><script>alert(1)</script>", "<i>")
    root = parsed(text_block(text, [span(0, 12, '"><script>')], 100))
    assert root.all("script") == []
    assert root.one("pre").text == text.text


@pytest.mark.parametrize(
    ("label", "kind"), [(Category.SELF_HARM, "self-harm"), ("my list", "blocklist"), ('"><', "blocklist")]
)
def test_what_was_found_has_the_class_of_its_category_or_of_blocklists(label: str, kind: str) -> None:
    assert kind_of(label) == kind


# ----------------------------------------------------------------------------------------------------------------- long


def test_a_short_text_is_shown_whole() -> None:
    assert excerpts(SHORT, [span(5, 9)]) == [(0, SHORT)]
    assert parsed(text_block(Text("text", "x" * SHORT), [], 9)).all("details") == []


def test_a_long_text_is_shown_around_what_was_found() -> None:
    assert excerpts(50_000, [span(1_000, 1_009), span(30_000, 30_002)]) == [
        (1_000 - CONTEXT, 1_009 + CONTEXT),
        (30_000 - CONTEXT, 30_002 + CONTEXT),
    ]


def test_of_a_long_text_in_which_nothing_was_found_the_beginning_is_shown() -> None:
    assert excerpts(50_000, []) == excerpts(50_000, [span(60_000, 60_001)]) == [(0, SHORT)]


def test_of_a_long_span_both_ends_are_shown() -> None:
    assert excerpts(50_000, [span(0, 50_000)]) == [(0, CONTEXT), (50_000 - CONTEXT, 50_000)]


def test_however_much_was_found_an_excerpt_is_short() -> None:
    shown = excerpts(1_000_000, [span(i, i + 2) for i in range(0, 1_000_000, 500)])
    assert sum(end - start for start, end in shown) <= 3_000


@given(st.integers(0, 3_000), st.lists(st.builds(span, st.integers(0, 3_500), st.integers(0, 3_500)), max_size=8))
def test_excerpts_are_in_order_and_apart(length: int, spans: list[FoundSpan]) -> None:
    edges = [edge for shown in excerpts(length, spans) for edge in shown]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= length


def test_of_a_long_text_it_is_told_how_much_is_left_out_and_the_whole_can_be_unfolded() -> None:
    text = "a" * 5_000 + "knife" + "b" * 5_000
    root = parsed(text_block(Text("text", text), [span(5_000, 5_005)], 100_000))
    assert [gap.text.strip(" …") for gap in root.all("span", class_="gap")] == ["4,880 characters", "4,880 characters"]
    whole = root.one("details")
    assert whole.one("summary").text == "All 10,005 characters"
    assert whole.one("pre").text == text
    assert whole.one("mark").text == "knife"


def test_a_text_too_long_for_the_page_is_cut_and_says_so() -> None:
    whole = parsed(text_block(Text("text", "x" * 5_000), [], 2_000)).one("details")
    assert whole.one("summary").text == "The first 2,000 of 5,000 characters"
    assert whole.one("pre").text == "x" * 2_000


# --------------------------------------------------------------------------------------------------------------- places


def test_places_are_listed_by_field_in_order_each_once() -> None:
    found = [span(9, 12, "list", "b"), span(3, 5), span(3, 5), FoundSpan("text", 0, 2, "hate", "embedded", 0.5)]
    listed = places(found)
    assert listed is not None
    assert [each.text for each in parsed(listed).all("code")] == ["b", "text"]
    assert [[each.text for each in field.all("li")] for field in parsed(listed).all("ul")[1:]] == [
        ["list 9\N{EN DASH}12, embedded"],
        ["hate 0\N{EN DASH}2, embedded, weight 0.50", "violence 3\N{EN DASH}5, embedded"],
    ]


def test_of_very_many_places_it_is_told_how_many_more_there_are() -> None:
    listed = places([span(i, i + 1) for i in range(60)])
    assert listed is not None
    assert parsed(listed).all("li")[-1].text == "and 10 more"


def test_nothing_found_is_no_list() -> None:
    assert places([]) is None
