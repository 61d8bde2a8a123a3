"""A stand-in for a Content Safety resource on loopback: the REST API as the service documents it, and its faults.

Severities are scripted by words: each of `WORDS` in a text, or in the bytes of an image, has its harm and its severity,
each of `ATTACKS` is an attack.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from tests.classifiers.loopback import LoopbackService, Received

KEY: Final = "loopback-key"
LIMIT: Final = 10_000
WORDS: Final[Mapping[str, tuple[str, int]]] = {
    "loathing": ("Hate", 3),
    "hatred": ("Hate", 6),
    "naked": ("Sexual", 4),
    "blood": ("Violence", 5),
    "slaughter": ("Violence", 7),
    "despair": ("SelfHarm", 2),
}
ATTACKS: Final = ("ignore all rules",)
ANALYSE: Final = "/contentsafety/text:analyze"
SHIELD: Final = "/contentsafety/text:shieldPrompt"
LOOK: Final = "/contentsafety/image:analyze"
MATERIAL: Final = "/contentsafety/text:detectProtectedMaterial"
CODE: Final = "/contentsafety/text:detectProtectedMaterialForCode"
LYRICS: Final = "imagine there is no traffic"
LICENSED: Final = "def quick_inverse_root"
_VERSIONS: Final = {
    MATERIAL: {"2024-09-01"},
    CODE: {"2024-09-15-preview"},
    ANALYSE: {"2023-10-01", "2024-09-01"},
    LOOK: {"2023-10-01", "2024-09-01"},
    SHIELD: {"2024-09-01"},
}
_IMAGE_BYTES: Final = 4 * 1024 * 1024


class AzureEmulator(LoopbackService):
    """A Content Safety resource. `lists` are its blocklists: names, and the texts of their items."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[str]] = {}
        self.tokens: set[str] = set()
        """Bearer tokens that it takes in place of the key."""

    @property
    def endpoint(self) -> str:
        """The resource's address."""
        return self.url

    def fail_at(self, path: str, **fault: Any) -> None:  # noqa: ANN401 - the fields of a fault have all types
        """Answer requests for *path* with a `Fault` of these fields from now on; without any, never."""
        self.fail(path=path, **(fault or {"hang": True}))

    def paths(self) -> Sequence[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.received]

    def answer(self, request: Received) -> web.Response:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.headers.get("Ocp-Apim-Subscription-Key") != KEY and bearer not in self.tokens:
            return refusal(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
        if request.query.get("api-version") not in _VERSIONS.get(request.path, ()):
            return refusal(404, "404", "Resource not found")
        return {
            ANALYSE: self._analyse,
            LOOK: self._look_at,
            SHIELD: self._shield,
            MATERIAL: self._material,
            CODE: self._code,
        }[request.path](request.body)

    def _analyse(self, body: Mapping[str, Any]) -> web.Response:
        text = body.get("text")
        if not isinstance(text, str) or not text.strip() or len(text) > LIMIT:
            return refusal(400, "InvalidRequestBody", "The text field is required and at most 10000 characters long.")
        step = 1 if body.get("outputType") == "EightSeverityLevels" else 2
        names = body.get("blocklistNames") or []
        if not set(names) <= self.lists.keys():
            return refusal(404, "ResourceNotFound", "The requested blocklist is not found.")
        matches = [
            {"blocklistName": name, "blocklistItemId": f"{name}-{i}", "blocklistItemText": item}
            for name in names
            for i, item in enumerate(self.lists[name])
            if item.lower() in text.lower()
        ]
        return web.json_response({"blocklistsMatch": matches, "categoriesAnalysis": _analysis(text, body, step)})

    def _look_at(self, body: Mapping[str, Any]) -> web.Response:
        image = body.get("image") or {}
        try:
            data = base64.b64decode(image["content"], validate=True)
        except (KeyError, ValueError):
            return refusal(400, "InvalidRequestBody", "The image content is required.")
        if not data or len(data) > _IMAGE_BYTES or body.get("outputType") not in {None, "FourSeverityLevels"}:
            return refusal(400, "InvalidImageSize", "The image is empty or larger than 4 MB.")
        return web.json_response({"categoriesAnalysis": _analysis(data.decode("latin-1"), body, 2)})

    def _shield(self, body: Mapping[str, Any]) -> web.Response:
        prompt, documents = body.get("userPrompt"), body.get("documents")
        texts = [*([] if prompt is None else [prompt]), *(documents or [])]
        if not texts or len(documents or []) > 5 or sum(map(len, texts)) > LIMIT:
            return refusal(400, "InvalidRequestBody", "A prompt or one to five documents, at most 10000 characters.")
        answer: dict[str, Any] = {}
        if prompt is not None:
            answer["userPromptAnalysis"] = {"attackDetected": any(attack in prompt for attack in ATTACKS)}
        if documents is not None:
            answer["documentsAnalysis"] = [
                {"attackDetected": any(attack in text for attack in ATTACKS)} for text in documents
            ]
        return web.json_response(answer)

    def _material(self, body: Mapping[str, Any]) -> web.Response:
        text = body.get("text")
        if not isinstance(text, str) or not 110 <= len(text) <= LIMIT:
            return refusal(400, "InvalidRequestBody", "The text must have 110 to 10000 characters.")
        return web.json_response({"protectedMaterialAnalysis": {"detected": LYRICS in text}})

    def _code(self, body: Mapping[str, Any]) -> web.Response:
        code = body.get("code")
        if not isinstance(code, str) or not 110 <= len(code) <= LIMIT:
            return refusal(400, "InvalidRequestBody", "The code must have 110 to 10000 characters.")
        found = LICENSED in code
        citations = [{"license": "MIT", "sourceUrls": ["https://example.org/x"]}] if found else []
        return web.json_response({"protectedMaterialAnalysis": {"detected": found, "codeCitations": citations}})


def _analysis(text: str, body: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    severities = dict.fromkeys(body.get("categories") or ["Hate", "SelfHarm", "Sexual", "Violence"], 0)
    for word, (harm, severity) in WORDS.items():
        if word in text and harm in severities:
            severities[harm] = max(severities[harm], severity // step * step)
    return [{"category": harm, "severity": severity} for harm, severity in severities.items()]


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error as the service words it."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers={"x-ms-error-code": code})
