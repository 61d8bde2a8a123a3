"""The words of the formats are known, and nothing else is."""

from __future__ import annotations

import pytest

from safety_proxy.dialects.vocabulary import METADATA_SHAPE, PROMPT_VOCABULARY, VOCABULARY, says_something


@pytest.mark.parametrize("word", ["choices", "finish_reason", "assistant", "content_filter", "prompt_tokens", "low", "hate"])
def test_words_of_the_formats_say_nothing_in_an_answer(word: str) -> None:
    assert not says_something(word)


@pytest.mark.parametrize("word", ["messages", "function", "properties", "include_usage", "top_logprobs"])
def test_words_of_the_formats_say_nothing_in_a_request(word: str) -> None:
    assert not says_something(word, PROMPT_VOCABULARY)


@pytest.mark.parametrize("word", ["hate", "sexual", "violence", "self_harm", "jailbreak", "error", "abort"])
def test_words_that_a_request_has_no_use_for_are_judged_there(word: str) -> None:
    assert says_something(word, PROMPT_VOCABULARY)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_blank_says_nothing(text: str) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["kill", "Content", "content ", "content\u200b", "con tent", "delta.content"])
def test_whatever_is_not_listed_letter_by_letter_is_judged(text: str) -> None:
    assert says_something(text)


def test_the_words_of_a_request_are_words_of_an_answer_too() -> None:
    assert PROMPT_VOCABULARY < VOCABULARY


def test_all_words_have_the_shape_of_words() -> None:
    assert [word for word in VOCABULARY if not METADATA_SHAPE.fullmatch(word.removeprefix("$"))] == []


@pytest.mark.parametrize("value", ["", "gpt-4o", "meta-llama/Llama-3.1:free@eu", "chatcmpl-" + "x" * 119, "fp_1.2"])
def test_metadata_of_known_shape(value: str) -> None:
    assert METADATA_SHAPE.fullmatch(value)


@pytest.mark.parametrize("value", ["two words", "x" * 129, "a\n", "tab\t", "ümlaut", "quo'te", "a,b", "\uff11"])
def test_everything_else_is_not_metadata(value: str) -> None:
    assert METADATA_SHAPE.fullmatch(value) is None
