"""Azure AI Content Safety, through the official SDK's async client.

The questions that are put to the service: ``text:analyze`` for the four harms at eight levels, and blocklists of the
resource; ``image:analyze`` for the harms of an image at four levels; ``text:shieldPrompt`` for attacks, which are jailbreaks
in what users write and indirect attacks in documents; ``text:detectProtectedMaterial`` and, in preview,
``text:detectProtectedMaterialForCode`` for completions. The SDK has methods for the first two; the others go through the
same client as requests of their own (REST reference, api-versions 2024-09-01 and 2024-09-15-preview).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from azure.ai.contentsafety.aio import ContentSafetyClient
from azure.ai.contentsafety.models import (
    AnalyzeImageOptions,
    AnalyzeImageOutputType,
    AnalyzeTextOptions,
    AnalyzeTextOutputType,
    ImageData,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy, SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from safety_proxy.classifiers.azure_answers import HARM_NAMES, read_attack, read_blocklists, read_harms, sides_of
from safety_proxy.classifiers.service import Question, ServiceError, refused
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import HARMS, Category, Image, Kind, Query, Verdict

_API_VERSION: Final = "2024-09-01"
"""The one stable version that has ``text:shieldPrompt``; the other two are the same in all."""
_PREVIEW: Final = "2024-09-15-preview"
"""The version that looks for protected code."""
_LIMIT: Final = 10_000
"""Code points that the service takes in one text, and in all documents of one question together."""
_DOCUMENTS: Final = 5
"""Documents that it takes in one question."""
_SHORTEST_MATERIAL: Final = 110
"""Code points of the shortest text in which it looks for protected material."""
_UNASKED: Final = "unasked"
"""The route of what is known without asking. It has a breaker of its own: it neither says that the service is well, nor is
it refused while the service is down."""
_IMAGE_BYTES: Final = 4 * 1024 * 1024
_IMAGE_SIDES: Final = range(50, 7200 + 1)
"""Pixels that either side of an image may have. The REST reference says 2048 at most, the service's page on limits 7200:
what lies between is for the service to say."""
_SHIELDS: Final[Mapping[Kind, Category]] = {
    Kind.USER_PROMPT: Category.JAILBREAK,
    Kind.DOCUMENT: Category.INDIRECT_ATTACK,
}
_MATERIAL: Final = {
    "protected_material_text": ("text:detectProtectedMaterial", "text", _API_VERSION, Category.PROTECTED_MATERIAL_TEXT),
    "protected_material_code": ("text:detectProtectedMaterialForCode", "code", _PREVIEW, Category.PROTECTED_MATERIAL_CODE),
}
"""By check: the route, the name of the text, the version, and what is found."""
_BROKEN: Final = (ServiceRequestError, ServiceResponseError, IncompleteReadError)
"""The SDK's errors when no answer came, or half of one."""


class AzureContentSafety:
    """An `Adapter` for the Content Safety resource at *endpoint* (a slash at its end does not matter).

    *credential* is a key, or gives tokens for *scope* (``https://cognitiveservices.azure.com/.default``); it raises the
    SDK's ``ClientAuthenticationError`` if it has none, and is closed with the adapter. Tokens are sent over TLS only, except
    to an endpoint on this machine: raises `ConfigError` for any other that begins with ``http:``. *checks* are of ``harms``,
    ``shields``, ``protected_material_text`` and ``protected_material_code``; *blocklists* are names of lists of the
    resource, which are searched with the harms. If they could not be searched, the harms are undecided, asked for or not.

    A text of fewer than 110 characters is clear of protected material without asking: the service takes none. An image is
    ``rejected`` without asking if it is known to be larger or smaller than the service takes. What is known without asking
    has a route of its own, ``unasked``.

    Nothing is tried twice here, no redirect is followed, and no content is logged: the SDK's retries and its log of
    requests are taken out of its pipeline, its log of bodies is off.
    """

    limit: int | None = _LIMIT
    overlap = 1_000
    reads_conversation = False

    def __init__(
        self,
        endpoint: str,
        credential: str | AsyncTokenCredential,
        *,
        scope: str | None = None,
        checks: frozenset[str] = frozenset({"harms", "shields"}),
        blocklists: tuple[str, ...] = (),
    ) -> None:
        endpoint = endpoint.rstrip("/")  # the SDK would ask for //contentsafety
        self._checks, self._blocklists = checks, blocklists
        self.reads_images = "harms" in checks
        told = ("0-7", *sorted(checks), *(f"list={name}" for name in sorted(blocklists)))
        digest = hashlib.sha256(endpoint.encode()).hexdigest()[:12]
        self.identity = ":".join(("azure_content_safety", digest, _API_VERSION, *told))
        self._credential = credential
        # The SDK sends tokens over TLS only, unless it is told otherwise with each request.
        bears_tokens_openly = not isinstance(credential, str) and urlsplit(endpoint).scheme == "http"
        if bears_tokens_openly and not _is_loopback(urlsplit(endpoint).hostname or ""):
            raise ConfigError("must begin with https:// where tokens are sent to another machine", field="endpoint")
        self._plain: dict[str, Any] = {"enforce_https": False} if bears_tokens_openly else {}
        self._client = ContentSafetyClient(
            endpoint,
            AzureKeyCredential(credential) if isinstance(credential, str) else credential,
            api_version=_API_VERSION,
            retry_policy=_OnlyTry(),
            redirect_policy=SansIOHTTPPolicy(),
            http_logging_policy=SansIOHTTPPolicy(),
            logging_enable=False,
            **({} if scope is None else {"credential_scopes": [scope]}),
        )

    def reports(self, kind: Kind, /) -> frozenset[Category]:
        """The four harms; the attack that a text of this *kind* can be; of completions protected material. As checked."""
        reported = set(HARMS) if "harms" in self._checks else set[Category]()
        if kind in _SHIELDS and "shields" in self._checks:
            reported.add(_SHIELDS[kind])
        if kind is Kind.COMPLETION:
            reported |= {category for check, (*_, category) in _MATERIAL.items() if check in self._checks}
        return frozenset(reported)

    def questions(self, queries: Sequence[Query], /) -> Sequence[Question]:
        """One for each text or image and each check; up to five documents share a question about attacks.

        Raises `ClassifierError` for a text that is longer than the service takes.
        """
        if any(len(query.text) > _LIMIT for query in queries):
            raise ClassifierError("rejected", "a text is longer than the service takes")
        return [
            *(each for position, query in enumerate(queries) for each in self._about(position, query)),
            *(self._about_documents(queries) if "shields" in self._checks else ()),
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        if not isinstance(self._credential, str):
            await self._credential.close()

    # ------------------------------------------------------------------------------------------------ questions

    def _about(self, position: int, query: Query) -> Iterator[Question]:
        if "harms" in self._checks:
            for image in query.images:
                if _is_taken(image):
                    yield Question("image:analyze", (position,), HARMS, partial(self._ask, partial(self._look_at, image)))
                else:
                    yield _unasked(position, Verdict(failures=dict.fromkeys(sorted(HARMS), "rejected")))
        if not query.text.strip():
            return
        if "harms" in self._checks or self._blocklists:
            # Of lists alone, too: a verdict has no other word for a list that was not searched, and silence would pass.
            yield Question("text:analyze", (position,), HARMS, partial(self._ask, partial(self._analyse, query)))
        if query.kind is Kind.USER_PROMPT and "shields" in self._checks:
            shield = partial(self._shield_prompt, query.text)
            yield Question("text:shieldPrompt", (position,), frozenset({Category.JAILBREAK}), partial(self._ask, shield))
        if query.kind is Kind.COMPLETION:
            for check in sorted(self._checks & _MATERIAL.keys()):
                route, *_, category = _MATERIAL[check]
                if len(query.text) < _SHORTEST_MATERIAL:
                    yield _unasked(position, Verdict(detections={category: False}))
                    continue
                detect = partial(self._detect_material, check, query.text)
                yield Question(route, (position,), frozenset({category}), partial(self._ask, detect))

    def _about_documents(self, queries: Sequence[Query]) -> Iterator[Question]:
        batch: list[int] = []
        for position, query in enumerate(queries):
            if query.kind is not Kind.DOCUMENT or not query.text.strip():
                continue
            together = sum(len(queries[i].text) for i in batch) + len(query.text)
            if batch and (len(batch) == _DOCUMENTS or together > _LIMIT):
                yield self._about_batch(batch, queries)
                batch = []
            batch.append(position)
        if batch:
            yield self._about_batch(batch, queries)

    def _about_batch(self, batch: Sequence[int], queries: Sequence[Query]) -> Question:
        shield = partial(self._shield_documents, [queries[i].text for i in batch])
        category = frozenset({Category.INDIRECT_ATTACK})
        return Question("text:shieldPrompt", tuple(batch), category, partial(self._ask, shield))

    # ------------------------------------------------------------------------------------------------ asking

    async def _ask(self, question: Callable[[], Any]) -> Sequence[Verdict]:
        """The answer to *question*. Raises `ServiceError`, whatever the SDK raises."""
        try:
            answer: Sequence[Verdict] = await question()
        except ServiceError:
            raise
        except ClientAuthenticationError:
            raise ServiceError("unauthorized") from None
        except _BROKEN:
            raise ServiceError("unreachable", again=True) from None
        except Exception:  # noqa: BLE001 - the SDK lets through whatever its reading of an odd answer raises
            raise ServiceError("invalid_answer") from None
        return answer

    async def _analyse(self, query: Query) -> Sequence[Verdict]:
        options = AnalyzeTextOptions(
            text=query.text, categories=list(HARM_NAMES), output_type=AnalyzeTextOutputType.EIGHT_SEVERITY_LEVELS
        )
        if self._blocklists:
            options.blocklist_names, options.halt_on_blocklist_hit = list(self._blocklists), False
        answer = await self._client.analyze_text(options, **self._plain)
        lists, spans = read_blocklists(answer.get("blocklistsMatch"), self._blocklists, query.text)
        harms = read_harms(answer.get("categoriesAnalysis")) if "harms" in self._checks else Verdict()
        return [Verdict(harms.severities, blocklists=lists, spans=spans, failures=harms.failures)]

    async def _look_at(self, image: Image) -> Sequence[Verdict]:
        options = AnalyzeImageOptions(
            image=ImageData(content=image.data),
            categories=list(HARM_NAMES),
            output_type=AnalyzeImageOutputType.FOUR_SEVERITY_LEVELS,
        )
        answer = await self._client.analyze_image(options, **self._plain)
        return [read_harms(answer.get("categoriesAnalysis"))]

    async def _shield_prompt(self, text: str) -> Sequence[Verdict]:
        answer = await self._post("text:shieldPrompt", {"userPrompt": text})
        return [read_attack(Category.JAILBREAK, answer.get("userPromptAnalysis"), "attackDetected")]

    async def _shield_documents(self, texts: Sequence[str]) -> Sequence[Verdict]:
        answer = await self._post("text:shieldPrompt", {"documents": list(texts)})
        analyses = answer.get("documentsAnalysis") or []
        if not isinstance(analyses, list) or len(analyses) > len(texts):
            raise ServiceError("invalid_answer")
        told = [*analyses, *[None] * (len(texts) - len(analyses))]
        return [read_attack(Category.INDIRECT_ATTACK, analysis, "attackDetected") for analysis in told]

    async def _detect_material(self, check: str, text: str) -> Sequence[Verdict]:
        route, name, version, category = _MATERIAL[check]
        answer = await self._post(route, {name: text}, version)
        return [read_attack(category, answer.get("protectedMaterialAnalysis"), "detected")]

    async def _post(self, route: str, body: Mapping[str, Any], version: str = _API_VERSION) -> Mapping[str, Any]:
        request = HttpRequest("POST", f"/{route}", params={"api-version": version}, json=body)
        answer: Mapping[str, Any] = (await self._client.send_request(request, **self._plain)).json()
        return answer


def _unasked(position: int, verdict: Verdict) -> Question:
    """What is known of the query at *position* without asking."""

    async def known() -> Sequence[Verdict]:
        return [verdict]

    return Question(_UNASKED, (position,), frozenset({*verdict.detections, *verdict.failures}), known)


def _is_taken(image: Image) -> bool:
    """Whether the service may take *image*: nothing that is known of it says that it does not."""
    return len(image.data) <= _IMAGE_BYTES and all(side in _IMAGE_SIDES for side in sides_of(image))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _OnlyTry(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Takes the place of the SDK's retries, which sleep for as long as the service says. Whoever asks, tries again.

    An answer other than 200 raises ServiceError here, before the SDK tries to read it.
    """

    async def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        """Send *request*."""
        response = await self.next.send(request)
        if response.http_response.status_code != HTTPStatus.OK:
            raise refused(response.http_response.status_code, response.http_response.headers)
        return response
