"""The model endpoints: what is common to all requests of a model, and one handler for all dialects of completions.

A request is read, its deployment chosen, its prompt judged, and the *document that was judged* - never the client's
bytes - sent to the backend; the answer comes back through the engine, streamed or whole.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from safety_proxy.backend import Reply
from safety_proxy.dialects import DIALECTS
from safety_proxy.dialects.annotations import prompt_results, refusal
from safety_proxy.dialects.base import CompletionRequest, Dialect, Endpoint
from safety_proxy.dialects.codec import StreamCodec, StreamOptions, items_of_answer
from safety_proxy.engine import Engine
from safety_proxy.errors import BackendError, RequestError
from safety_proxy.events import Chunk, Closed, Failure, Finish, Item, Release, Shown
from safety_proxy.jsontext import as_object, parse, parse_lenient, write
from safety_proxy.model import JSON, Action, Decision, JSONObject
from safety_proxy.relay import once
from safety_proxy.server.accounts import ACCOUNT, Account, Accounts
from safety_proxy.server.azure_api import apply_extra_parameters, is_azure_route, require_api_version, route_of
from safety_proxy.server.deployments import Deployment, Deployments, Key
from safety_proxy.server.load import Load
from safety_proxy.server.middleware import FACTS, REQUEST_ID
from safety_proxy.server.usage import UsageReader
from safety_proxy.sse import EVENT_LIMIT, SSEDecoder

_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_READABLE: Final = frozenset({"", "identity", "gzip", "deflate"})
"""Content codings of requests that aiohttp unpacks, within the limit for the body."""

log = structlog.get_logger("safety_proxy.proxy")


@dataclass(slots=True)
class Proxy:
    """What the model endpoints need: made once, by `safety_proxy.server.app`."""

    deployments: Deployments
    engines: Mapping[tuple[str | None, str | None], Engine]
    """By the names of the policies of deployment and key."""
    load: Load
    accounts: Accounts
    event_limit: int = EVENT_LIMIT

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


async def complete(request: web.Request) -> web.StreamResponse:
    """Answer a chat or text completion."""
    with request.app[PROXY].load.request():
        dialect = DIALECTS[route_of(request)]
        call, engine = await admit(request, dialect)
        if engine is None:
            return await pass_through(call)
        return await _Completion(call, engine, dialect).run()


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
    proxy.accounts.open(request, asked, deployment.name, key.name if key is not None else "")
    return Call(request, proxy, endpoint.path, asked, deployment), proxy.engine(deployment, key)


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
        judged = await self._engine.moderate_prompt(self._asked.prompt)
        self._decided("prompt", judged.decision)
        if self._engine.annotations:
            self._prompt_results = prompt_results(judged.prompts)
        if judged.decision.action is Action.FILTER:
            self._account.spend(None, 0)
        if judged.decision.action is not Action.ALLOW:
            return await self._refuse(judged.decision)
        backend = self._deployment.backend
        body = write(self._asked.body)
        async with backend.post(self._call.path, body, request_id=self._request[REQUEST_ID]) as reply:
            self._headers.update(reply.headers)
            return await self._answer(reply)

    async def _refuse(self, decision: Decision) -> web.StreamResponse:
        """The prompt was filtered, or could not be judged; the backend is not called."""
        status, body = refusal(decision)
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
            words = {Action.ALLOW: "allow", Action.FILTER: "block", Action.FAIL: "error"}
            self._headers["x-safety-proxy-decision"] = words[decisions[0].action]


class _Completion(Exchange):
    """A chat or text completion."""

    def __init__(self, call: Call, engine: Engine, dialect: Dialect) -> None:
        super().__init__(call, engine)
        self._dialect = dialect

    # ------------------------------------------------------------------------------------------------ prompt

    async def _refuse(self, decision: Decision) -> web.StreamResponse:
        if self._engine.block_as == "error":
            return await super()._refuse(decision)
        choices = self._asked.prompt.choices
        if self._asked.stream:
            response = await self._begin()
            await response.write(self._codec().refuse(decision, choices))
            await response.write_eof()
            return response
        finishes = [Finish(index, decision) for index in range(choices)]
        envelope: JSONObject = {**self._envelope(), "object": self._dialect.answer_object}
        return json_response(self._write_answer(envelope, finishes), self._headers)

    # ------------------------------------------------------------------------------------------------ completion

    async def _answer(self, reply: Reply) -> web.StreamResponse:
        return await (self._stream(reply) if self._asked.stream else self._whole(reply))

    async def _whole(self, reply: Reply) -> web.Response:
        answer = await read_answer(reply)
        items = self._dialect.read_answer(answer)
        self._account.spend(as_object(answer).get("usage"), length_of(items))
        effects = await self._engine.moderate_answer(items, choices=self._asked.prompt.choices)
        self._decided("completion", *(effect.decision for effect in effects if isinstance(effect, Finish)))
        return json_response(self._write_answer(as_object(answer), effects), self._headers)

    def _write_answer(self, answer: JSONObject, effects: Sequence[Shown]) -> JSONObject:
        return self._dialect.write_answer(
            answer, effects, annotate=self._engine.annotations, prompt_results=self._prompt_results
        )

    async def _stream(self, reply: Reply) -> web.StreamResponse:
        codec = self._codec()
        source: AsyncGenerator[Sequence[Item], None]
        if reply.content_type == "text/event-stream":
            source = read_events(reply, codec, self._proxy.event_limit, self._account)
        elif reply.content_type == "application/json":
            source = once(await self._read_instead(reply, codec))
        else:
            raise BackendError("the backend's answer is not a stream", code="backend_invalid_answer")
        with self._proxy.load.stream():
            response = await self._begin()
            sink = _Writer(response, codec, self._account)
            try:
                if opening := codec.begin():
                    await response.write(opening)
                await self._engine.moderate_stream(source, sink, choices=self._asked.prompt.choices)
                await response.write_eof()
            except* ConnectionError:
                self._request[FACTS]["client_left"] = True
            finally:
                self._account.spend(codec.usage, codec.characters)
            self._decided("completion", *sink.decisions)
        return response

    async def _read_instead(self, reply: Reply, codec: StreamCodec) -> list[Item]:
        """A backend that does not stream although asked; it is answered as a stream all the same."""
        return items_of_answer(self._dialect, codec, await read_answer(reply))

    async def _begin(self) -> web.StreamResponse:
        headers = {**self._headers, **_STREAM_HEADERS, "x-request-id": self._request[REQUEST_ID]}
        response = web.StreamResponse(headers=headers)
        await response.prepare(self._request)
        return response

    # ------------------------------------------------------------------------------------------------ shared

    def _codec(self) -> StreamCodec:
        options = StreamOptions(
            envelope=self._envelope(),
            annotations=self._engine.annotations,
            prompt_results=self._prompt_results,
            prompt_apart=is_azure_route(route_of(self._request)),
            include_usage=self._asked.include_usage,
            prompt_length=sum(len(text.query.text) for text in self._asked.prompt.texts),
        )
        return StreamCodec(self._dialect, options)

    def _envelope(self) -> JSONObject:
        """For answers of our own: the backend has not been asked, or has not yet named its own."""
        return {
            "id": f"safety-proxy-{self._request[REQUEST_ID]}",
            "created": int(time.time()),
            "model": self._asked.model or self._deployment.name,
        }


class _Writer:
    """Writes what may be shown: one write for all that one turn brought."""

    def __init__(self, response: web.StreamResponse, codec: StreamCodec, account: Account) -> None:
        self._response, self._codec, self._account = response, codec, account
        self.decisions: list[Decision] = []

    async def write(self, effects: Sequence[Shown]) -> None:
        self.decisions += (effect.decision for effect in effects if isinstance(effect, Finish))
        if written := b"".join(map(self._codec.encode, effects)):
            await self._response.write(written)
        if any(isinstance(effect, Release) and shows_text(effect.item) for effect in effects):
            self._account.released()

    async def heartbeat(self, choice: int) -> None:
        await self._response.write(self._codec.heartbeat(choice))


def length_of(items: Iterable[Item]) -> int:
    """Characters of the text in them."""
    return sum(len(segment.text) for item in items if isinstance(item, Chunk) for segment in item.segments)


def shows_text(item: Item) -> bool:
    """Whether there is any."""
    return isinstance(item, Chunk) and any(segment.text for segment in item.segments)


async def read_events(
    reply: Reply, codec: StreamCodec, limit: int, account: Account
) -> AsyncGenerator[Sequence[Item], None]:
    """The items of a streamed answer, all that one read brought at a time. A failure is its last item."""
    decoder = SSEDecoder(limit)
    try:
        async for data in reply.chunks():
            items = [item for event in decoder.feed(data) for item in codec.decode(event)]
            account.arrived(codec.characters)
            if items:
                yield items
        yield [*(item for event in decoder.flush() for item in codec.decode(event)), Closed()]
    except BackendError as error:
        yield [Closed(Failure(error.message, error.code))]


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
