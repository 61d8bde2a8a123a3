"""What was said before a text, for classifiers that judge a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from safety_proxy.model import Kind, Prompt, PromptText, Turn

Mode: TypeAlias = Literal["none", "last_user", "all"]
MODES: Final[tuple[Mode, ...]] = ("none", "last_user", "all")
"""From the least that is told to the most."""

LONGEST: Final = 2_000
"""Characters that are sent along with a text."""


def before_completion(prompt: Prompt, mode: Mode) -> tuple[Turn, ...]:
    """What the model answers to: the last user turn, or all that was said. Nothing if there are several prompts.

    A prompt of a text completion is a user's turn.
    """
    if mode == "none" or prompt.prompts > 1:
        return ()
    spoken = [text for text in prompt.texts if text.spoken]
    turns = _turns(spoken or (text for text in prompt.texts if text.query.kind is Kind.USER_PROMPT))
    if mode == "last_user":
        turns = [turn for turn in turns if turn.role == "user"][-1:]
    return _latest(turns)


def before_texts(texts: Sequence[PromptText], mode: Mode) -> list[tuple[Turn, ...]]:
    """For each text of a prompt what was said before it: all, or nothing where a mode tells of the last user turn alone.

    What is not part of the conversation, such as a schema, has nothing before it.
    """
    if mode != "all":
        return [()] * len(texts)
    before: list[tuple[Turn, ...]] = []
    turns: list[Turn] = []
    for text in texts:
        before.append(_latest(turns) if text.spoken else ())
        if text.spoken:
            turns += _turns([text])
    return before


def _turns(texts: Iterable[PromptText]) -> list[Turn]:
    return [Turn(text.role, text.query.text) for text in texts if text.query.text.strip()]


def _latest(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The last turns that fit into `LONGEST` characters; the first of them may have lost its beginning."""
    latest: list[Turn] = []
    room = LONGEST
    for turn in reversed(turns):
        if room <= 0:
            break
        latest.append(Turn(turn.role, turn.text[-room:]))
        room -= len(turn.text)
    return tuple(reversed(latest))
