"""Embeddings: the inputs are judged like prompts; the answer, which is numbers, is passed on."""

from __future__ import annotations

from aiohttp import web

from safety_proxy.backend import Reply
from safety_proxy.dialects import EMBEDDINGS
from safety_proxy.dialects.embeddings import Embeddings
from safety_proxy.engine import Engine
from safety_proxy.jsontext import as_object
from safety_proxy.model import Action
from safety_proxy.server.azure_api import route_of
from safety_proxy.server.exchange import PROXY, Call, Exchange, admit, json_response, pass_through, read_answer


async def embed(request: web.Request) -> web.StreamResponse:
    """Answer a request for embeddings."""
    with request.app[PROXY].load.request():
        endpoint = EMBEDDINGS[route_of(request)]
        call, engine = await admit(request, endpoint)
        with call.trail:
            if engine is None:
                return await pass_through(call)
            return await _Embedding(call, engine, endpoint).run()


class _Embedding(Exchange):
    def __init__(self, call: Call, engine: Engine, endpoint: Embeddings) -> None:
        super().__init__(call, engine)
        self._endpoint = endpoint

    async def _answer(self, reply: Reply) -> web.Response:
        """What the answer says in words is judged; if it may not pass, the numbers go without it."""
        told = await read_answer(reply)
        answer = self._endpoint.read_answer(told)
        self._account.spend(as_object(told).get("usage"), 0)
        decision = await self._engine.moderate_strings(answer.strings)
        self._decided("completion", decision)
        self._call.trail.decided(decision)
        passed = decision.action is Action.ALLOW
        return json_response(answer.document if passed else answer.bare, self._headers)
