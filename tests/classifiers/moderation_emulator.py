"""A stand-in for a server with OpenAI's moderation endpoint on loopback, as openai/openai-openapi describes it.

Scores are scripted by words of a text, or of the bytes of an image.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from tests.classifiers.loopback import LoopbackService, Received

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
SEEN: Final = {"self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic"}
"""What images are looked at for."""
WORDS: Final[Mapping[str, tuple[str, float]]] = {
    "hatred": ("hate", 0.93),
    "bully": ("harassment", 0.3),
    "naked": ("sexual", 0.6),
    "slaughter": ("violence/graphic", 0.97),
    "threat": ("harassment/threatening", 0.55),
    "despair": ("self-harm/intent", 0.85),
}
PATH: Final = "/v1/moderations"


class ModerationEmulator(LoopbackService):
    """Answers as omni-moderation does; as an older text-moderation model if *legacy*."""

    def __init__(self, *, legacy: bool = False) -> None:
        super().__init__()
        self.legacy = legacy
        self.left_out: set[str] = set()
        """Categories that are missing in its answers."""

    def answer(self, request: Received) -> web.Response:
        body = request.body
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return refusal(401, "You didn't provide an API key")
        if request.path != PATH or not isinstance(body, dict):
            return refusal(404, "Unknown request URL")
        results = self._results(body.get("input"))
        if results is None:
            return refusal(400, "Invalid value for 'input'")
        return web.json_response({"id": "modr-1", "model": body.get("model"), "results": results})

    def _results(self, said: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401 - whatever came in
        """One result for each text, or one for all parts together; None if the input is neither, or has two images."""
        said = [said] if isinstance(said, str) else said
        if not isinstance(said, list) or not said:
            return None
        if all(isinstance(text, str) and text for text in said):
            return [self._result(text, "text") for text in said]
        if not all(isinstance(part, dict) for part in said) or sum("image_url" in part for part in said) > 1:
            return None
        try:
            return [self._result(" ".join(map(_text_of, said)), "image")]
        except (KeyError, ValueError):
            return None

    def _result(self, text: str, kind: str) -> dict[str, Any]:
        names = [name for name in CATEGORIES if name not in self.left_out]
        if self.legacy:
            names = [name for name in names if not name.startswith("illicit")]
        scores = dict.fromkeys(names, 0.001)
        for word, (name, score) in WORDS.items():
            if word in text and name in scores:
                scores[name] = score
        flags = {name: score >= 0.5 for name, score in scores.items()}
        applied = {name: [kind] if kind == "text" or name in SEEN else [] for name in names}
        result = {"flagged": any(flags.values()), "categories": flags, "category_scores": scores}
        return result if self.legacy else {**result, "category_applied_input_types": applied}


def _text_of(part: Mapping[str, Any]) -> str:
    if part.get("type") == "text":
        return str(part["text"])
    _, _, data = part["image_url"]["url"].partition(";base64,")
    return base64.b64decode(data, validate=True).decode("latin-1")


def refusal(status: int, message: str) -> web.Response:
    """An error as OpenAI words it."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)
