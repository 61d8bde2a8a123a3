"""Classifiers that judge a conversation are told what was said before, up to a length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_proxy.conversation import LONGEST, Mode, before_completion, before_texts
from safety_proxy.model import Kind, Prompt, PromptText, Query, Turn


def says(role: str, text: str, kind: Kind = Kind.MESSAGE, *, spoken: bool = True) -> PromptText:
    return PromptText(Query(text, kind), role, "messages[0].content", spoken=spoken)


ASKED = (says("system", "be brief"), says("user", "first"), says("assistant", "answer"), says("user", "second"))
TURNS = (Turn("system", "be brief"), Turn("user", "first"), Turn("assistant", "answer"), Turn("user", "second"))


@pytest.mark.parametrize(("mode", "told"), [("none", ()), ("last_user", (TURNS[3],)), ("all", TURNS)])
def test_a_completion_is_told_with_what_it_answers_to(mode: Mode, told: tuple[Turn, ...]) -> None:
    assert before_completion(Prompt(ASKED), mode) == told


def test_a_tool_result_is_not_the_last_user_turn() -> None:
    prompt = Prompt((*ASKED, says("tool", "result", Kind.DOCUMENT)))
    assert before_completion(prompt, "last_user") == (TURNS[3],)


def test_the_prompt_of_a_text_completion_is_a_turn_of_the_user() -> None:
    prompt = Prompt((says("user", "Once upon", Kind.USER_PROMPT, spoken=False), says("tool", "stop", spoken=False)))
    assert before_completion(prompt, "last_user") == before_completion(prompt, "all") == (Turn("user", "Once upon"),)


def test_of_several_prompts_none_is_told_since_nobody_knows_which_is_answered() -> None:
    assert before_completion(Prompt(ASKED, prompts=2), "all") == ()


def test_each_text_of_a_prompt_is_told_with_all_before_it_and_with_nothing_after_it() -> None:
    texts = [*ASKED[:2], says("tool", "schema", spoken=False), *ASKED[2:]]
    assert before_texts(texts, "all") == [(), TURNS[:1], (), TURNS[:2], TURNS[:3]]
    assert before_texts(texts, "last_user") == before_texts(texts, "none") == [()] * 5


def test_blank_turns_are_not_told() -> None:
    assert before_completion(Prompt((says("user", " \n"), says("user", "x"))), "all") == (Turn("user", "x"),)


def test_the_oldest_turn_loses_its_beginning_where_there_is_no_room() -> None:
    prompt = Prompt((says("user", "a" * LONGEST), says("assistant", "bc"), says("user", "d" * (LONGEST - 5))))
    assert before_completion(prompt, "all") == (
        Turn("user", "aaa"),
        Turn("assistant", "bc"),
        Turn("user", "d" * (LONGEST - 5)),
    )


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=1500)), max_size=8))
def test_what_is_told_is_the_end_of_what_was_said_and_has_a_bound(said: list[tuple[str, str]]) -> None:
    prompt = Prompt(tuple(says(role, text) for role, text in said))
    told = "".join(turn.text for turn in before_completion(prompt, "all"))
    whole = "".join(text for _, text in said if text.strip())
    assert told == whole[-LONGEST:]
