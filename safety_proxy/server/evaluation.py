"""What a policy decides on a prompt or a completion, and why. Nothing is forwarded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aiohttp import web

from safety_proxy.dialects.evaluation import Evaluated, Evaluation, batch_of, id_of, read_evaluation, tell
from safety_proxy.dialects.evaluation_stages import InputStage, JudgedChoice, OutputStage
from safety_proxy.engine import Engine, decided
from safety_proxy.errors import RequestError
from safety_proxy.events import Chunk
from safety_proxy.jsontext import as_object, parse
from safety_proxy.model import JSON, Action, JSONObject, Prompt
from safety_proxy.moderation import Background, Judged
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import FACTS, error_response
from safety_proxy.server.service import Caller, admit_to_service

_AT_ONCE: Final = 4
"""Evaluations of one request that are judged at a time: other requests want their turn, too."""
_NOTHING: Final = Prompt(())


async def evaluate_policy(request: web.Request) -> web.Response:
    """Answer one evaluation, or several in order. What is filtered is no error here: status 200."""
    with request.app[PROXY].load.request():
        caller = admit_to_service(request)
        request[FACTS]["dialect"] = "evaluation"
        body = await read_json(request)
        batch = batch_of(body)
        if batch is not None:
            return await _answer_batch(caller, batch)
        asked, engine = _read(caller, body)
        evaluated = await evaluate(engine, asked, caller.tenant)
        request[FACTS]["policy"] = engine.identity
        return json_response(tell(asked.id, evaluated), caller.headers(evaluated.decision.action, engine))


async def _answer_batch(caller: Caller, batch: Sequence[JSON]) -> web.Response:
    """All evaluations; one that is wrong in itself has an error in its place. Each names its own policy, the head none."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def answer(i: int, body: JSON) -> JSONObject:
        try:
            async with places:
                asked, engine = _read(caller, body)
                return tell(asked.id, await evaluate(engine, asked, caller.tenant))
        except RequestError as error:
            return {"id": id_of(body), "error": _told(error, f"evaluations[{i}]")}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(i, body)) for i, body in enumerate(batch)]
    return json_response({"results": [task.result() for task in tasks]}, caller.headers())


def _read(caller: Caller, body: JSON) -> tuple[Evaluation, Engine]:
    """An evaluation, and who judges it. Raises `RequestError`."""
    asked = read_evaluation(body)
    return asked, caller.engine if asked.policy is None else caller.service.engine(asked.policy)


def _told(error: RequestError, place: str) -> JSON:
    """The error object that *error*, which came up at *place* of the request, would be answered with."""
    field = place if error.field is None else f"{place}.{error.field}"
    body = error_response(RequestError(error.message, status=error.status, code=error.code, field=field)).body
    return as_object(parse(body) if isinstance(body, bytes) else None).get("error")


# ------------------------------------------------------------------------------------------------------------- judging


async def evaluate(engine: Engine, asked: Evaluation, tenant: str = "") -> Evaluated:
    """What *engine* makes of an evaluation: the decisions that it would make on the same request, and all that led to them.

    Raises `RequestError` for what cannot be judged.
    """
    evaluated = Evaluated(engine.policies, engine.identity, engine.classifiers)
    stage = None
    if asked.prompt is not None:
        examined = await engine.examine_prompt(asked.prompt, tenant)
        judged = [await _explained(engine, each) for each in examined.judged]
        stage = InputStage(examined.decided.decision, judged, examined.skipped, asked.prompt.unreadable)
    if not asked.choices:
        return replace(evaluated, input=stage)
    background = engine.background(asked.prompt or _NOTHING, tenant)
    choices = [await _judge_choice(engine, chunk, background) for chunk in asked.choices]
    return replace(evaluated, input=stage, output=OutputStage(choices))


async def _judge_choice(engine: Engine, said: Chunk, background: Background) -> JudgedChoice:
    """One choice, judged as the only one of an answer: what others say does not touch it."""
    judged: list[Judged] = []
    effects = await engine.moderate_answer([said], choices=1, background=background, witness=judged.extend)
    return JudgedChoice(said, decided(effects), [await _explained(engine, each) for each in judged])


async def _explained(engine: Engine, judged: Judged) -> Judged:
    """What was filtered, with the words that weighed most, where a classifier can tell."""
    return await engine.explain(judged) if judged.decision.action is Action.FILTER else judged


ROUTES: Final[Sequence[web.RouteDef]] = [web.post("/v1/policy/evaluate", evaluate_policy)]
