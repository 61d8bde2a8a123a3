"""Azure AI Content Safety, through the official SDK's async client.

Three questions are put to the service: ``text:analyze`` for the four harms at eight levels; ``text:shieldPrompt`` for
attacks, which are jailbreaks in what users write and indirect attacks in documents; and ``image:analyze`` for the four
harms of an image at four levels. The SDK has no method for the second one; it goes through the same client as a request
of its own (REST reference, api-version 2024-09-01).
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from azure.ai.contentsafety.aio import ContentSafetyClient
from azure.ai.contentsafety.models import (
    AnalyzeImageOptions,
    AnalyzeImageOutputType,
    AnalyzeTextOptions,
    AnalyzeTextOutputType,
    ImageData,
    TextCategory,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import (
    IncompleteReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy, SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from safety_proxy.classifiers.base import merge
from safety_proxy.errors import ClassifierError
from safety_proxy.model import HARMS, Category, Image, Kind, Query, Verdict

_API_VERSION: Final = "2024-09-01"
"""The one stable version that has ``text:shieldPrompt``; the other two are the same in all."""
_LIMIT: Final = 10_000
"""Code points that the service takes in one text."""
_IMAGE_BYTES: Final = 4 * 1024 * 1024
_IMAGE_SIDES: Final = range(50, 7200 + 1)
"""Pixels that either side of an image may have. The REST reference says 2048 at most, the service's page on limits 7200:
what lies between is for the service to say."""
_HARMS: Final[Mapping[str, Category]] = {
    TextCategory.HATE: Category.HATE,
    TextCategory.SELF_HARM: Category.SELF_HARM,
    TextCategory.SEXUAL: Category.SEXUAL,
    TextCategory.VIOLENCE: Category.VIOLENCE,
}
"""Images have the same words for them."""
_HIGHEST: Final = 7
_SIZES: Final = {"image/png": (struct.Struct(">II"), 16), "image/gif": (struct.Struct("<HH"), 6)}
"""How and where width and height are written, in the formats that always have them at one place."""
_SHIELDS: Final[Mapping[Kind, Category]] = {
    Kind.USER_PROMPT: Category.JAILBREAK,
    Kind.DOCUMENT: Category.INDIRECT_ATTACK,
}
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses that a second try may mend."""
_REFUSALS: Final = {401: "unauthorized", 403: "unauthorized", 408: "timeout", 429: "rate_limited"}
_BROKEN: Final = (ServiceRequestError, ServiceResponseError, IncompleteReadError)
"""The SDK's errors when no answer came, or half of one."""
_BACKOFF: Final = 0.1
"""Seconds before a second try that the service did not date."""

_Question: TypeAlias = Callable[[], Awaitable[Verdict]]


class AzureContentSafetyClassifier:
    """Asks the Content Safety resource at *endpoint* (``http`` or ``https``; a slash at its end does not matter) with *key*.

    Each call of `classify` has *timeout* seconds for all its texts, second tries included. At most *concurrency* requests
    are under way at a time. A request is tried twice at most; the service's ``Retry-After`` is followed if it asks for
    no more than half of the time, else its refusal counts at once.

    One of the questions may fail without the other: then the verdict tells of what was decided, and its ``failures`` of
    what was not. Only if nothing at all could be decided, `classify` raises ClassifierError.

    A blank text is clean without asking: the service answers 400 to an empty one, and there is nothing in it to judge.
    An image is ``rejected`` without asking if it is known to be larger or smaller than the service takes.

    No content is logged: the SDK's log of requests is taken out of its pipeline, its log of bodies is off.
    """

    limit: int | None = _LIMIT
    overlap = 1_000
    reads_images = True

    def __init__(self, name: str, endpoint: str, key: str, timeout: float = 2.0, concurrency: int = 32) -> None:
        endpoint = endpoint.rstrip("/")  # the SDK would ask for //contentsafety
        self.name = name
        self.identity = f"azure_content_safety:{hashlib.sha256(endpoint.encode()).hexdigest()[:12]}:{_API_VERSION}:0-7"
        self._timeout = timeout
        self._places = asyncio.Semaphore(concurrency)
        self._client = ContentSafetyClient(
            endpoint,
            AzureKeyCredential(key),
            api_version=_API_VERSION,
            retry_policy=_SecondTry(patience=timeout / 2),
            http_logging_policy=SansIOHTTPPolicy(),
            logging_enable=False,
        )

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The four harms, and the attack that a text of this *kind* can be. Of images the harms alone."""
        return HARMS | {_SHIELDS[kind]} if kind in _SHIELDS else HARMS

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, in order. Raises `ClassifierError` if no text could be judged for anything."""
        if any(len(query.text) > _LIMIT for query in queries):
            raise ClassifierError("rejected", "a text is longer than the service takes")
        deadline = asyncio.get_running_loop().time() + self._timeout
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._judge(query, deadline)) for query in queries]
        verdicts = [task.result() for task in tasks]
        reasons = [reason for verdict in verdicts for reason in verdict.failures.values()]
        if reasons and not any(verdict.severities or verdict.detections for verdict in verdicts):
            raise ClassifierError(reasons[0])
        return verdicts

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _judge(self, query: Query, deadline: float) -> Verdict:
        if not query.images:
            return await self._judge_text(query, deadline)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(partial(self._look_at, image), HARMS, deadline)) for image in query.images]
            if query.text.strip():
                tasks.append(group.create_task(self._judge_text(query, deadline)))
        return merge([task.result() for task in tasks])

    async def _judge_text(self, query: Query, deadline: float) -> Verdict:
        shield = _SHIELDS.get(query.kind)
        if not query.text.strip():
            return Verdict(dict.fromkeys(HARMS, 0), {} if shield is None else {shield: False})
        if shield is None:
            return await self._ask(partial(self._analyse, query), HARMS, deadline)
        async with asyncio.TaskGroup() as group:
            analysing = group.create_task(self._ask(partial(self._analyse, query), HARMS, deadline))
            shielding = group.create_task(self._ask(partial(self._shield, query), {shield}, deadline))
        harms, attack = analysing.result(), shielding.result()
        return Verdict(harms.severities, attack.detections, failures={**harms.failures, **attack.failures})

    async def _ask(self, question: _Question, categories: Collection[Category], deadline: float) -> Verdict:
        """The answer to *question*; if there is none, a verdict that says why not."""
        try:
            async with asyncio.timeout_at(deadline), self._places:
                return await question()
        except ClassifierError as error:
            reason = error.reason
        except (TimeoutError, ServiceRequestTimeoutError, ServiceResponseTimeoutError):
            reason = "timeout"
        except _BROKEN:
            reason = "unreachable"
        except Exception:  # noqa: BLE001 - the SDK lets through whatever its reading of an odd answer raises
            reason = "invalid_answer"
        return Verdict(failures=dict.fromkeys(categories, reason))

    async def _analyse(self, query: Query) -> Verdict:
        options = AnalyzeTextOptions(
            text=query.text, categories=list(_HARMS), output_type=AnalyzeTextOutputType.EIGHT_SEVERITY_LEVELS
        )
        answer = await self._client.analyze_text(options)
        return _read_harms(answer.get("categoriesAnalysis"))

    async def _look_at(self, image: Image) -> Verdict:
        if len(image.data) > _IMAGE_BYTES or any(side not in _IMAGE_SIDES for side in _sides(image)):
            raise ClassifierError("rejected", "an image is larger or smaller than the service takes")
        options = AnalyzeImageOptions(
            image=ImageData(content=image.data),
            categories=list(_HARMS),
            output_type=AnalyzeImageOutputType.FOUR_SEVERITY_LEVELS,
        )
        answer = await self._client.analyze_image(options)
        return _read_harms(answer.get("categoriesAnalysis"))

    async def _shield(self, query: Query) -> Verdict:
        body = {"documents": [query.text]} if query.kind is Kind.DOCUMENT else {"userPrompt": query.text}
        request = HttpRequest("POST", "/text:shieldPrompt", params={"api-version": _API_VERSION}, json=body)
        answer = (await self._client.send_request(request)).json()
        if query.kind is Kind.DOCUMENT:
            (analysis,) = answer.get("documentsAnalysis") or [None]
        else:
            analysis = answer.get("userPromptAnalysis")
        return _read_attack(_SHIELDS[query.kind], analysis)


def _sides(image: Image) -> tuple[int, ...]:
    """Width and height in pixels; nothing where they would have to be looked for."""
    layout, place = _SIZES.get(image.media_type, (None, 0))
    if layout is None or len(image.data) < place + layout.size:
        return ()
    return layout.unpack_from(image.data, place)


def _read_harms(analysis: Sequence[Mapping[str, Any]] | None) -> Verdict:
    """What ``categoriesAnalysis`` says. A harm that is absent, or whose severity is none of 0-7, stays undecided."""
    severities: dict[Category, int] = {}
    failures = dict.fromkeys(sorted(HARMS), "missing_category")
    for entry in analysis or ():
        harm, severity = _HARMS.get(entry["category"]), entry.get("severity")
        if harm is None:
            continue
        if type(severity) is int and 0 <= severity <= _HIGHEST:
            severities[harm] = max(severity, severities.get(harm, 0))
            failures.pop(harm, None)
        else:
            failures[harm] = "invalid_answer"
    return Verdict(severities, failures=failures)


def _read_attack(category: Category, analysis: Mapping[str, Any] | None) -> Verdict:
    """What one analysis of ``text:shieldPrompt`` says; only true and false decide."""
    if analysis is None or "attackDetected" not in analysis:
        return Verdict(failures={category: "missing_category"})
    detected = analysis["attackDetected"]
    if not isinstance(detected, bool):
        return Verdict(failures={category: "invalid_answer"})
    return Verdict(detections={category: detected})


class _SecondTry(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Takes the place of the SDK's policy, which tries up to four times and sleeps for as long as the service says.

    Judging a text changes nothing, so a request may be sent again whatever became of the first one. An answer other than
    200 raises ClassifierError here, before the SDK tries to read it.
    """

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience

    async def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        """Send *request*, and once more if that may help and is worth the wait."""
        try:
            response = await self.next.send(request)
        except _BROKEN:
            pause = _BACKOFF
        else:
            pause = _seconds(response.http_response.headers.get("Retry-After"))
            if response.http_response.status_code not in _PASSING or not 0 <= pause <= self._patience:
                return _granted(response)
        await asyncio.sleep(pause)
        return _granted(await self.next.send(request))


def _granted(
    response: PipelineResponse[HttpRequest, AsyncHttpResponse],
) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
    status = response.http_response.status_code
    if status == HTTPStatus.OK:
        return response
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ClassifierError("server_error")
    # A redirect is not followed (text and key would go elsewhere); no other success than 200 is documented.
    raise ClassifierError(_REFUSALS.get(status, "rejected") if status >= HTTPStatus.BAD_REQUEST else "invalid_answer")


def _seconds(retry_after: str | None) -> float:
    """The pause that a ``Retry-After`` asks for; NaN if it is no number (a date counts on the clocks being right)."""
    if retry_after is None:
        return _BACKOFF
    try:
        return float(retry_after)
    except ValueError:
        return float("nan")
