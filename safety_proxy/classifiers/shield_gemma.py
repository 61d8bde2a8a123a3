"""ShieldGemma (google/shieldgemma-2b, -9b, -27b; English) behind a server with OpenAI's ``/completions``.

The model was trained to judge one policy at a time, in a prompt that is no chat; it begins its answer with Yes or No. The
prompts and policies are those of its model card, word for word: it knows no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from safety_proxy.classifiers.guard import (
    LIMIT,
    OVERLAP,
    GuardServer,
    Scale,
    identity,
    plain,
    question_of,
    score,
    table,
)
from safety_proxy.classifiers.hazards import SHIELD_GEMMA, Cutoffs, Hazards, Levels
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.model import Category, Kind, Query, Verdict

_ROUTE: Final = "completions"
_LONGEST: Final = 4
"""Tokens of an answer: Yes or No is one; blanks may stand before it, and reasons follow."""
_WORDS: Final = ("Yes", "No")
_SAID: Final = re.compile(r"^\s*(Yes|No)\b")
_POLICIES: Final[Mapping[str, str]] = {
    "Dangerous Content": (
        "harming oneself and/or others (e.g., accessing or building firearms and explosive devices, promotion of "
        "terrorism, instructions for suicide)."
    ),
    "Harassment": (
        "is malicious, intimidating, bullying, or abusive content targeting another individual (e.g., physical threats,"
        " denial of tragic events, disparaging victims of violence)."
    ),
    "Hate Speech": (
        "targeting identity and/or protected attributes (e.g., racial slurs, promotion of discrimination, calls to "
        "violence against protected groups) or dehumanizing/belittling/vilifying on the bases of race, ethnicity, "
        "religion, disability, age, nationality, veteran status, sexual orientation, gender, gender identity, caste, or"
        " any other protected status. We do allow content that includes a reference to a protected individual or group "
        "in a positive manner."
    ),
    "Sexually Explicit Information": (
        "contains references to sexual acts or other lewd content (e.g., sexually graphic descriptions, content aimed "
        "at causing arousal). Medical or scientific terms related to human anatomy or sex education are permitted."
    ),
}
"""What content must not be."""


class ShieldGemma:
    """An `Adapter` for ShieldGemma: one call for each policy whose row is not empty.

    The score of a policy, under its name, is the softmax over "Yes" and "No" where the answer begins; *cutoffs* grade it. A
    server that tells no logprobs is taken at its word, which has *severity*; so is any, without *cutoffs*. *rows* replace
    rows of the table `SHIELD_GEMMA`.

    A completion is judged as the answer to the last user turn of the conversation; if there is none, and all other texts, as
    a human question. The server has to put ``<bos>`` first, as vLLM does. Raises `ConfigError` for a row that is no policy.
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
        severity: int = 6,
        cutoffs: Cutoffs | None = None,
        rows: Mapping[str, Levels] | None = None,
    ) -> None:
        self._server = GuardServer(service, model)
        self._scale = Scale(severity, cutoffs)
        self._hazards = table(SHIELD_GEMMA, rows or {})
        self.identity = identity("shield_gemma", service, model, self._hazards, self._scale)

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories of the table. Nothing for images."""
        return frozenset() if kind is Kind.IMAGE else self._hazards.reports(kind)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for each text and policy that tells of a category of its kind."""
        return [
            Question(_ROUTE, (position,), categories, partial(self._ask, query, policy))
            for position, query in enumerate(queries)
            for policy, levels in self._hazards.table.items()
            if (categories := Hazards({policy: levels}).reports(query.kind) & self.reports(query.kind))
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def _ask(self, query: Query, policy: str) -> Sequence[Verdict]:
        answer = await self._server.complete(_prompt(query, policy), longest=_LONGEST)
        said = _SAID.search(answer.text)
        if said is None:
            raise ServiceError("invalid_answer")
        chances = answer.chances(said, _WORDS)
        chance = None if chances is None else chances["Yes"]
        hazards = Hazards({policy: self._hazards.table[policy]})
        verdict = self._scale.verdict(hazards, query.kind, (policy,), chance, said=said.group(1) == "Yes")
        return [score(verdict, None if chance is None else {policy: chance})]


def _prompt(query: Query, policy: str) -> str:
    question = question_of(query)
    text = plain(query.text).strip()
    if question is None:
        judged, turns, asked = "a user prompt", f"Human Question: {text}", "human question"
        subject = "prompt shall not contain or seek generation of content that"
    else:
        judged, asked = "an AI response to a prompt", "Chatbot Response"
        turns = f"Human Question: {question.strip()}\n<end_of_turn>\n<start_of_turn>\nChatbot Response: {text}"
        subject = "chatbot shall not generate content that"
    return (
        f"You are a policy expert trying to help determine whether {judged} is in violation of the defined safety "
        "policies.\n\n"
        f"<start_of_turn>\n{turns}\n<end_of_turn>\n\n"
        "Our safety principle is defined in the below:\n\n"
        f'* "No {policy}": The {subject} {_POLICIES[policy]}\n\n'
        "===\n\n"
        f"Does the {asked} violate the above principle? Your answer must start with 'Yes' or 'No'. "
        "And then walk through step by step to be sure we answer correctly.\n\n"
    )
