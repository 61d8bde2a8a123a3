from __future__ import annotations

import pytest

from safety_proxy.documents import parse
from safety_proxy.harness.promptfoo_prompts import prompts_of


def test_the_variables_of_a_prompt_are_named_once_each() -> None:
    (prompt,) = prompts_of(parse("prompts: '{{b}} {{ a }} {{- b -}}'", "p.yaml"), {})
    assert prompt.variables == ("b", "a")
    assert prompt.body({"a": "1", "b": "2"}) == {"text": "2 1 2"}


def test_in_a_conversation_all_texts_are_filled_in_and_nothing_else() -> None:
    document = parse("""prompts: ['[{"role": "user", "n": 1, "content": [{"type": "text", "text": "{{a}}"}]}]']""", "p.yaml")
    (prompt,) = prompts_of(document, {})
    assert prompt.body({"a": "x"}) == {"messages": [{"role": "user", "n": 1, "content": [{"type": "text", "text": "x"}]}]}


@pytest.mark.parametrize("text", ["What is in a.txt", "p.txt is empty", "Say: hello", "a/b"])
def test_a_text_that_only_looks_a_little_like_a_path_is_a_text(text: str) -> None:
    (prompt,) = prompts_of(parse(f"prompts: '{text}'", "p.yaml"), {})
    assert prompt.body({}) == {"text": text}
