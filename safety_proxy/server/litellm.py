"""LiteLLM's generic guardrail API: its proxy asks here about prompts and completions, and blocks what may not pass.

Whatever may not pass is answered with status 200 and ``BLOCKED``. LiteLLM takes any other status for a failure of the
guardrail, which its own settings (``unreachable_fallback``, ``fail_on_error``) may let pass; a policy says no such thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web

from safety_proxy.dialects.litellm_guardrail import (
    POLICY_FIELD,
    Completion,
    guardrail_answer,
    guardrail_refusal,
    read_guardrail_request,
    stream_holdback,
)
from safety_proxy.engine import Engine, decided
from safety_proxy.errors import RequestError
from safety_proxy.model import Action, Decision, JSONObject, Prompt
from safety_proxy.policy import strictest
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import FACTS
from safety_proxy.server.service import Caller, admit_to_service

DIALECT: Final = "litellm_guardrail"
"""What the log calls it."""
PATH: Final = "/integrations/litellm/beta/litellm_basic_guardrail_api"
"""LiteLLM appends what follows ``litellm`` to the ``api_base`` that its settings give."""


async def guard(request: web.Request) -> web.Response:
    """Whether this prompt, or this completion, may pass."""
    caller = admit_to_service(request)
    asked = read_guardrail_request(await read_json(request))
    engines = _engines(caller, asked.policy)
    request[FACTS].update(dialect=DIALECT, policy=_together(engine.identity for engine in engines))
    try:
        with request.app[PROXY].load.request():
            decision = strictest([await _judge(engine, asked.content, caller.tenant) for engine in engines])
    except RequestError as error:
        return _answer(caller, engines, Action.FAIL, guardrail_refusal(error.message))
    answer = guardrail_answer(asked, decision)
    if isinstance(asked.content, Completion):
        answer["stream_holdback_chars"] = [*_holdback(engines, asked.content)]
    return _answer(caller, engines, decision.action, answer)


def _engines(caller: Caller, policy: str | None) -> list[Engine]:
    """Who judges. A policy that the guardrail's settings name stands in for the service's, but not for that of the key.

    Users of LiteLLM may be allowed to send such settings along with a request; what a key is held to, they cannot loosen.
    Raises `RequestError` for a policy that is none.
    """
    if policy is None:
        return [caller.engine]
    named = caller.service.engine(policy, POLICY_FIELD)
    held = caller.key is not None and caller.key.policy is not None and caller.engine is not named
    return [named, caller.engine] if held else [named]


async def _judge(engine: Engine, content: Prompt | Completion, tenant: str) -> Decision:
    """Raises `RequestError` for what cannot be judged."""
    if isinstance(content, Prompt):
        return (await engine.moderate_prompt(content, tenant)).decision
    background = engine.background(Prompt(()), tenant)
    shown = await engine.moderate_answer(content.chunks, choices=len(content.chunks), background=background)
    return decided(shown)


def _holdback(engines: Sequence[Engine], completion: Completion) -> list[int]:
    """What LiteLLM has to keep back of a stream that goes on: as much as the proxy would; all, of one judged as a whole."""
    rules = [engine.stream for engine in engines]
    whole = any(each.mode == "whole" for each in rules)
    return stream_holdback(completion.texts, None if whole else max(each.holdback for each in rules))


def _answer(caller: Caller, engines: Sequence[Engine], action: Action, body: JSONObject) -> web.Response:
    headers = caller.headers(action, engines[0])
    headers["x-safety-proxy-policy"] = _together(engine.identity for engine in engines)
    return json_response(body, headers)


def _together(identities: Iterable[str]) -> str:
    """Identities of policies that decide together."""
    return "+".join(identities)


ROUTES: Final[Sequence[web.RouteDef]] = (web.post(PATH, guard),)
"""One route, for prompts and completions alike."""
