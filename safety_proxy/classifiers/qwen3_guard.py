"""Qwen3Guard-Gen (README of QwenLM/Qwen3Guard) behind an OpenAI-compatible server.

The template of the model holds the policy; it is sent the conversation and judges its last message, in lines:
``Safety: Unsafe``, ``Categories: Violent, Jailbreak``, and for an assistant's message ``Refusal: No``. Qwen3Guard-Stream
wants token ids and cannot be asked this way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias

from safety_proxy.classifiers.guard import (
    LIMIT,
    OVERLAP,
    Answer,
    GuardServer,
    Scale,
    fold,
    graded,
    identity,
    score,
    table,
)
from safety_proxy.classifiers.hazards import QWEN3_GUARD, Cutoffs, Levels
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.model import Category, Kind, Query, Severity, Verdict

Mode: TypeAlias = Literal["strict", "loose", "graded"]

_ROUTE: Final = "chat/completions"
_LONGEST: Final = 128
"""Tokens of an answer, as in the README; all categories take fewer."""
_WORDS: Final = ("Safe", "Controversial", "Unsafe")
_SAID: Final = re.compile(r"Safety:[ \t]*(Safe|Controversial|Unsafe)\b")
_FORM: Final = re.compile(
    r"Safety:[ \t]*(Safe|Controversial|Unsafe)\s*\nCategories:[ \t]*([^\n]+?)\s*(?:\nRefusal:[ \t]*(?:Yes|No))?"
)


class Qwen3Guard:
    """An `Adapter` for Qwen3Guard-Gen: what is unsafe has *severity*, or one by *cutoffs* if the server tells logprobs.

    *mode* tells what controversial texts are: ``strict`` as unsafe ones; ``loose`` safe; ``graded`` of severity 2 (low), if
    unsafe ones have no less, and too weak for what is found or not. The probability that *cutoffs* grade is that of
    "Unsafe", in ``strict`` mode with that of "Controversial"; "Safe" names no category, so nothing is found then. *rows*
    replace rows of the table `QWEN3_GUARD`. The scores are ``unsafe`` and ``controversial``.

    An answer that was cut off, leaves out a line, names an unknown category or none for what is not safe, or sees a
    jailbreak in an assistant's message, is ``invalid_answer``. Raises `ConfigError` for a row that is none of Qwen3Guard's.
    """

    limit: int | None = LIMIT
    overlap = OVERLAP
    reads_images = False
    reads_conversation = True

    def __init__(
        self,
        service: JSONService,
        model: str,
        *,
        mode: Mode = "graded",
        severity: int = 6,
        cutoffs: Cutoffs | None = None,
        rows: Mapping[str, Levels] | None = None,
    ) -> None:
        self._server = GuardServer(service, model)
        self._mode = mode
        self._scale = Scale(severity, cutoffs)
        self._hazards = table(QWEN3_GUARD, rows or {})
        self.identity = identity("qwen3_guard", service, model, self._hazards, self._scale, mode)

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories of the table. Nothing for images."""
        return frozenset() if kind is Kind.IMAGE else self._hazards.reports(kind)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for each text."""
        return [
            Question(_ROUTE, (position,), self.reports(query.kind), partial(self._ask, query))
            for position, query in enumerate(queries)
            if self.reports(query.kind)
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def _ask(self, query: Query) -> Sequence[Verdict]:
        turns = fold(query)
        answer = await self._server.chat([{"role": t.role, "content": t.text} for t in turns], longest=_LONGEST)
        word, categories = self._read(answer)
        if turns[-1].role == "assistant" and "Jailbreak" in categories:
            raise ServiceError("invalid_answer")
        said = _SAID.search(answer.text)
        chances = None if said is None else answer.chances(said, _WORDS)
        scores = None if chances is None else {word.lower(): chances[word] for word in ("Unsafe", "Controversial")}
        return [score(self._verdict(query.kind, word, categories, scores), scores)]

    def _read(self, answer: Answer) -> tuple[str, list[str]]:
        """The word and the categories, of which there are none only beside "Safe"."""
        form = _FORM.fullmatch(answer.text.strip()) if answer.whole else None
        if form is None:
            raise ServiceError("invalid_answer")
        word, named = form.group(1), re.split(r"\s*,\s*", form.group(2))
        categories = [] if named == ["None"] else named
        if (word == "Safe") != (not categories) or not self._hazards.table.keys() >= set(categories):
            raise ServiceError("invalid_answer")
        return word, categories

    def _verdict(self, kind: Kind, word: str, categories: list[str], scores: Mapping[str, float] | None) -> Verdict:
        if word == "Controversial" and self._mode == "loose":
            categories = []
        chance = None
        if scores is not None:
            chance = min(scores["unsafe"] + (scores["controversial"] if self._mode == "strict" else 0.0), 1.0)
        if word != "Controversial" or self._mode != "graded":
            return self._scale.verdict(self._hazards, kind, categories, chance)
        cutoffs, severity = self._scale.cutoffs, min(int(Severity.LOW), self._scale.severity)
        if cutoffs is not None and chance is not None:
            severity = max(int(Severity.LOW), cutoffs.severity(chance))
        return graded(self._hazards, kind, dict.fromkeys(categories, severity))
