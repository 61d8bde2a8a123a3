"""What guard models behind OpenAI-compatible servers share: how they are asked, and how their answers are read.

A guard model is a language model that was trained to say one of a few words about a text. `GuardServer` asks it and gives an
`Answer`: the text, and how likely its words were if the server tells. A word is a `Scale`'s one severity; a probability is
graded by cut-offs, if there are any. The guards differ in what they are shown and in the words they say.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from safety_proxy.classifiers.hazards import Cutoffs, Hazards, Levels
from safety_proxy.classifiers.service import ServiceError
from safety_proxy.classifiers.web import JSONService
from safety_proxy.errors import ConfigError
from safety_proxy.model import HARMS, JSON, JSONObject, Kind, Query, Severity, Turn, Verdict
from safety_proxy.verdicts import union

LIMIT: Final = 4_000
"""Characters of one text. Their contexts hold more, but what is harmful in one sentence of a long text is diluted; and with
2,000 characters of conversation it fits into 8,192 tokens in scripts that take one token for each character."""
OVERLAP: Final = 400
"""A few sentences, so that what is harmful only as a whole is whole in one part."""

_ENDED: Final = frozenset({None, "", "stop", "eos_token", "stop_sequence"})
"""The values of ``finish_reason`` of an answer that is all there: OpenAI's and that of Text Generation Inference."""
_BLANKS: Final = {0x2581: " ", 0x120: " ", 0x10A: "\n"}
"""How vocabularies write blanks (▁, Ġ, Ċ), which some servers tell of tokens as they are."""
_END: Final = re.compile(r"(?:<\|[^<>|]{1,40}\|>|<end_of_turn>|<eos>|</s>)\Z")
"""The token that ends an answer, of which some servers tell as of the others."""
_MARKS: Final = re.compile(
    r"<(?=\|[^<>|\s]{1,40}\|>|/?(?:start|end)_of_[a-z_]{1,30}>|/?(?:bos|eos|pad|unk|mask|think|no-think|score|guardian)>"
    r"|(?:BEGIN|END) [A-Z ]{1,40}>)",
    re.IGNORECASE,
)
"""Where a token begins that only a template may write, or a heading of the templates."""


# ---------------------------------------------------------------------------------------------------------- what came


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, with natural logarithms of probabilities."""

    text: str
    logprob: float
    others: Mapping[str, float]
    """What else might have stood here. The token itself may be among them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guard said."""

    text: str
    whole: bool
    """It ended by itself, so that nothing is missing at its end."""
    tokens: tuple[Token, ...] = ()
    """The text in tokens; none if the server did not tell, or not in a way that can be read."""

    def chances(self, said: re.Match[str], words: Sequence[str]) -> Mapping[str, float] | None:
        """How likely (0-1, together 1) each of *words* was where *said*, a match in the text, has one as its first group.

        It is the softmax over the alternatives that begin the words. A word that is not among them counts as likely as
        the least of them, at most with what is left of 1. None if the tokens do not tell, or are not those of the text.
        """
        again = said.re.search(_END.sub("", "".join(token.text for token in self.tokens)))
        if again is None or again.group(1) != said.group(1):
            return None
        place, number = again.start(1), 0
        while place >= len(self.tokens[number].text):
            place -= len(self.tokens[number].text)
            number += 1
        return _shares(self.tokens[number], self.tokens[number].text[:place], words)


def _shares(token: Token, before: str, words: Sequence[str]) -> Mapping[str, float] | None:
    listed = {text: math.exp(min(logprob, 0.0)) for text, logprob in {**token.others, token.text: token.logprob}.items()}
    likely: dict[str, float] = {}
    for text, probability in listed.items():
        word = _begun(text.removeprefix(before).strip(), words)
        if word is not None:
            likely[word] = likely.get(word, 0.0) + probability
    unlisted = max(min(*listed.values(), 1.0 - sum(listed.values())), 0.0)
    likely = {word: likely.get(word, unlisted) for word in words}
    together = sum(likely.values())
    return {word: share / together for word, share in likely.items()} if together > 0 else None


def _begun(piece: str, words: Sequence[str]) -> str | None:
    """The one of *words* that *piece* is, begins with or begins; None if there is not just one."""
    fitting = [word for word in words if piece and (word.startswith(piece) or re.match(rf"{word}\b", piece))]
    return fitting[0] if len(fitting) == 1 else None


# -------------------------------------------------------------------------------------------------------------- asking


class GuardServer:
    """The OpenAI-compatible server *service*, whose url ends where ``/chat/completions`` is appended, with its *model*."""

    def __init__(self, service: JSONService, model: str) -> None:
        self._service, self._model = service, model

    async def chat(
        self, messages: Sequence[JSON], *, longest: int, alternatives: int = 5, more: JSONObject | None = None
    ) -> Answer:
        """What the model says to *messages*, in at most *longest* tokens. Raises `ServiceError`.

        So many *alternatives* (at most 20) are asked for with each token. *more* are further fields of the request.
        """
        body: JSONObject = {
            "messages": list(messages),
            "max_tokens": longest,
            "logprobs": True,
            "top_logprobs": alternatives,
        }
        choice = _choice(await self._service.post("/chat/completions", {**self._common(), **body, **(more or {})}))
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        return _answer(text, choice, _of_chat(choice.get("logprobs")))

    async def complete(self, prompt: str, *, longest: int) -> Answer:
        """How the model goes on after *prompt*, which no template is put around. Raises `ServiceError`."""
        body: JSONObject = {"prompt": prompt, "max_tokens": longest, "logprobs": 5}  # 5 is OpenAI's limit
        choice = _choice(await self._service.post("/completions", {**self._common(), **body}))
        return _answer(choice.get("text"), choice, _of_completion(choice.get("logprobs")))

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    def _common(self) -> JSONObject:
        return {"model": self._model, "temperature": 0}


def _choice(value: JSON) -> JSONObject:
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ServiceError("invalid_answer")
    return choices[0]


def _answer(text: JSON, choice: JSONObject, tokens: Iterable[Token | None]) -> Answer:
    if not isinstance(text, str):
        raise ServiceError("invalid_answer")
    reason, told = choice.get("finish_reason"), list(tokens)
    whole = (reason is None or isinstance(reason, str)) and reason in _ENDED
    return Answer(text, whole, tuple(token for token in told if token) if all(told) else ())


def _of_chat(logprobs: JSON) -> list[Token | None]:
    """From ``{"content": [{"token", "logprob", "top_logprobs": [{"token", "logprob"}]}]}``."""
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    found: list[Token | None] = []
    for entry in entries if isinstance(entries, list) else ():
        fields = entry if isinstance(entry, dict) else {}
        listed = fields.get("top_logprobs")
        others = [other for other in listed if isinstance(other, dict)] if isinstance(listed, list) else []
        found.append(
            _token(fields.get("token"), fields.get("logprob"), [(o.get("token"), o.get("logprob")) for o in others])
        )
    return found


def _of_completion(logprobs: JSON) -> list[Token | None]:
    """From ``{"tokens": […], "token_logprobs": […], "top_logprobs": [{token: logprob}]}``."""
    fields = logprobs if isinstance(logprobs, dict) else {}
    texts, numbers, others = fields.get("tokens"), fields.get("token_logprobs"), fields.get("top_logprobs")
    if not isinstance(texts, list) or not isinstance(numbers, list) or len(texts) != len(numbers):
        return []
    tops = others if isinstance(others, list) and len(others) == len(texts) else [None] * len(texts)
    return [
        _token(text, number, list(top.items()) if isinstance(top, dict) else [])
        for text, number, top in zip(texts, numbers, tops, strict=True)
    ]


def _token(text: JSON, logprob: JSON, others: Sequence[tuple[JSON, JSON]]) -> Token | None:
    listed: dict[str, float] = {}
    for other, number in others:
        if isinstance(other, str) and isinstance(number, int | float):
            told = other.translate(_BLANKS)
            listed[told] = max(float(number), listed.get(told, -math.inf))
    if not isinstance(text, str) or not isinstance(logprob, int | float):
        return None
    return Token(text.translate(_BLANKS), float(logprob), listed)


# ------------------------------------------------------------------------------------------------------ what is judged


def plain(text: str) -> str:
    """*text* in which nothing is a token or a heading of a template any more: a blank stands after the ``<`` of each.

    Servers read such tokens in a message, too; a text that writes them could end its own turn and speak for the guard.
    """
    return _MARKS.sub("< ", text)


def fold(query: Query) -> list[Turn]:
    """The conversation with the text of *query* at its end, as templates take it: first user, then by turns, all `plain`.

    Who is no assistant is a user. Turns of the same role that come to stand together are one. A first turn that is the
    assistant's is the user's, and blank ones are left out. A completion ends it as the assistant's turn if somebody spoke
    before it, else as a user's; any other text does as a user's. It may be blank only if *query* has images.
    """
    said = [turn for turn in query.conversation if turn.text.strip()]
    ends = "assistant" if query.kind is Kind.COMPLETION and any(turn.role != "assistant" for turn in said) else "user"
    turns: list[Turn] = []
    for turn in (*said, Turn(ends, query.text)):
        role = "assistant" if turn.role == "assistant" and turns else "user"
        text = plain(turn.text)
        if turns and turns[-1].role == role:
            text = "\n\n".join(part for part in (turns.pop().text, text) if part.strip())
        turns.append(Turn(role, text))
    return turns


def question_of(query: Query) -> str | None:
    """What the completion *query* answers to, `plain`: what a user said last. None if that is unknown, or if it is none."""
    if query.kind is not Kind.COMPLETION:
        return None
    asked = [turn.text for turn in query.conversation if turn.role == "user" and turn.text.strip()]
    return plain(asked[-1]) if asked else None


# ------------------------------------------------------------------------------------------------------ what it means


@dataclass(frozen=True, slots=True)
class Scale:
    """How severe (0-7) a finding is: *severity*; by its probability, if that is known and there are *cutoffs*."""

    severity: int
    cutoffs: Cutoffs | None

    def verdict(
        self, hazards: Hazards, kind: Kind, found: Collection[str], chance: float | None = None, *, said: bool = True
    ) -> Verdict:
        """The verdict on a text of *kind* in which the model *said* that there is what *found* names, or that there is not.

        *chance* is the probability that there is. Raises KeyError for a hazard that is not in the table.
        """
        if self.cutoffs is not None and chance is not None:
            return graded(hazards, kind, dict.fromkeys(found, self.cutoffs.severity(chance)))
        return hazards.verdict(dict.fromkeys(found, self.severity) if said else {}, kind)


def graded(hazards: Hazards, kind: Kind, found: Mapping[str, int]) -> Verdict:
    """As `Hazards.verdict`, for severities that are degrees of doubt. What has severity 0 was not found.

    A weak finding, one below medium, detects nothing that is found or not, and is at most as severe as it is weak, whatever
    severity the table has for it.
    """
    rows = {name: _weakened(hazards.table[name], severity) for name, severity in found.items() if severity > 0}
    seen = Hazards(rows).verdict({name: found[name] for name in rows}, kind)
    return union([hazards.verdict({}, kind), seen])


def _weakened(levels: Levels, severity: int) -> Levels:
    if severity >= Severity.MEDIUM:
        return levels
    return {c: severity if level is None else min(level, severity) for c, level in levels.items() if c in HARMS}


def table(default: Hazards, rows: Mapping[str, Levels], more: Collection[str] = ()) -> Hazards:
    """*default* with *rows*, whose names are its own or among *more*.

    Raises `ConfigError` for others: a hazard that is never looked for would be one that is never found.
    """
    known = {*default.table, *more}
    if not rows.keys() <= known:
        raise ConfigError(f"may have rows for these only: {', '.join(sorted(known))}", field="hazards")
    return default.replaced(rows)


def score(verdict: Verdict, scores: Mapping[str, float] | None) -> Verdict:
    """*verdict* with *scores*, if there are any."""
    return verdict if scores is None else replace(verdict, scores=dict(scores))


def identity(kind: str, service: JSONService, model: str, hazards: Hazards, scale: Scale, *options: str) -> str:
    """`Classifier.identity`: type, url, model, *options* (which depend on nothing secret), severities and table."""
    cutoffs = scale.cutoffs
    grades = "none" if cutoffs is None else f"{cutoffs.low}/{cutoffs.medium}/{cutoffs.high}"
    told = (kind, digest(service.url), repr(model), *options, f"severity={scale.severity}", f"cutoffs={grades}")
    return ":".join((*told, hazards.identity()))


def digest(text: str) -> str:
    """Twelve digits (hexadecimal, of SHA-256) that stand for *text*."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
