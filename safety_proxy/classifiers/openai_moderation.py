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
from safety_proxy.model import JSON, Category, Image, JSONObject, Kind, Query, Severity, Verdict

_ROUTE: Final = "moderations"
_TEXTS: Final = 32
"""Texts of one request; each has a result of its own."""
_LIMIT: Final = 10_000
"""Characters of one text. The service documents none; what is harmful in one sentence of a long text is diluted."""
_ILLICIT: Final = frozenset({"illicit", "illicit/violent"})
"""What the older text-moderation models do not know: if an answer has neither, their absence says nothing."""
_SEEN: Final = frozenset(
    {"self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic"}
)
"""What images are looked at for."""


class OpenAIModeration:
    """An `Adapter` for the server whose url ends where ``/moderations`` is appended.

    The severity of a harm is that of the highest ``category_scores`` of the hazards that count for it, by *cutoffs*; the
    server's own ``flagged`` never counts, and its ``categories`` only where it gives no scores at all (true is medium). That
    a harm is absent is known if all of its hazards were answered (but for ``illicit*``, if the answer has none of them, as
    older models do); else it is undecided, with ``missing_category`` or ``invalid_answer``. `Verdict.scores` has the scores
    of the table's hazards under the server's names. *rows* replace rows of the table `OPENAI`, or add hazards of other
    servers. Unless *images* is False, images are judged for what the service looks at them for. Raises `ConfigError` if the
    table reports nothing.
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
        told = f"images={images}:cutoffs={grades}:{self._hazards.identity()}"
        self.identity = f"openai_moderation:{digest}:{model!r}:{told}"

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
        return [self._read(_of_image(result), self._of_images, Kind.IMAGE)]

    async def _ask(self, said: list[JSON], results: int) -> list[JSONObject]:
        answer = await self._service.post("/moderations", {"model": self._model, "input": said})
        told = as_object(answer).get("results")
        if not isinstance(told, list) or len(told) != results:
            raise ServiceError("invalid_answer")
        found = [result for result in told if isinstance(result, dict)]
        if len(found) != results:
            raise ServiceError("invalid_answer")
        return found

    def _read(self, result: Mapping[str, JSON], hazards: Hazards, kind: Kind) -> Verdict:
        """The verdict in one *result*. What is missing or odd stays undecided, and with it all that it counts for."""
        scores, flags = _map(result, "category_scores"), _map(result, "categories")
        is_older = all(told.get(name) is None for told in (scores, flags) for name in _ILLICIT)
        known: dict[str, int] = {}
        failures: dict[Category, str] = {}
        for name, row in hazards.table.items():
            said = (scores or flags).get(name)
            severity = self._severity(said) if scores else _of_flag(said)
            if severity is not None:
                known[name] = severity
            elif not (is_older and name in _ILLICIT):
                failures |= dict.fromkeys(row, "missing_category" if said is None else "invalid_answer")
        answered = Hazards({name: hazards.table[name] for name in known})
        verdict = answered.verdict({name: severity for name, severity in known.items() if severity}, kind)
        reported = hazards.reports(kind)
        undecided = {c: reason for c, reason in failures.items() if c in reported}
        # What was answered may show harm already; that there is none, only all answers together can say.
        severities = {c: s for c, s in verdict.severities.items() if c not in undecided or s > 0}
        detections = {c: d for c, d in verdict.detections.items() if c not in undecided or d}
        told = {name: float(score) for name in known if isinstance(score := scores.get(name), int | float)}
        return Verdict(severities, detections, failures=undecided, scores=told)

    def _severity(self, score: JSON) -> int | None:
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            return None
        return self._cutoffs.severity(score)


def _of_flag(flag: JSON) -> int | None:
    return None if not isinstance(flag, bool) else Severity.MEDIUM if flag else Severity.SAFE


def _of_image(result: JSONObject) -> JSONObject:
    """*result* without what the image was not looked at for, where the server says so."""
    applied = _map(result, "category_applied_input_types")
    if not applied:
        return result
    seen = {name for name, kinds in applied.items() if isinstance(kinds, list) and "image" in kinds}
    return {
        key: {name: said for name, said in _map(result, key).items() if name in seen}
        for key in ("category_scores", "categories")
    }


def _map(result: Mapping[str, JSON], key: str) -> JSONObject:
    """The object at *key*, which may be missing. Raises `ServiceError` if it is something else."""
    value = result.get(key)
    if value is not None and not isinstance(value, dict):
        raise ServiceError("invalid_answer")
    return value or {}
