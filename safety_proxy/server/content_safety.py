"""Azure AI Content Safety: texts, images, prompts and documents.

An answer tells what the classifiers of the caller's policy say, whatever its rules do about it. What is not known for
certain is an error: clients take a severity of 0 for "safe".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from aiohttp import web

from safety_proxy.dialects.content_safety import (
    analyses,
    read_image_analysis,
    read_material,
    read_shielding,
    read_text_analysis,
    shielding_answer,
)
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON, Annotation, Category, JSONObject, Kind, Query, Severity
from safety_proxy.moderation import Background, Judged
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import FACTS, Handler
from safety_proxy.server.service import Caller, admit_to_service
from safety_proxy.store.base import NoSuchListError

DIALECT: Final = "content_safety"
"""What the log and the metrics call it."""

_Operation = Callable[[Caller, JSON], Awaitable[JSONObject]]

_SHIELDS: Final = {Kind.USER_PROMPT: Category.JAILBREAK, Kind.DOCUMENT: Category.INDIRECT_ATTACK}
_MORE_SLASHES: Final = re.compile("//+(?=contentsafety/)")


def serves(operation: _Operation) -> Handler:
    """A handler that admits the caller, reads the body, and answers with what *operation* makes of it."""

    async def serve(request: web.Request) -> web.StreamResponse:
        with request.app[PROXY].load.request():
            caller = admit_to_service(request)
            request[FACTS].update(dialect=DIALECT)
            try:
                answer = await operation(caller, await read_json(request))
            except RequestError as error:
                error.headers.update(caller.headers())
                raise
            return json_response(answer, caller.headers())

    return serve


async def analyze_text(caller: Caller, body: JSON) -> JSONObject:
    """``text:analyze``: blocklists of the store first and, unless the client is content with a match, the harms."""
    asked = read_text_analysis(body)
    _require_reports(caller, Kind.MESSAGE, asked.categories, "categories")
    matches = await _search(caller, asked.text, asked.lists)
    severities: dict[Category, int] = {}
    if not (asked.halt and matches):
        [judged] = await _classify(caller, [Query(asked.text, Kind.MESSAGE)])
        severities = _severities(caller, judged, asked.categories)
    return {"blocklistsMatch": matches, "categoriesAnalysis": analyses(severities, asked.levels)}


async def analyze_image(caller: Caller, body: JSON) -> JSONObject:
    """``image:analyze``: the harms at four levels."""
    asked = read_image_analysis(body)
    _require_reports(caller, Kind.IMAGE, asked.categories, "image")
    [judged] = await _classify(caller, [Query("", Kind.IMAGE, images=(asked.image,))])
    return {"categoriesAnalysis": analyses(_severities(caller, judged, asked.categories))}


async def shield_prompt(caller: Caller, body: JSON) -> JSONObject:
    """``text:shieldPrompt``: jailbreaks in what a user writes, indirect attacks in documents; all judged at once.

    A text without a character is no attack, and nobody is asked about it: some services take none.
    """
    asked = read_shielding(body)
    if asked.user_prompt is not None:
        _require_reports(caller, Kind.USER_PROMPT, [Category.JAILBREAK], "userPrompt")
    if asked.documents:
        _require_reports(caller, Kind.DOCUMENT, [Category.INDIRECT_ATTACK], "documents")
    prompts = [] if asked.user_prompt is None else [Query(asked.user_prompt, Kind.USER_PROMPT)]
    queries = [*prompts, *(Query(text, Kind.DOCUMENT) for text in asked.documents or ())]
    judged = iter(await _classify(caller, [query for query in queries if query.text]))
    attacks = [bool(query.text) and bool(_found(caller, next(judged), _SHIELDS[query.kind]).detected) for query in queries]
    return shielding_answer(attacks[0] if prompts else None, None if asked.documents is None else attacks[len(prompts) :])


async def detect_material(caller: Caller, body: JSON) -> JSONObject:
    """``text:detectProtectedMaterial``."""
    return {"protectedMaterialAnalysis": {"detected": await _detect(caller, body, "text", Category.PROTECTED_MATERIAL_TEXT)}}


async def detect_material_code(caller: Caller, body: JSON) -> JSONObject:
    """``text:detectProtectedMaterialForCode``. No classifier tells whose the code is, so nothing is cited."""
    detected = await _detect(caller, body, "code", Category.PROTECTED_MATERIAL_CODE)
    return {"protectedMaterialAnalysis": {"detected": detected, "codeCitations": []}}


async def _detect(caller: Caller, body: JSON, name: str, category: Category) -> bool:
    text = read_material(body, name)
    _require_reports(caller, Kind.COMPLETION, [category], name)
    [judged] = await _classify(caller, [Query(text, Kind.COMPLETION)])
    return bool(_found(caller, judged, category).detected)


# ------------------------------------------------------------------------------------------------------------- judging


def _require_reports(caller: Caller, kind: Kind, categories: Collection[Category], path: str) -> None:
    """Raise `RequestError` 400 if the policy's classifiers cannot tell of one of *categories*."""
    missing = sorted(set(categories) - caller.engine.reports(kind))
    if missing:
        what = "images" if kind is Kind.IMAGE else f"{kind.value.replace('_', ' ')} texts"
        message = (
            f"no classifier of the policy reports {', '.join(missing)} for {what}; name one that does under `classifiers` "
            f"of the policy: {_who_reports(kind, missing[0])}"
        )
        raise RequestError(message, code="unsupported_content", field=path)


def _who_reports(kind: Kind, category: Category) -> str:
    if kind is Kind.IMAGE:
        return "`azure_content_safety`, or an `openai_moderation` or `llama_guard` that reads images"
    if category in {Category.PROTECTED_MATERIAL_TEXT, Category.PROTECTED_MATERIAL_CODE}:
        return f"`azure_content_safety` with the check `{category}`"
    return "`embedded` needs no service"


async def _classify(caller: Caller, queries: Sequence[Query]) -> list[Judged]:
    return await caller.engine.classify(queries, Background(tenant=caller.tenant))


def _severities(caller: Caller, judged: Judged, categories: Sequence[Category]) -> dict[Category, int]:
    found = {category: _found(caller, judged, category).severity for category in categories}
    return {category: severity for category, severity in found.items() if severity is not None}


def _found(caller: Caller, judged: Judged, category: Category) -> Annotation:
    """What is known of *category*. Raises `RequestError` 503 if it might be worse: a classifier that counts has failed."""
    annotation = judged.decision.annotations.get(category)
    reason = caller.engine.undecided(judged, category)
    if annotation is None or (reason is not None and not _is_worst(annotation)):
        message = f"there is no verdict on {category} ({reason or 'missing_category'})"
        raise RequestError(message, status=503, code="content_filter_error", retry_after=1)
    return annotation


def _is_worst(annotation: Annotation) -> bool:
    """Whether no other classifier could have made it worse."""
    return bool(annotation.detected) or (annotation.severity or 0) >= Severity.HIGH


async def _search(caller: Caller, text: str, names: Sequence[str]) -> list[JSON]:
    """``blocklistsMatch``. Raises `RequestError` 404 for a name that no list has, 403 if the key may not read lists."""
    if not names:
        return []
    caller.require_blocklists()
    try:
        matches = await caller.service.lists.search(text, names)
    except NoSuchListError:
        message = "there is no blocklist of one of these names"
        raise RequestError(message, status=404, code="ResourceNotFound", field="blocklistNames") from None
    return [
        {"blocklistName": each.list_name, "blocklistItemId": each.item.id, "blocklistItemText": each.item.text}
        for each in matches
    ]


# -------------------------------------------------------------------------------------------------------------- routing


class _WithMoreSlashes(web.DynamicResource):
    """Leads ``//contentsafety/...``, with any number of slashes, to the very route of ``/contentsafety/...``.

    The SDK's clients write so if their endpoint ends with a slash, as it does where the portal shows it.
    """

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__("/{slashes:/+}contentsafety/{rest:.*}")
        self._router = router

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """The route, or the methods that there are."""
        path = request.rel_url.raw_path
        slashes = _MORE_SLASHES.match(path)
        if slashes is None:
            return None, set()
        plain = request.clone(rel_url=request.rel_url.with_path(f"/{path[slashes.end() :]}", encoded=True))
        found = await self._router.resolve(plain)
        if isinstance(found.http_exception, web.HTTPMethodNotAllowed):
            return None, set(found.http_exception.allowed_methods)
        return (None, set()) if found.http_exception is not None else (found, set())


class _MoreSlashes(web.AbstractRouteDef):
    __slots__ = ()

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        """Add the resource."""
        router.register_resource(_WithMoreSlashes(router))
        return []


ROUTES: Final[Sequence[web.AbstractRouteDef]] = (
    web.post("/contentsafety/text:analyze", serves(analyze_text)),
    web.post("/contentsafety/image:analyze", serves(analyze_image)),
    web.post("/contentsafety/text:shieldPrompt", serves(shield_prompt)),
    web.post("/contentsafety/text:detectProtectedMaterial", serves(detect_material)),
    web.post("/contentsafety/text:detectProtectedMaterialForCode", serves(detect_material_code)),
    _MoreSlashes(),
)
