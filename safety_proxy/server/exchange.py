"""What all requests of a model have in common: they are admitted, their prompt is judged, a backend is asked.

A request is read, its deployment chosen, its prompt judged, and the *document that was judged* - never the client's
bytes - sent to the backend. What becomes of the answer is the endpoint's business: `safety_proxy.server.proxy` for
completions, `safety_proxy.server.embeddings`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from safety_proxy.backend import Reply
from safety_proxy.dialects.annotations import prompt_results, refusal
from safety_proxy.dialects.base import CompletionRequest, Endpoint
from safety_proxy.engine import Engine
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.jsontext import parse, parse_lenient, write
from safety_proxy.model import JSON, Action, Decision
from safety_proxy.server.accounts import ACCOUNT, Accounts
from safety_proxy.server.audit_record import Head
from safety_proxy.server.azure_api import apply_extra_parameters, require_api_version, route_of
from safety_proxy.server.deployments import Deployment, Deployments, Key
from safety_proxy.server.load import Load
from safety_proxy.server.middleware import FACTS, REQUEST_ID, error_code_header
from safety_proxy.server.trail import NOTHING_NOTED, Recorder, Trail
from safety_proxy.server.usage import UsageReader
from safety_proxy.sse import EVENT_LIMIT

_READABLE: Final = frozenset({"", "identity", "gzip", "deflate"})
"""Content codings of requests that aiohttp unpacks, within the limit for the body."""


@dataclass(slots=True)
class Proxy:
    """What the model endpoints need: made once, by `safety_proxy.server.app`."""

    deployments: Deployments
    engines: Mapping[tuple[str | None, str | None], Engine]
    """By the names of the policies of deployment and key."""
    load: Load
    accounts: Accounts
    event_limit: int = EVENT_LIMIT
    recorder: Recorder = NOTHING_NOTED

    def shadow(self, deployment: Deployment, key: Key | None) -> Engine | None:
        """Who judges beside the engine, without effect: the policy on trial with the key's; None where there is none."""
        if deployment.shadow is None or deployment.policy is None:
            return None
        return self.engines.get(
            (deployment.shadow.name, key.policy.name if key is not None and key.policy is not None else None)
        )

    def engine(self, deployment: Deployment, key: Key | None) -> Engine | None:
        """Who judges; None where the deployment has opted out and the key does not object."""
        by_deployment = deployment.policy.name if deployment.policy is not None else None
        by_key = key.policy.name if key is not None and key.policy is not None else None
        return self.engines.get((by_deployment, by_key))


PROXY: Final = web.AppKey("proxy", Proxy)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may be answered."""

    request: web.Request
    proxy: Proxy
    path: str
    """Of the backend's endpoint."""
    asked: CompletionRequest
    deployment: Deployment
    tenant: str
    """Name of the caller's key; empty without one."""
    trail: Trail
    """To be left when the request is over."""


async def admit(request: web.Request, endpoint: Endpoint) -> tuple[Call, Engine | None]:
    """Who asks for what, and who judges it: nobody, where the deployment has opted out. Raises `RequestError`."""
    proxy = request.app[PROXY]
    key = proxy.deployments.authenticate(request)
    require_api_version(request)
    body = apply_extra_parameters(request, await read_json(request), endpoint.name)
    asked = endpoint.read_request(body)
    deployment = proxy.deployments.choose(request, asked.model, key)
    request[FACTS].update(deployment=deployment.name, dialect=endpoint.name, stream=asked.stream)
    if deployment.model is not None:
        asked.body["model"] = deployment.model
    tenant = key.name if key is not None else ""
    proxy.accounts.open(request, asked, deployment.name, tenant)
    engine = proxy.engine(deployment, key)
    head = _head(request, proxy, deployment, tenant, engine)
    trail = proxy.recorder.open(head, asked, engine, proxy.shadow(deployment, key))
    return Call(request, proxy, endpoint.path, asked, deployment, tenant, trail), engine


def _head(request: web.Request, proxy: Proxy, deployment: Deployment, tenant: str, engine: Engine | None) -> Head:
    facts = request[FACTS]
    return Head(
        time=proxy.accounts.clock(),
        request_id=request[REQUEST_ID],
        route=route_of(request),
        deployment=deployment.name,
        key=tenant or None,
        dialect=str(facts["dialect"]),
        stream=bool(facts["stream"]),
        policy="off" if engine is None else engine.identity,
        classifiers=() if engine is None else engine.classifiers,
        size=request.content_length or 0,
    )


async def read_json(request: web.Request) -> JSON:
    """The body of a request. Raises `RequestError` 400 for anything but JSON, 413 or 415 for what will not be unpacked."""
    if request.headers.get("Content-Encoding", "").strip().lower() not in _READABLE:
        raise RequestError("the body has a content coding that is not supported", status=415, code="unsupported_encoding")
    body = await request.read()
    try:
        return parse(body)
    except ValueError as error:
        raise RequestError(f"the body is {error}", code="invalid_json") from None


class Exchange(ABC):
    """One moderated request and its answer."""

    def __init__(self, call: Call, engine: Engine) -> None:
        self._call, self._request, self._proxy = call, call.request, call.proxy
        self._asked, self._deployment, self._engine = call.asked, call.deployment, engine
        self._prompt_results: JSON = None
        self._account = call.request[ACCOUNT]
        self._headers = {"x-safety-proxy-policy": engine.identity, "x-safety-proxy-mode": engine.stream.mode}
        self._request[FACTS]["policy"] = engine.identity

    async def run(self) -> web.StreamResponse:
        """Judge the prompt, ask the backend, judge the answer."""
        if self._asked.stream:
            self._proxy.load.require_stream()  # before anybody is asked; the stream counts once its head has come
        if self._engine.parallel:
            return await self._run_in_parallel()
        decision = await self._judge_prompt()
        if decision.action is not Action.ALLOW:
            return await self._refuse(decision)
        async with self._post() as reply:
            return await self._pass_on(reply)

    async def _run_in_parallel(self) -> web.StreamResponse:
        """As `run`, with the backend called while the prompt is being judged.

        Nothing of its reply, be it an error, is looked at before the prompt is allowed; else the call is called off.
        """
        reply = _Underway(self._post())
        try:
            decision = await self._judge_prompt()
            if decision.action is Action.ALLOW:
                return await self._pass_on(await reply.head())
        finally:
            await reply.end()
        return await self._refuse(decision)

    async def _judge_prompt(self) -> Decision:
        judged = await self._call.trail.judge_prompt(self._engine, self._asked.prompt)
        self._decided("prompt", judged.decision)
        if self._engine.annotations:
            self._prompt_results = prompt_results(judged.prompts)
        if judged.decision.action is Action.FILTER:
            self._account.spend(None, 0)
        return judged.decision

    def _post(self) -> AbstractAsyncContextManager[Reply]:
        body = write(self._asked.body)
        return self._deployment.backend.post(self._call.path, body, request_id=self._request[REQUEST_ID])

    async def _pass_on(self, reply: Reply) -> web.StreamResponse:
        self._headers.update(reply.headers)
        return await self._answer(reply)

    async def _refuse(self, decision: Decision) -> web.StreamResponse:
        """The prompt was filtered, or could not be judged; the backend is not called."""
        status, body = refusal(decision)
        self._headers |= error_code_header(decision.action.value)
        if decision.action is Action.FAIL:
            self._headers["Retry-After"] = "1"
        return json_response(body, self._headers, status)

    @abstractmethod
    async def _answer(self, reply: Reply) -> web.StreamResponse:
        """The backend has answered with status 200."""

    def _decided(self, stage: str, *decisions: Decision) -> None:
        """Tell of decisions in the log, and of the prompt's in the answer's head."""
        actions = sorted({decision.action.value or "allow" for decision in decisions} - {"allow"}) or ["allow"]
        self._request[FACTS][f"{stage}_decision"] = "+".join(actions)
        if stage == "prompt":
            self._headers["x-safety-proxy-decision"] = decisions[0].action.word


class _Underway:
    """A call that was begun and may be called off before its reply is looked at.

    The call lives in a task of its own from beginning to end, since what it holds must be let go where it was taken.
    """

    def __init__(self, call: AbstractAsyncContextManager[Reply]) -> None:
        self._head: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._run(call))

    async def head(self) -> Reply:
        """The reply, once its head has come. Raises `BackendError` if none does."""
        await asyncio.wait({self._task, self._head}, return_when=asyncio.FIRST_COMPLETED)
        return self._head.result() if self._head.done() else self._task.result()

    async def end(self) -> None:
        """Let go of the reply, or call the call off."""
        self._over.set()
        if not self._head.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # whoever wanted the reply has heard of it

    async def _run(self, call: AbstractAsyncContextManager[Reply]) -> Reply:
        async with call as reply:
            self._head.set_result(reply)
            await self._over.wait()
        return reply


async def read_answer(reply: Reply) -> JSON:
    """The whole of an answer. Raises `BackendError` if it is not JSON."""
    try:
        return parse_lenient(await reply.read())
    except ValueError:
        raise BackendError("the backend's answer is not JSON", code="backend_invalid_answer") from None


async def pass_through(call: Call) -> web.StreamResponse:
    """A deployment that opted out: bytes for bytes, and the head says so."""
    request = call.request
    headers = {"x-safety-proxy-policy": "off", "x-request-id": request[REQUEST_ID]}
    limit = request.app[PROXY].event_limit
    backend = call.deployment.backend
    async with backend.post(call.path, write(call.asked.body), request_id=request[REQUEST_ID]) as reply:
        response = web.StreamResponse(headers={**reply.headers, **headers})
        response.content_type = reply.content_type or "application/octet-stream"
        await response.prepare(request)
        reader = UsageReader(limit, stream=reply.content_type == "text/event-stream")
        try:
            async for data in reply.chunks():
                reader.feed(data)
                await response.write(data)
            await response.write_eof()
        finally:
            request[ACCOUNT].spend(reader.usage, 0)
    return response


def json_response(body: JSON, headers: Mapping[str, str] | None = None, status: int = 200) -> web.Response:
    """*body* as an answer."""
    return web.Response(status=status, body=write(body), content_type="application/json", headers=headers)
