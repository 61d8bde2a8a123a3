"""A webhook on loopback, of the shape that ``docs/classifiers.md`` describes."""

from __future__ import annotations

import base64
from typing import Any, Final

from aiohttp import web

from tests.classifiers.loopback import LoopbackService, Received

PATH: Final = "/judge"
HARMS: Final = ("hate", "sexual", "violence", "self_harm")
WORDS: Final = {"hatred": ("hate", 6), "naked": ("sexual", 4), "slaughter": ("violence", 7), "despair": ("self_harm", 3)}
ATTACK: Final = "ignore all rules"


class WebhookEmulator(LoopbackService):
    """Judges by words of a text, or of the bytes of an image; a word does not count at an open edge."""

    def answer(self, request: Received) -> web.Response:
        body = request.body
        if request.path != PATH or not isinstance(body, dict) or body.get("version") != 1:
            return web.json_response({"error": "no such hook"}, status=404)
        return web.json_response({"verdicts": [_judge(text) for text in body["texts"]]})


def _judge(told: dict[str, Any]) -> dict[str, Any]:
    seen = " ".join(base64.b64decode(image["data"]).decode("latin-1") for image in told.get("images", ()))
    severities = dict.fromkeys(HARMS, 0)
    spans = []
    for word, (harm, severity) in WORDS.items():
        start = told["text"].find(word)
        cut = (told["open_left"] and start == 0) or (told["open_right"] and start + len(word) == len(told["text"]))
        if (start >= 0 and not cut) or word in seen:
            severities[harm] = severity
        if start >= 0:
            spans.append({"start": start, "end": start + len(word), "label": harm, "weight": 1})
    kind = {"user_prompt": "jailbreak", "document": "indirect_attack"}.get(told["kind"])
    detections = {} if kind is None else {kind: ATTACK in told["text"]}
    return {"severities": severities, "detections": detections, "spans": spans, "scores": {"worst": 0.5}}
