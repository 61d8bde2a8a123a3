"""OpenAI's moderation endpoint: texts and images, judged as prompts by the policy of the caller."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from safety_proxy.dialects.annotations import refusal
from safety_proxy.dialects.moderations import Said, answer, read_request, result, thresholds
from safety_proxy.jsontext import as_object
from safety_proxy.model import Action, JSONObject, Verdict
from safety_proxy.policy import Policy, strictest
from safety_proxy.prompt_moderation import PromptExamination
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import FACTS, REQUEST_ID, error_code_header
from safety_proxy.server.service import Caller, admit_to_service

_IN_PLACE: Final = 64
"""Results that are put together in place, in some 10 ms; more are in a thread, so that the event loop stays free."""


async def moderate(request: web.Request) -> web.Response:
    """Answer ``moderations.create``; 503 if something could not be judged that the policy does not let pass unjudged."""
    with request.app[PROXY].load.request():
        caller = admit_to_service(request)
        request[FACTS]["dialect"] = "moderations"
        asked = read_request(await read_json(request))
        examined = await caller.engine.examine_prompt(asked.prompt, caller.tenant)
        decisions = examined.decided.prompts
        if any(decision.action is Action.FAIL for decision in decisions.values()):
            return _undecided(caller, examined)
        if len(decisions) > _IN_PLACE:
            results = await asyncio.to_thread(_results, caller.engine.policies, examined)
        else:
            results = _results(caller.engine.policies, examined)
        headers = caller.headers(examined.decided.decision.action)
        return json_response(answer(request[REQUEST_ID], asked.model, results), headers)


def _results(policies: Sequence[Policy], examined: PromptExamination) -> list[JSONObject]:
    """The results for all inputs, in order."""
    said, filtered_at = _said(examined), thresholds(policies)
    return [result(decision, said[i], filtered_at) for i, decision in sorted(examined.decided.prompts.items())]


def _said(examined: PromptExamination) -> defaultdict[int, list[Said]]:
    """What was said of each input, by its number."""
    said: defaultdict[int, list[Said]] = defaultdict(list)
    for judged in examined.judged:
        number = judged.text.prompt_index if judged.text is not None else 0
        verdicts = [outcome for outcome in judged.outcomes.values() if isinstance(outcome, Verdict)]
        said[number] += (Said(verdict, bool(judged.query.images)) for verdict in verdicts)
    return said


def _undecided(caller: Caller, examined: PromptExamination) -> web.Response:
    """The answer if some input has no decision: a result has no word for that, so none is given for the others either."""
    failed = [decision for decision in examined.decided.prompts.values() if decision.action is Action.FAIL]
    status, body = refusal(strictest(failed))
    error = {**as_object(body["error"]), "param": "input"}
    headers = {**caller.headers(Action.FAIL), **error_code_header(Action.FAIL.value), "Retry-After": "1"}
    return json_response({**body, "error": error}, headers, status)


_PATHS: Final = ("/v1/moderations", "/moderations", "/openai/v1/moderations")
ROUTES: Final[Sequence[web.RouteDef]] = [web.post(path, moderate) for path in _PATHS]
