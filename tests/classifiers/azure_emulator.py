"""A stand-in for a Content Safety resource on loopback: the REST API as the service documents it, and its faults.

Severities are scripted by words: each of `WORDS` in a text, or in the bytes of an image, has its harm and its severity,
each of `ATTACKS` is an attack.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

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
_VERSIONS: Final = {
    ANALYSE: {"2023-10-01", "2024-09-01"},
    LOOK: {"2023-10-01", "2024-09-01"},
    SHIELD: {"2024-09-01"},
}
_IMAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    path: str
    version: str
    body: Any


@dataclass
class Fault:
    """What one path answers instead. Without a status it never answers; with *drop* it closes the connection."""

    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: bool = False
    """Close the connection in the middle of the body."""
    times: int | None = None
    """How often before it mends; None: never."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The faulty answer to *request*."""
        assert request.transport is not None
        if self.drop:
            request.transport.abort()
        if not self.cut:
            return web.Response(status=self.status or 200, body=self.body, headers=self.headers)
        half = web.StreamResponse(headers={**self.headers, "Content-Length": str(len(self.body) + 100)})
        await half.prepare(request)
        await half.write(self.body)
        request.transport.close()
        return half


class AzureEmulator:
    """Serves on a free port between `start` and `stop`; keeps what it received."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.gate: asyncio.Event | None = None
        """If there is one, requests wait for it."""
        self.arrived = asyncio.Condition()
        """Notified of every request."""
        self.waiting = 0
        self.most_waiting = 0
        self.abandoned = asyncio.Event()
        """A client left before its answer."""
        self.endpoint = ""
        self._faults: dict[str, Fault] = {}
        app = web.Application(client_max_size=2 * _IMAGE_BYTES)
        app.router.add_post(ANALYSE, self._serve(self._analyse))
        app.router.add_post(LOOK, self._serve(self._look_at))
        app.router.add_post(SHIELD, self._serve(self._shield))
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)

    async def start(self) -> None:
        """Begin to serve; `endpoint` is then the resource's address."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.endpoint = "http://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        """Stop serving; later requests are refused."""
        await self._runner.cleanup()

    def fail(self, path: str, **fault: Any) -> None:  # noqa: ANN401 - the fields of a fault have all types
        """Answer requests for *path* with a `Fault` of these fields from now on."""
        self._faults[path] = Fault(**fault)

    async def received_by(self, count: int) -> None:
        """Wait until *count* requests have come in."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= count)

    def paths(self) -> Sequence[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.received]

    def _serve(
        self, answer: Callable[[Mapping[str, Any]], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            version = request.query.get("api-version", "")
            async with self.arrived:
                self.received.append(Received(request.path, version, body))
                self.arrived.notify_all()
            try:
                await self._wait(request.path)
            except asyncio.CancelledError:
                self.abandoned.set()
                raise
            fault = self._fault(request.path)
            if fault is not None:
                return await fault.answer(request)
            if request.headers.get("Ocp-Apim-Subscription-Key") != KEY:
                return refusal(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
            if version not in _VERSIONS[request.path]:
                return refusal(404, "404", "Resource not found")
            return answer(body)

        return handler

    async def _wait(self, path: str) -> None:
        fault = self._faults.get(path)
        if fault is not None and fault.status is None and not fault.drop:
            await asyncio.Event().wait()
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.waiting -= 1

    def _fault(self, path: str) -> Fault | None:
        fault = self._faults.get(path)
        if fault is not None and fault.times is not None:
            fault.times -= 1
            if fault.times < 0:
                return None
        return fault

    def _analyse(self, body: Mapping[str, Any]) -> web.Response:
        text = body.get("text")
        if not isinstance(text, str) or not text.strip() or len(text) > LIMIT:
            return refusal(400, "InvalidRequestBody", "The text field is required and at most 10000 characters long.")
        step = 1 if body.get("outputType") == "EightSeverityLevels" else 2
        return web.json_response({"blocklistsMatch": [], "categoriesAnalysis": _analysis(text, body, step)})

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


def _analysis(text: str, body: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    severities = dict.fromkeys(body.get("categories") or ["Hate", "SelfHarm", "Sexual", "Violence"], 0)
    for word, (harm, severity) in WORDS.items():
        if word in text and harm in severities:
            severities[harm] = max(severities[harm], severity // step * step)
    return [{"category": harm, "severity": severity} for harm, severity in severities.items()]


def refusal(status: int, code: str, message: str) -> web.Response:
    """An error as the service words it."""
    return web.json_response({"error": {"code": code, "message": message}}, status=status, headers={"x-ms-error-code": code})
