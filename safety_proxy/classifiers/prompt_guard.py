"""Prompt Guard 1 and 2 (meta-llama): small classifiers of attacks, behind vLLM, SGLang or Text Embeddings Inference.

The models have two or three labels, and servers name them differently, so they count by their place: of two, the last is
malicious; of three (Prompt Guard 1), the second is an injection in third-party data, the third a jailbreak.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias

from safety_proxy.classifiers.service import Question, ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, Kind, Query, Verdict

API: TypeAlias = Literal["classify", "predict"]

_ATTACKS: Final = {Kind.USER_PROMPT: Category.JAILBREAK, Kind.DOCUMENT: Category.INDIRECT_ATTACK}
_TOKENS: Final = 480
"""Of the 512 that the model reads; the rest is for its own marks and for what the estimate misses."""
_SHARED: Final = 96
"""Tokens that two neighbouring segments share."""
_SEGMENTS: Final = 32
"""Segments of one request."""
_PIECE: Final = re.compile(r"[A-Za-z]{1,2}|[ \t\n\r\f\v]{1,8}|.", re.DOTALL)
"""What takes one token at most, if it is ASCII: two letters, some blanks, any other character. Of English four letters make
one, but a text made to be cut off need not be English."""
_PLACES: Final[Mapping[str, int]] = {
    "LABEL_0": 0,
    "LABEL_1": 1,
    "LABEL_2": 2,
    "BENIGN": 0,
    "INJECTION": 1,
    "JAILBREAK": 2,
}
_MALICIOUS: Final = "MALICIOUS"
"""The last of the labels, however many there are."""
_BINARY, _TERNARY = 2, 3
"""Labels of Prompt Guard 2, and of 1."""


class PromptGuard:
    """An `Adapter` for Prompt Guard behind the server *service*, whose url has no ``/v1``, asked by *api*.

    Long texts are judged in `segments` that overlap, and the highest score counts; an attack is found from *cutoff* (0-1)
    on. It reports jailbreaks in user prompts and indirect attacks in documents, and is not asked about anything else.
    `Verdict.scores` has "malicious" (two labels), or "jailbreak" and "injection" (three). A segment that has more tokens
    than the model reads is refused by the server (``rejected``), never judged by its beginning.
    """

    limit: int | None = None
    overlap = 0
    reads_images = False
    reads_conversation = False

    def __init__(self, service: JSONService, model: str, *, api: API = "classify", cutoff: float = 0.5) -> None:
        self._service, self._model, self._api, self._cutoff = service, model, api, cutoff
        digest = hashlib.sha256(service.url.encode()).hexdigest()[:12]
        self.identity = f"prompt_guard:{digest}:{model!r}:{api}:cutoff={cutoff}"

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The attack that a text of this *kind* can be."""
        return frozenset({_ATTACKS[kind]}) if kind in _ATTACKS else frozenset()

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for up to 32 segments of a text."""
        return [
            Question(self._api, (position,), self.reports(query.kind), partial(self._judge, batch, query.kind))
            for position, query in enumerate(queries)
            if query.kind in _ATTACKS
            for batch in _batches(segments(query.text))
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def _judge(self, texts: Sequence[str], kind: Kind) -> Sequence[Verdict]:
        rows = await (self._classify(texts) if self._api == "classify" else self._predict(texts))
        if len(rows) != len(texts) or {len(row) for row in rows} not in ({_BINARY}, {_TERNARY}):
            raise ServiceError("invalid_answer")
        told = [_scores(row) for row in rows]
        scores = {name: max(each[name] for each in told) for name in told[0]}
        name = "malicious" if "malicious" in scores else "jailbreak" if kind is Kind.USER_PROMPT else "injection"
        return [Verdict(detections={_ATTACKS[kind]: scores[name] >= self._cutoff}, scores=scores)]

    async def _classify(self, texts: Sequence[str]) -> list[list[float]]:
        """``{"data": [{"index": 0, "probs": [0.01, 0.99]}]}``, as vLLM and SGLang answer."""
        answer = await self._service.post("/classify", {"model": self._model, "input": list(texts)})
        data = as_object(answer).get("data")
        rows = [as_object(entry) for entry in data] if isinstance(data, list) else []
        # All rows are about one text, so their order does not matter; but two about the same segment leave one out.
        if len({repr(row.get("index", place)) for place, row in enumerate(rows)}) != len(rows):
            raise ServiceError("invalid_answer")
        return [_numbers(row.get("probs")) for row in rows]

    async def _predict(self, texts: Sequence[str]) -> list[list[float]]:
        """``[[{"label": "LABEL_1", "score": 0.99}, …], …]``, as TEI answers (router/src/http); not nested for one text.

        Each text is in a list of its own: a flat list of two would be a pair. Without ``truncate`` the server may be set to
        judge the first 512 tokens and say nothing of it.
        """
        body: JSON = {"inputs": [[text] for text in texts], "truncate": False}
        answer = await self._service.post("/predict", body)
        rows = answer if isinstance(answer, list) else []
        return [_by_place(row) for row in (rows if all(isinstance(row, list) for row in rows) else [rows])]


def _scores(row: Sequence[float]) -> dict[str, float]:
    """Of two labels the last is malicious, whatever the text; of three an injection is one if it is anything but benign."""
    if len(row) == _BINARY:
        return {"malicious": row[-1]}
    return {"jailbreak": row[2], "injection": min(row[1] + row[2], 1.0)}


def _numbers(value: JSON) -> list[float]:
    numbers = value if isinstance(value, list) else []
    row = [float(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= 1]
    if not row or len(row) != len(numbers):
        raise ServiceError("invalid_answer")
    return row


def _by_place(entries: JSON) -> list[float]:
    """The scores in the order of their labels, which servers sort by score."""
    found: dict[int, JSON] = {}
    listed = [as_object(entry) for entry in entries] if isinstance(entries, list) else []
    for entry in listed:
        label = str(entry.get("label", "")).upper()
        place = len(listed) - 1 if label == _MALICIOUS else _PLACES.get(label)
        if place is None:
            raise ServiceError("invalid_answer")
        found[place] = entry.get("score")
    if sorted(found) != list(range(len(listed))):
        raise ServiceError("invalid_answer")
    return _numbers([found[place] for place in range(len(listed))])


def segments(text: str) -> list[str]:
    """*text* in stretches that nearly surely fit into 512 tokens of the model; neighbours share about 96 tokens.

    The model's tokenizer is not here, so its tokens are estimated from above: one for two ASCII letters, for up to eight
    blanks, and for any other ASCII character; beyond ASCII, one for each byte of the character's compatibility form. That
    makes stretches of some 700 characters of English and 160 of Chinese. At least one stretch, which may be empty.
    """
    costs = [(piece.start(), _cost(piece[0])) for piece in _PIECE.finditer(text)]
    if not costs:
        return [text]
    parts: list[str] = []
    first = 0
    while True:
        last, spent = first, 0
        while last < len(costs) and spent + costs[last][1] <= _TOKENS:
            spent += costs[last][1]
            last += 1
        parts.append(text[costs[first][0] : costs[last][0] if last < len(costs) else len(text)])
        if last >= len(costs):
            return parts
        back = 0
        while last > first + 1 and back < _SHARED:
            last -= 1
            back += costs[last][1]
        first = last


def _cost(piece: str) -> int:
    """The most tokens that it takes: what the vocabulary lacks may take one for each byte, after a rewriting to NFKC."""
    return 1 if piece.isascii() else len(unicodedata.normalize("NFKC", piece).encode(errors="replace"))


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[i : i + _SEGMENTS] for i in range(0, len(texts), _SEGMENTS)]
