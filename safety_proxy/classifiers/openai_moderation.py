"""OpenAI's moderation endpoint, or any server that has one (``POST /moderations``; openai/openai-openapi, August 2026)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from safety_proxy.classifiers.hazards import OPENAI, Cutoffs, Hazards, Levels
from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ConfigError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, Image, Kind, Query, Severity, Verdict

_ROUTE: Final = "moderations"
_TEXTS: Final = 32
"""Texts of one request; each has a result of its own."""
_LIMIT: Final = 10_000
"""Characters of one text. The service documents none; what is harmful in one sentence of a long text is diluted."""
_ILLICIT: Final = frozenset({"illicit", "illicit/violent"})
"""What the older text-moderation models do not know: its absence says nothing."""
_SEEN: Final = frozenset(
    {"self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic"}
)
"""What images are looked at for."""


class OpenAIModeration:
    """An `Adapter` for the server whose url ends where ``/moderations`` is appended.

    The severity of a harm is that of the highest ``category_scores`` of the hazards that count for it, by *cutoffs*; the
    server's own ``flagged`` and ``categories`` count only where it gives no scores (medium). A harm is decided if all of its
    hazards were answered (but for ``illicit``, which older models lack). *rows* replace rows of the table `OPENAI`, or add
    hazards of other servers. Unless *images* is False, images are judged for what the service looks at them for. Raises
    `ConfigError` if the table reports nothing.
    """

    limit: int | None = _LIMIT
    overlap = 500
    reads_conversation = False

    def __init__(
        self,
        service: JSONService,
        model: str,
        *,
        images: bool = True,
        cutoffs: Cutoffs | None = None,
        rows: Mapping[str, Levels] | None = None,
    ) -> None:
        self._service, self._model = service, model
        self._cutoffs = cutoffs or Cutoffs()
        self._hazards = OPENAI.replaced(rows or {})
        if not self._hazards.reports(Kind.USER_PROMPT):
            raise ConfigError("leaves nothing to report", field="hazards")
        self._of_images = Hazards({name: row for name, row in self._hazards.table.items() if name in _SEEN})
        self.reads_images = images and bool(self._of_images.reports(Kind.IMAGE))
        digest = hashlib.sha256(service.url.encode()).hexdigest()[:12]
        grades = f"{self._cutoffs.low}/{self._cutoffs.medium}/{self._cutoffs.high}"
        self.identity = f"openai_moderation:{digest}:{model!r}:cutoffs={grades}:{self._hazards.identity()}"

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The categories of the table; of images, those that are looked for in them."""
        if kind is Kind.IMAGE:
            return self._of_images.reports(kind) if self.reads_images else frozenset()
        return self._hazards.reports(kind)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """Up to 32 texts share a question; each image has its own, lest one result blur several."""
        with_text = [i for i, query in enumerate(queries) if query.text.strip()]
        batches = [with_text[i : i + _TEXTS] for i in range(0, len(with_text), _TEXTS)]
        return [*(self._about_texts(batch, queries) for batch in batches), *self._about_images(queries)]

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    def _about_texts(self, batch: Sequence[int], queries: Sequence[Query]) -> Question:
        asked = [queries[i] for i in batch]
        categories = frozenset[Category]().union(*(self._hazards.reports(query.kind) for query in asked))
        return Question(_ROUTE, tuple(batch), categories, partial(self._judge_texts, asked))

    def _about_images(self, queries: Sequence[Query]) -> Iterator[Question]:
        for position, query in enumerate(queries):
            for image in query.images if self.reads_images else ():
                yield Question(_ROUTE, (position,), self.reports(Kind.IMAGE), partial(self._judge_image, image))

    async def _judge_texts(self, queries: Sequence[Query]) -> Sequence[Verdict]:
        results = await self._ask([query.text for query in queries], len(queries))
        return [self._read(result, self._hazards, query.kind) for result, query in zip(results, queries, strict=True)]

    async def _judge_image(self, image: Image) -> Sequence[Verdict]:
        url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
        (result,) = await self._ask([{"type": "image_url", "image_url": {"url": url}}], 1)
        applied = as_object(result.get("category_applied_input_types"))
        seen = {
            name: row
            for name, row in self._of_images.table.items()
            if not isinstance(kinds := applied.get(name), list) or "image" in kinds
        }
        return [self._read(result, Hazards(seen), Kind.IMAGE)]

    async def _ask(self, said: list[JSON], results: int) -> list[dict[str, JSON]]:
        answer = await self._service.post("/moderations", {"model": self._model, "input": said})
        told = as_object(answer).get("results")
        if not isinstance(told, list) or len(told) != results:
            raise ServiceError("invalid_answer")
        return [as_object(result) for result in told]

    def _read(self, result: Mapping[str, JSON], hazards: Hazards, kind: Kind) -> Verdict:
        """The verdict in one *result*. What is missing or odd stays undecided, and with it all that it counts for."""
        scores, flags = as_object(result.get("category_scores")), as_object(result.get("categories"))
        known: dict[str, int] = {}
        told: dict[str, float] = {}
        failures: dict[Category, str] = {}
        for name, row in hazards.table.items():
            score, flag = scores.get(name), flags.get(name)
            if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
                known[name], told[name] = self._cutoffs.severity(score), float(score)
            elif score is None and not scores and isinstance(flag, bool):
                known[name] = Severity.MEDIUM if flag else Severity.SAFE
            elif name not in _ILLICIT or score is not None or flag is not None:
                reason = "missing_category" if score is None else "invalid_answer"
                failures |= dict.fromkeys(row, reason)
        answered = Hazards({name: hazards.table[name] for name in known})
        verdict = answered.verdict({name: severity for name, severity in known.items() if severity}, kind)
        reported = hazards.reports(kind)
        undecided = {c: reason for c, reason in failures.items() if c in reported}
        # What was answered may show harm already; that it is none, only all answers together can say.
        severities = {c: s for c, s in verdict.severities.items() if c not in undecided or s > 0}
        detections = {c: d for c, d in verdict.detections.items() if c not in undecided or d}
        return Verdict(severities, detections, failures=undecided, scores=told)
