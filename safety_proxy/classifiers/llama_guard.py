r"""Llama Guard 3 and 4 (meta-llama; model cards in meta-llama/PurpleLlama) behind an OpenAI-compatible server.

The template of the model holds the policy; it is sent the conversation, and judges its last message:
``\n\nsafe``, or ``\n\nunsafe\nS1,S10``. It refuses conversations that do not begin with a user or do not alternate.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal, TypeAlias

from safety_proxy.classifiers.guard import (
    LIMIT,
    OVERLAP,
    Answer,
    GuardServer,
    Scale,
    fold,
    identity,
    score,
    table,
)
from safety_proxy.classifiers.hazards import LLAMA_GUARD, Cutoffs, Hazards, Levels
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.model import JSON, Category, Image, Kind, Query, Verdict

Variant: TypeAlias = Literal["3-1b", "3-8b", "3-11b-vision", "4"]
Contents: TypeAlias = Literal["parts", "string"]

_ROUTE: Final = "chat/completions"
_LONGEST: Final = 128
"""Tokens of an answer; all fourteen codes take fewer."""
_SAID: Final = re.compile(r"^\s*(safe|unsafe)\b")
_FORM: Final = re.compile(r"safe|unsafe\s+(S\d+(?:\s*,\s*S\d+)*)")
_WITH_CODE: Final = frozenset({"3-8b", "4"})
"""The variants that know S14, code interpreter abuse."""
_SEEING: Final = frozenset({"3-11b-vision", "4"})


class LlamaGuard:
    """An `Adapter` for Llama Guard: what it calls unsafe has *severity*, or one by *cutoffs* if the server tells logprobs.

    *variant* None is what the *model*'s name tells; if it tells nothing, ``3-8b``. *contents* None is what the variant's
    template wants: text as a list of parts for 1B, 11B-Vision and 4, which render an empty conversation for a string and
    call it safe; a string for 8B. *rows* replace rows of the table `LLAMA_GUARD`; S14 counts for 3-8b and 4 only.

    "safe" names no hazard, so nothing is found then, however likely "unsafe" was. An answer that was cut off, says unsafe
    without a code, or names one that the variant does not have, is ``invalid_answer``. The score is ``unsafe``. 11B-Vision
    takes one image at a time. Raises `ConfigError` for a row that is none of Llama Guard's.
    """

    limit: int | None = LIMIT
    overlap = OVERLAP
    reads_conversation = True

    def __init__(
        self,
        service: JSONService,
        model: str,
        *,
        variant: Variant | None = None,
        contents: Contents | None = None,
        severity: int = 6,
        cutoffs: Cutoffs | None = None,
        rows: Mapping[str, Levels] | None = None,
    ) -> None:
        self._variant = variant or variant_of(model)
        self._contents = contents or ("string" if self._variant == "3-8b" else "parts")
        self.reads_images = self._variant in _SEEING
        self._server = GuardServer(service, model)
        self._scale = Scale(severity, cutoffs)
        known = table(LLAMA_GUARD, rows or {}).table
        self._hazards = Hazards({code: row for code, row in known.items() if code != "S14" or self._variant in _WITH_CODE})
        options = (self._variant, self._contents)
        self.identity = identity("llama_guard", service, model, self._hazards, self._scale, *options)

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories of the table. Nothing for images, if the variant does not see."""
        if kind is Kind.IMAGE and not self.reads_images:
            return frozenset()
        return self._hazards.reports(kind)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for each text; for 11B-Vision one for each image."""
        return [
            Question(_ROUTE, (position,), self.reports(query.kind), partial(self._ask, each))
            for position, query in enumerate(queries)
            if self.reports(query.kind)
            for each in self._apart(query)
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _apart(self, query: Query) -> list[Query]:
        if self._variant != "3-11b-vision" or not query.images[1:]:
            return [query]
        return [replace(query, images=(image,)) for image in query.images]

    async def _ask(self, query: Query) -> Sequence[Verdict]:
        answer = await self._server.chat(self._messages(query), longest=_LONGEST)
        codes = self._codes(answer)
        said = _SAID.search(answer.text)
        chances = None if said is None else answer.chances(said, ("safe", "unsafe"))
        chance = None if chances is None else chances["unsafe"]
        verdict = self._scale.verdict(self._hazards, query.kind, codes, chance)
        return [score(verdict, None if chance is None else {"unsafe": chance})]

    def _messages(self, query: Query) -> list[JSON]:
        turns = fold(query)
        messages: list[JSON] = []
        for number, turn in enumerate(turns, start=1):
            images = query.images if number == len(turns) else ()
            content: JSON = turn.text
            if self._contents == "parts" or images:  # there are no images in strings
                text: list[JSON] = [{"type": "text", "text": turn.text}] if turn.text.strip() else []
                content = [*map(_image, images), *text]
            messages.append({"role": turn.role, "content": content})
        return messages

    def _codes(self, answer: Answer) -> list[str]:
        form = _FORM.fullmatch(answer.text.strip()) if answer.whole else None
        codes = re.findall(r"S\d+", form.group(1) or "") if form is not None else []
        if form is None or not self._hazards.table.keys() >= set(codes):
            raise ServiceError("invalid_answer")
        return codes


def variant_of(model: str) -> Variant:
    """The variant that a model of this name is, such as ``meta-llama/Llama-Guard-3-1B`` or ``llama-guard3:8b``."""
    name = model.lower()
    if re.search(r"guard-?4", name):
        return "4"
    if re.search(r"(?<!\d)11b", name):
        return "3-11b-vision"
    return "3-1b" if re.search(r"(?<![\d.])1b", name) else "3-8b"


def _image(image: Image) -> JSON:
    data = base64.b64encode(image.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}
