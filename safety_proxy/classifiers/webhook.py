"""A webhook of one's own: the classifier type ``http``. ``docs/classifiers.md`` describes what it is sent and answers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.jsontext import as_object
from safety_proxy.model import HARMS, JSON, Category, JSONObject, Kind, Query, Span, Verdict
from safety_proxy.rule import applies

_ROUTE: Final = "webhook"
_VERSION: Final = 1
_TEXTS: Final = 16
"""Texts of one request; one with images has a request of its own, since images are large."""
_Value = TypeVar("_Value")
_REASON: Final = re.compile(r"[a-z_]{1,32}")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _SpanAnswer(_Strict):
    start: Annotated[int, Field(ge=0)]
    end: int
    label: Annotated[str, Field(max_length=128)]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0


class _VerdictAnswer(_Strict):
    severities: dict[str, Annotated[int, Field(ge=0, le=7)]] = {}
    detections: dict[str, bool] = {}
    blocklists: dict[Annotated[str, Field(pattern=r"^[0-9A-Za-z._~-]{1,64}$")], bool] = {}
    spans: list[_SpanAnswer] = []
    scores: dict[Annotated[str, Field(max_length=128)], Annotated[float, Field(ge=0, le=1)]] = {}
    failures: dict[str, str] = {}


_Verdicts: Final = TypeAdapter(list[_VerdictAnswer])


class Webhook:
    """An `Adapter` for the server at the url of *service*, which judges texts for the categories that it *reports*.

    It is asked at that very url, and sent *images* and *conversation* only if it wants them, and texts of at most *limit*
    characters. An answer that is not of the documented shape is ``invalid_answer`` for all texts of the request; a category
    beyond those that it reports is passed over, and one that it leaves out is undecided. A reason of its own for a failure
    counts if it is a word of at most 32 small letters and underscores, else it is ``invalid_answer``.
    """

    def __init__(
        self,
        service: JSONService,
        *,
        reports: frozenset[Category],
        images: bool = False,
        conversation: bool = False,
        limit: int | None = None,
        overlap: int = 0,
    ) -> None:
        self._service, self._reported = service, reports
        self.limit, self.overlap = limit, overlap
        self.reads_images, self.reads_conversation = images, conversation
        digest = hashlib.sha256(service.address.encode()).hexdigest()[:12]
        told = f"images={images}:conversation={conversation}:limit={limit}/{overlap}"
        self.identity = f"http:{digest}:{'+'.join(sorted(reports))}:{told}"

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """What was configured, as far as it can occur in texts of this *kind*."""
        if kind is Kind.IMAGE:
            return self._reported & HARMS if self.reads_images else frozenset()
        return frozenset(category for category in self._reported if applies(category, kind))

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for up to 16 texts, and one for each text with images."""
        asked = [i for i, query in enumerate(queries) if self.reports(query.kind)]
        texts = [i for i in asked if not self._shows(queries[i])]
        batches = [texts[i : i + _TEXTS] for i in range(0, len(texts), _TEXTS)]
        batches += [[i] for i in asked if self._shows(queries[i])]
        return [
            Question(
                _ROUTE,
                tuple(batch),
                frozenset[Category]().union(*(self.reports(queries[i].kind) for i in batch)),
                partial(self._judge, [queries[i] for i in batch]),
            )
            for batch in batches
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def _judge(self, queries: Sequence[Query]) -> Sequence[Verdict]:
        answer = await self._service.post("", {"version": _VERSION, "texts": [self._text(query) for query in queries]})
        verdicts = _validated(as_object(answer).get("verdicts"))
        if len(verdicts) != len(queries):
            raise ServiceError("invalid_answer")
        return [self._read(verdict, query) for verdict, query in zip(verdicts, queries, strict=True)]

    def _shows(self, query: Query) -> bool:
        return self.reads_images and bool(query.images)

    def _text(self, query: Query) -> JSONObject:
        told: JSONObject = {
            "text": query.text,
            "kind": query.kind.value,
            "open_left": query.open_left,
            "open_right": query.open_right,
        }
        if query.conversation and self.reads_conversation:
            told["conversation"] = [{"role": turn.role, "text": turn.text} for turn in query.conversation]
        if self._shows(query):
            images: list[JSON] = [
                {"media_type": image.media_type, "data": base64.b64encode(image.data).decode()} for image in query.images
            ]
            told["images"] = images
        return told

    def _read(self, answer: _VerdictAnswer, query: Query) -> Verdict:
        reported = self.reports(query.kind)
        severities, detections = _known(answer.severities), _known(answer.detections)
        if not severities.keys() <= HARMS or detections.keys() & HARMS:
            raise ServiceError("invalid_answer")
        if any(not span.start < span.end <= len(query.text) for span in answer.spans):
            raise ServiceError("invalid_answer")
        reasons = _known(answer.failures)
        return Verdict(
            {c: s for c, s in severities.items() if c in reported},
            {c: d for c, d in detections.items() if c in reported},
            answer.blocklists,
            tuple(Span(span.start, span.end, span.label, span.weight) for span in answer.spans),
            {c: r if _REASON.fullmatch(r) else "invalid_answer" for c, r in reasons.items() if c in reported},
            answer.scores,
        )


def _validated(verdicts: JSON) -> list[_VerdictAnswer]:
    try:
        return _Verdicts.validate_python(verdicts)
    except ValidationError:
        pass
    raise ServiceError("invalid_answer")  # not in the handler: the error of validation quotes the answer


def _known(told: Mapping[str, _Value]) -> dict[Category, _Value]:
    """The same by category. Raises `ServiceError` for a word that is none."""
    try:
        return {Category(name): value for name, value in told.items()}
    except ValueError:
        raise ServiceError("invalid_answer") from None
