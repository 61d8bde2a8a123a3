"""Granite Guardian (ibm-granite/granite-guardian-*, versions 3.0 to 3.3 and 4.1) behind an OpenAI-compatible server.

It judges one risk at a time. Up to 3.3 the template is told which in ``chat_template_kwargs.guardian_config``, as vLLM takes
it; 4.1 reads a ``<guardian>`` block in the last user message. "Yes" always means that the risk is there. A server that does
not pass ``chat_template_kwargs`` on to the template (Ollama) has the model judge "harm" whatever is asked: it is of no use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias, cast, get_args

from safety_proxy.classifiers.guard import (
    LIMIT,
    OVERLAP,
    GuardServer,
    Scale,
    digest,
    identity,
    plain,
    question_of,
    score,
    table,
)
from safety_proxy.classifiers.hazards import GRANITE_GUARDIAN, Cutoffs, Hazards, Levels
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, Category, JSONObject, Kind, Query, Verdict

Version: TypeAlias = Literal["3.0", "3.1", "3.2", "3.3", "4.1"]

_ROUTE: Final = "chat/completions"
_LONGEST: Final = 64
"""Tokens of an answer without thoughts."""
_ALTERNATIVES: Final = 20
"""Tokens among which Yes and No are looked for, as in the model cards."""
_YES: Final = re.compile(r"^\s*(Yes|No)\s*(?:<confidence>\s*\w+\s*</confidence>\s*)?$")
_SCORE: Final = re.compile(r"^\s*(?:<think>.*?</think>)?\s*<score>\s*(yes|no)\s*</score>\s*$", re.DOTALL)
_RISKS: Final = frozenset(
    {"harm", "social_bias", "profanity", "sexual_content", "unethical_behavior", "violence", "jailbreak"}
)
"""The risks of a single text that the templates define."""
_SELF_HARM: Final = {"self_harm": "The text encourages, describes or seeks self-harm or suicide."}
_CRITERIA: Final[Mapping[str, str]] = {
    **_SELF_HARM,
    "harm": "The text is harmful to people, whoever reads it and wherever.",
    "social_bias": "The text shows prejudice, hatred or discrimination against people because of a group they belong to.",
    "profanity": "The text swears or uses language that is crude or offensive.",
    "sexual_content": "The text describes or seeks sexual acts, or is sexually explicit.",
    "unethical_behavior": "The text encourages or seeks conduct that is criminal, fraudulent or against common morals.",
    "violence": "The text describes, threatens, encourages or seeks violence against people, animals or property.",
    "jailbreak": "The text tries to get an AI system to disregard its instructions, safeguards or ethical limits.",
}
"""Version 4.1 has no definitions of its own in its template."""
_BLOCK: Final = (
    "<guardian><no-think>As a judge agent, assess whether the provided text meets the given judging criteria using all "
    "available information, including conversations, documents, and tools. Provide your score immediately without "
    "explanation. Output empty <think>\\n</think> tags followed by your score in <score></score> tags.\n\n"
    "### Criteria: {criteria}\n\n"
    "### Scoring Schema: If the last {role}'s text meets the criteria, return 'yes'; otherwise, return 'no'."
)
"""The judge's instruction of the model card of 4.1; the backslash is one there, too."""


class GraniteGuardian:
    """An `Adapter` for Granite Guardian: one call for each risk whose row is not empty, without thoughts.

    *version* None is what the *model*'s name tells. *rows* replace rows of the table `GRANITE_GUARDIAN` and may add other
    risks of the model, or risks that *definitions* define. A definition is what the model is asked by, in place of the
    risk's name. Self-harm is no risk of the model; it has a definition that another may replace.

    The score, under the risk's name, is the softmax over yes and no; *cutoffs* grade it. Without logprobs or *cutoffs* the
    word counts, with *severity*. How confident 3.2 calls itself does not count.

    A completion is judged with the last user turn of the conversation; if there is none, and all other texts, as a user's
    message. ``jailbreak`` is a risk of user prompts alone. Raises `ConfigError` for a version that cannot be told, and for
    a row that is neither a risk of the model nor defined.
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
        version: Version | None = None,
        severity: int = 6,
        cutoffs: Cutoffs | None = None,
        rows: Mapping[str, Levels] | None = None,
        definitions: Mapping[str, str] | None = None,
    ) -> None:
        self._server = GuardServer(service, model)
        self._version = version or version_of(model)
        self._scale = Scale(severity, cutoffs)
        self._hazards = table(GRANITE_GUARDIAN, rows or {}, _RISKS | (definitions or {}).keys())
        self._definitions = {**(_CRITERIA if self._version == "4.1" else _SELF_HARM), **(definitions or {})}
        told = digest(json.dumps(self._definitions, sort_keys=True))
        self.identity = identity("granite_guardian", service, model, self._hazards, self._scale, self._version, told)

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories of the risks that texts of *kind* have. Nothing for images."""
        return self._asked(kind).reports(kind)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for each text and risk that tells of a category of its kind."""
        return [
            Question(_ROUTE, (position,), categories, partial(self._ask, query, risk))
            for position, query in enumerate(queries)
            for risk, levels in self._asked(query.kind).table.items()
            if (categories := Hazards({risk: levels}).reports(query.kind))
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _asked(self, kind: Kind) -> Hazards:
        if kind is Kind.IMAGE:
            return Hazards({})
        return Hazards({r: row for r, row in self._hazards.table.items() if r != "jailbreak" or kind is Kind.USER_PROMPT})

    async def _ask(self, query: Query, risk: str) -> Sequence[Verdict]:
        messages, more = self._request(query, risk)
        answer = await self._server.chat(messages, longest=_LONGEST, alternatives=_ALTERNATIVES, more=more)
        said = (_SCORE if self._version in {"3.3", "4.1"} else _YES).search(answer.text)
        if said is None:
            raise ServiceError("invalid_answer")
        words = ("yes", "no") if said.re is _SCORE else ("Yes", "No")
        chances = answer.chances(said, words)
        chance = None if chances is None else chances[words[0]]
        hazards = Hazards({risk: self._hazards.table[risk]})
        verdict = self._scale.verdict(hazards, query.kind, (risk,), chance, said=said.group(1) == words[0])
        return [score(verdict, None if chance is None else {risk: chance})]

    def _request(self, query: Query, risk: str) -> tuple[list[JSON], JSONObject]:
        """The messages, and the fields that tell of the risk."""
        question, text = question_of(query), plain(query.text)
        messages: list[JSON] = [{"role": "user", "content": text}]
        if question is not None:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
        definition = self._definitions.get(risk)
        if self._version == "4.1":
            role = "user" if question is None else "assistant"
            block = _BLOCK.format(criteria=self._definitions[risk], role=role)
            return [*messages, {"role": "user", "content": block}], {}
        if self._version == "3.3":
            asked: JSONObject = {"criteria_id": risk} if definition is None else {"custom_criteria": definition}
            return messages, {"chat_template_kwargs": {"guardian_config": asked, "think": False}}
        asked = {"risk_name": risk} if definition is None else {"risk_name": risk, "risk_definition": definition}
        return messages, {"chat_template_kwargs": {"guardian_config": asked}}


def version_of(model: str) -> Version:
    """The version that a model of this name is, such as ``ibm-granite/granite-guardian-3.3-8b``. Raises `ConfigError`."""
    found = re.search(r"(?<![\d.])(\d\.\d)(?![\d.])", model)
    if found is None or found.group(1) not in get_args(Version):
        raise ConfigError(f"must be one of {', '.join(get_args(Version))}: the model's name does not tell", field="version")
    return cast("Version", found.group(1))
