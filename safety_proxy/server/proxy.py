"""Chat and text completions: one handler for all dialects. The answer comes back through the engine, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

from aiohttp import web

from safety_proxy.backend import Reply
from safety_proxy.dialects import DIALECTS
from safety_proxy.dialects.base import Dialect
from safety_proxy.dialects.codec import StreamCodec, StreamOptions, items_of_answer
from safety_proxy.engine import Engine
from safety_proxy.errors import BackendError
from safety_proxy.events import Chunk, Closed, Failure, Finish, Item, Release, Shown
from safety_proxy.jsontext import as_object
from safety_proxy.model import Decision, JSONObject
from safety_proxy.moderation import Background
from safety_proxy.relay import once
from safety_proxy.server.accounts import Account
from safety_proxy.server.azure_api import is_azure_route, route_of
from safety_proxy.server.exchange import PROXY, Call, Exchange, admit, json_response, pass_through, read_answer
from safety_proxy.server.middleware import FACTS, REQUEST_ID
from safety_proxy.server.trail import Trail
from safety_proxy.sse import SSEDecoder

_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def complete(request: web.Request) -> web.StreamResponse:
    """Answer a chat or text completion."""
    with request.app[PROXY].load.request():
        dialect = DIALECTS[route_of(request)]
        call, engine = await admit(request, dialect)
        with call.trail:
            if engine is None:
                return await pass_through(call)
            return await _Completion(call, engine, dialect).run()


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
        trail = self._call.trail
        trail.arrived(items)
        choices, background = self._asked.prompt.choices, self._background()
        effects = await self._engine.moderate_answer(items, choices=choices, background=background, witness=trail.witness)
        trail.shown(effects)
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
            source = read_events(reply, codec, self._proxy.event_limit, self._account, self._call.trail)
        elif reply.content_type == "application/json":
            source = once(await self._read_instead(reply, codec))
        else:
            raise BackendError("the backend's answer is not a stream", code="backend_invalid_answer")
        with self._proxy.load.stream():
            response = await self._begin()
            sink = _Writer(response, codec, self._account, self._call.trail)
            try:
                if opening := codec.begin():
                    await response.write(opening)
                choices, background = self._asked.prompt.choices, self._background()
                witness = self._call.trail.witness
                await self._engine.moderate_stream(source, sink, choices=choices, background=background, witness=witness)
                await response.write_eof()
            except* ConnectionError:
                self._request[FACTS]["client_left"] = self._call.trail.left = True
            finally:
                self._account.spend(codec.usage, codec.characters)
            self._decided("completion", *sink.decisions)
        return response

    async def _read_instead(self, reply: Reply, codec: StreamCodec) -> list[Item]:
        """A backend that does not stream although asked; it is answered as a stream all the same."""
        items = items_of_answer(self._dialect, codec, await read_answer(reply))
        self._call.trail.arrived(items)
        return items

    async def _begin(self) -> web.StreamResponse:
        headers = {**self._headers, **_STREAM_HEADERS, "x-request-id": self._request[REQUEST_ID]}
        response = web.StreamResponse(headers=headers)
        await response.prepare(self._request)
        return response

    # ------------------------------------------------------------------------------------------------ shared

    def _background(self) -> Background:
        return self._engine.background(self._asked.prompt, self._call.tenant)

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

    def __init__(self, response: web.StreamResponse, codec: StreamCodec, account: Account, trail: Trail) -> None:
        self._response, self._codec, self._account, self._trail = response, codec, account, trail
        self.decisions: list[Decision] = []

    async def write(self, effects: Sequence[Shown]) -> None:
        self.decisions += (effect.decision for effect in effects if isinstance(effect, Finish))
        self._trail.shown(effects)
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
    reply: Reply, codec: StreamCodec, limit: int, account: Account, trail: Trail
) -> AsyncGenerator[Sequence[Item], None]:
    """The items of a streamed answer, all that one read brought at a time. A failure is its last item."""
    decoder = SSEDecoder(limit)
    try:
        async for data in reply.chunks():
            items = [item for event in decoder.feed(data) for item in codec.decode(event)]
            account.arrived(codec.characters)
            if items:
                trail.arrived(items)
                yield items
        rest = [item for event in decoder.flush() for item in codec.decode(event)]
        trail.arrived(rest)
        yield [*rest, Closed()]
    except BackendError as error:
        yield [Closed(Failure(error.message, error.code))]
