"""Guard models on loopback, behind a server that speaks OpenAI's formats as vLLM does.

Each shows its model what the real chat template would render, or refuses what that refuses, and judges by words: `WORDS`.
What the model saw is in `seen`.
"""

from __future__ import annotations

import base64
import json
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from aiohttp import web

from tests.classifiers.loopback import LoopbackService, Received

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
MODEL: Final = "guard"
CONTEXT: Final = 32_000
"""Characters that the model takes."""


@dataclass(frozen=True)
class Piece:
    """A token, and the probabilities of what might have stood in its place, itself included."""

    text: str
    chances: Mapping[str, float] = field(default_factory=dict)

    def entry(self, alternatives: int) -> dict[str, Any]:
        """As ``logprobs.content`` has it."""
        top = [_logprob(text, chance) for text, chance in self.ranked()[:alternatives]]
        return {**_logprob(self.text, self.chance), "top_logprobs": top}

    def ranked(self) -> list[tuple[str, float]]:
        return sorted((self.chances or {self.text: 1.0}).items(), key=lambda pair: -pair[1])

    @property
    def chance(self) -> float:
        return self.chances.get(self.text, 1.0)


def _log(chance: float) -> float:
    return math.log(chance) if chance > 0 else -9999.0


def _logprob(text: str, chance: float) -> dict[str, Any]:
    return {"token": text, "logprob": _log(chance), "bytes": list(text.encode())}


class Refused(Exception):  # noqa: N818 - it is no error of the emulator's
    """The server answers 400: the template raised, or the request is not valid."""


class GuardEmulator(LoopbackService):
    """The server. A subclass is one guard model."""

    WORDS: ClassVar[Mapping[str, str]]
    """What the model takes for harmful, with its own name for it."""
    path: ClassVar[str] = CHAT

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.sure = 0.9
        """The probability of the word that it says."""
        self.logprobs = True
        """Whether the server tells them."""
        self.reply: str | None = None
        """Said in place of a judgement."""
        self.finish_reason: str | None = "stop"
        self.marker = " "
        """How the server writes the blank at the beginning of a token."""

    @property
    def base(self) -> str:
        """The url of a configuration."""
        return f"{self.url}/v1"

    def answer(self, request: Received) -> web.Response:
        """A judgement, or the error of a request that is not valid."""
        body = request.body
        if request.path != self.path or body.get("model") != MODEL:
            return _error(404, "NotFoundError", "The model does not exist.")
        try:
            pieces = self._judged(body)
        except Refused as error:
            return _error(400, "BadRequestError", str(error))
        reason = "length" if len(pieces) > body["max_tokens"] else self.finish_reason
        pieces = pieces[: body["max_tokens"]]
        choice = self._chosen(pieces, body) | {"index": 0, "finish_reason": reason, "stop_reason": None}
        kind = "chat.completion" if self.path == CHAT else "text_completion"
        usage = {"prompt_tokens": 100, "completion_tokens": len(pieces), "total_tokens": 100 + len(pieces)}
        answer = {"id": "cmpl-1", "object": kind, "created": 1, "model": MODEL, "choices": [choice], "usage": usage}
        return web.json_response(answer)

    @abstractmethod
    def judge(self, body: Mapping[str, Any]) -> list[Piece]:
        """What the model says. Raises `Refused`."""

    def found(self, text: str) -> list[str]:
        """What is harmful in *text*."""
        return [name for word, name in self.WORDS.items() if word in text]

    def _judged(self, body: Mapping[str, Any]) -> list[Piece]:
        most = 20 if self.path == CHAT else 5
        if not isinstance(body.get("max_tokens"), int) or body["temperature"] != 0:
            raise Refused("max_tokens")
        if not 0 <= body["top_logprobs" if self.path == CHAT else "logprobs"] <= most:
            raise Refused("logprobs")
        pieces = self.judge(body) if self.reply is None else [Piece(self.reply)]
        if self.seen and len(self.seen[-1]) > CONTEXT:
            raise Refused("This model's maximum context length is 8192 tokens.")
        return pieces

    def _chosen(self, pieces: Sequence[Piece], body: Mapping[str, Any]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        told = [
            Piece(_marked(p.text, self.marker), {_marked(t, self.marker): c for t, c in p.chances.items()}) for p in pieces
        ]
        if self.path == CHAT:
            content = {"content": [piece.entry(body["top_logprobs"]) for piece in told]}
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "tool_calls": []}
            return {"message": message, "logprobs": content if self.logprobs else None}
        logprobs = {
            "tokens": [piece.text for piece in told],
            "token_logprobs": [_log(piece.chance) for piece in told],
            "top_logprobs": [{t: _log(c) for t, c in piece.ranked()[: body["logprobs"]]} for piece in told],
            "text_offset": [len("".join(piece.text for piece in told[:number])) for number in range(len(told))],
        }
        return {"text": text, "logprobs": logprobs if self.logprobs else None}


def _marked(text: str, marker: str) -> str:
    return marker + text[1:] if text.startswith(" ") else text


def _error(status: int, kind: str, message: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages")
    for message in messages:
        if message["role"] not in {"system", "user", "assistant", "tool"}:
            raise Refused("role")
    return messages


def _two(word: str, other: str, chance: float) -> dict[str, float]:
    """The probabilities where the model says *word*."""
    return {word: chance * 0.98, other: (1 - chance) * 0.98, "I": 0.015, "The": 0.005}


class LlamaGuardEmulator(GuardEmulator):
    """Llama Guard 3 or 4. The templates of 1B, 11B-Vision and 4 show the model the parts of a message, nothing else."""

    WORDS: ClassVar[Mapping[str, str]] = {
        "slaughter": "S1",
        "fraud": "S2",
        "verses": "S8",
        "hatred": "S10",
        "despair": "S11",
        "naked": "S12",
        "shell": "S14",
    }

    def __init__(self, variant: str = "3-8b") -> None:
        super().__init__()
        self.variant = variant

    def judge(self, body: Mapping[str, Any]) -> list[Piece]:
        """*safe* or *unsafe* of the last message, with codes."""
        shown = [self._shown(message, number) for number, message in enumerate(_messages(body))]
        roles = ["User", "Agent"]
        self.seen.append("\n\n".join(f"{roles[number % 2]}: {text}" for number, text in enumerate(shown) if text))
        codes = [code for code in self.found(shown[-1]) if code != "S14" or self.variant in {"3-8b", "4"}]
        if not codes:
            return [Piece("\n\n"), Piece("safe", _two("safe", "unsafe", self.sure)), Piece("")]
        named = [Piece(part) for part in re.split("(,)", ",".join(codes))]
        return [Piece("\n\n"), Piece("unsafe", _two("unsafe", "safe", self.sure)), Piece("\n"), *named]

    def _shown(self, message: Mapping[str, Any], number: int) -> str:
        if message["role"] != ("user", "assistant")[number % 2]:
            raise Refused("Conversation roles must alternate user/assistant/user/assistant/...")
        content = message["content"]
        if self.variant == "3-8b":
            return str(content).strip()  # a list is written out as it is
        parts = content if isinstance(content, list) else []
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        if len(images) > {"3-1b": 0, "3-11b-vision": 1, "4": 5}[self.variant]:
            raise Refused("At most so many image(s) may be provided in one prompt.")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        return "".join([_pictured(url) for url in images] + texts).strip()


def _pictured(url: str) -> str:
    found = re.fullmatch(r"data:image/\w+;base64,([0-9A-Za-z+/=]+)", url)
    if found is None:
        raise Refused("image_url")
    return f"[{base64.b64decode(found.group(1), validate=True).decode('latin-1')}]"


class Qwen3GuardEmulator(GuardEmulator):
    """Qwen3Guard-Gen, which judges the last message."""

    WORDS: ClassVar[Mapping[str, str]] = {
        "slaughter": "Violent",
        "fraud": "Non-violent Illegal Acts",
        "verses": "Copyright Violation",
        "hatred": "Unethical Acts",
        "despair": "Suicide & Self-Harm",
        "naked": "Sexual Content or Sexual Acts",
        "ignore": "Jailbreak",
    }

    def judge(self, body: Mapping[str, Any]) -> list[Piece]:
        """The three lines. What is "perhaps" harmful is controversial."""
        messages = _messages(body)
        last = messages[-1]
        self.seen.append("\n".join(f"{message['role'].upper()}: {message['content']}" for message in messages))
        categories = [c for c in self.found(last["content"]) if c != "Jailbreak" or last["role"] == "user"]
        word = " Safe" if not categories else " Contr" if "perhaps" in last["content"] else " Un"
        rest = {" Safe": "", " Contr": "oversial", " Un": "safe"}
        least = (1 - self.sure) / 2
        pieces = [
            Piece("Safety"),
            Piece(":"),
            Piece(word, {**dict.fromkeys(rest, least), word: self.sure}),
            Piece(rest[word]),
        ]
        lines = "\nCategories: " + (", ".join(categories) or "None")
        return [*pieces, Piece(lines), Piece("\nRefusal: No" if last["role"] == "assistant" else "")]


_TRAINED: Final = re.compile(
    r"You are a policy expert trying to help determine whether (?P<judged>a user prompt|an AI response to a prompt) is in "
    r"violation of the defined safety policies\.\n\n<start_of_turn>\nHuman Question: (?P<question>.*?)\n<end_of_turn>\n"
    r"(?:<start_of_turn>\nChatbot Response: (?P<response>.*?)\n<end_of_turn>\n)?\nOur safety principle is defined in the "
    r'below:\n\n\* "No (?P<policy>[\w ]+)": The (?P<subject>prompt shall not contain or seek generation of|chatbot shall '
    r"not generate) content that [^\n]+\n\n===\n\nDoes the (?P<asked>human question|Chatbot Response) violate the above "
    r"principle\? Your answer must start with 'Yes' or 'No'\. And then walk through step by step to be sure we answer "
    r"correctly\.\n\n",
    re.DOTALL,
)


class ShieldGemmaEmulator(GuardEmulator):
    """ShieldGemma, which goes on with the prompt that it was trained with, and rambles after any other."""

    path = COMPLETIONS
    WORDS: ClassVar[Mapping[str, str]] = {
        "slaughter": "Dangerous Content",
        "idiot": "Harassment",
        "hatred": "Hate Speech",
        "naked": "Sexually Explicit Information",
    }

    def __init__(self) -> None:
        super().__init__()
        self.lead = ""
        """Blanks that it says before the word."""

    def judge(self, body: Mapping[str, Any]) -> list[Piece]:
        """Yes or no, and a reason."""
        self.seen.append(body["prompt"])
        form = _TRAINED.fullmatch(body["prompt"])
        if form is None or (form["response"] is not None) != (form["asked"] == "Chatbot Response"):
            return [Piece("I"), Piece(" think")]
        harmful = form["policy"] in self.found(form["question"] if form["response"] is None else form["response"])
        word, other = ("Yes", "No") if harmful else ("No", "Yes")
        pieces = [Piece(word, _two(word, other, self.sure)), Piece("\n\n"), Piece("The"), Piece(" principle"), Piece(" is")]
        return pieces if not self.lead else [Piece(self.lead), *pieces]


class GraniteGuardianEmulator(GuardEmulator):
    """Granite Guardian. Whoever does not tell the risk in the way of the *version* has "harm" judged."""

    WORDS: ClassVar[Mapping[str, str]] = {
        "slaughter": "violence",
        "despair": "self_harm",
        "hatred": "social_bias",
        "naked": "sexual_content",
        "ignore": "jailbreak",
        "damn": "profanity",
        "acme": "acme",
    }
    ABOUT: ClassVar[Mapping[str, str]] = {
        "self-harm": "self_harm",
        "violence": "violence",
        "prejudice": "social_bias",
        "sexual": "sexual_content",
        "safeguards": "jailbreak",
        "crude": "profanity",
        "Acme": "acme",
    }
    """Words of definitions, and the risks that the model takes them for."""
    KNOWN: ClassVar[frozenset[str]] = frozenset(
        {"harm", "social_bias", "profanity", "sexual_content", "unethical_behavior", "violence", "jailbreak"}
    )

    def __init__(self, version: str = "3.3") -> None:
        super().__init__()
        self.version = version
        self.risks: list[tuple[str, str]] = []
        """The role that was judged, and the risk."""

    def judge(self, body: Mapping[str, Any]) -> list[Piece]:
        """Yes or no in the form of the version."""
        messages = _messages(body)
        arguments = body.get("chat_template_kwargs", {})
        risk, judged = self._risk(messages, arguments), messages
        if self.version == "4.1" and messages[-1]["content"].startswith("<guardian>"):
            judged = messages[:-1]
        self.risks.append((judged[-1]["role"], risk))
        self.seen.append(json.dumps(messages, ensure_ascii=False))
        harmful = risk in self.found(judged[-1]["content"])
        if self.version in {"3.0", "3.1", "3.2"}:
            word, other = ("Yes", "No") if harmful else ("No", "Yes")
            confidence = Piece("\n<confidence> High </confidence>" if self.version == "3.2" else "")
            return [Piece(word, _two(word, other, self.sure)), confidence, Piece("")]
        thoughts = Piece("<think>\n</think>" if arguments.get("think") is False or self.version == "4.1" else "<think>\nHm")
        word, other = (" yes", " no") if harmful else (" no", " yes")
        return [thoughts, Piece("\n<score>"), Piece(word, _two(word, other, self.sure)), Piece(" "), Piece("</score>")]

    def _risk(self, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> str:
        config = arguments.get("guardian_config", {})
        if self.version == "4.1":
            form = re.fullmatch(
                r"<guardian><no-think>As a judge agent, [^#]+\n\n### Criteria: (?P<criteria>[^\n]+)\n\n### Scoring Schema: "
                r"If the last (?P<role>user|assistant)'s text meets the criteria, return 'yes'; otherwise, return 'no'\.",
                messages[-1]["content"],
            )
            if form is None:
                return "harm"
            if form["role"] != messages[-2]["role"]:
                raise Refused("the block is about another message")
            return self._about(form["criteria"])
        name, definition = ("criteria_id", "custom_criteria") if self.version == "3.3" else ("risk_name", "risk_definition")
        if definition in config:
            return self._about(config[definition])
        if config.get(name, "harm") not in self.KNOWN:
            raise Refused("the risk is not defined")
        return str(config.get(name, "harm"))

    def _about(self, definition: str) -> str:
        return next(risk for word, risk in self.ABOUT.items() if word in definition)
