"""Decisions on the wire: the one place that knows Azure's shapes.

Keys and shapes are those of Azure OpenAI's content filter annotations (``content_filter_results``,
``prompt_filter_results``) and of its error for a blocked prompt. The error body is the union that the clients of OpenAI
and of Azure can both read: an ``error`` object, and the flat fields beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from safety_proxy.events import Offsets
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Action, Decision, JSONObject, Severity

_BLOCKED: Final = (
    "The response was filtered due to the prompt triggering the content management policy. "
    "Please modify your prompt and retry."
)
_UNDECIDED: Final = "The prompt could not be judged, and the policy does not let it pass unjudged. Please retry."


def filter_results(decision: Decision) -> JSONObject:
    """``content_filter_results``: what was judged, category by category; sparse, as Azure's."""
    found: JSONObject = {}
    for category, annotation in decision.annotations.items():
        if annotation.severity is not None:
            found[category.value] = {"filtered": annotation.filtered, "severity": Severity.of(annotation.severity).label}
        else:
            found[category.value] = {"filtered": annotation.filtered, "detected": bool(annotation.detected)}
    if decision.blocklists:
        details: list[JSON] = [{"id": name, "filtered": filtered} for name, filtered in decision.blocklists.items()]
        found["custom_blocklists"] = {"filtered": any(decision.blocklists.values()), "details": details}
    if decision.error is not None:
        found["error"] = _error_result(decision)
    return found


def _error_result(decision: Decision) -> JSONObject:
    passed = decision.action is Action.ALLOW
    message = "The contents are not filtered" if passed else "No decision could be made"
    return {"code": "content_filter_error", "message": f"{message} ({decision.error})"}


def annotated(choice: JSONObject, results: JSONObject) -> JSONObject:
    """A choice with *results* as its ``content_filter_results``; those that the backend gave stay where ours say nothing."""
    return {**choice, "content_filter_results": {**as_object(choice.get("content_filter_results")), **results}}


def apart(decision: Decision, offsets: Offsets, before: int) -> JSONObject:
    """What an event says of text that was sent before: results, and ``content_filter_offsets`` to tell of which.

    Azure counts these from the start of the prompt; *before* is how many characters that has. An end names only what led
    to it: the categories and blocklists that were filtered, or the error.
    """
    if decision.action is not Action.ALLOW:
        decision = _reasons(decision)
    counted: JSONObject = {f"{name}_offset": before + offset for name, offset in offsets._asdict().items()}
    return {"content_filter_results": filter_results(decision), "content_filter_offsets": counted}


def _reasons(decision: Decision) -> Decision:
    filtered = {category: annotation for category, annotation in decision.annotations.items() if annotation.filtered}
    blocklists = {name: blocked for name, blocked in decision.blocklists.items() if blocked}
    return Decision(decision.action, filtered, blocklists, decision.error if decision.action is Action.FAIL else None)


def prompt_results(decisions: Mapping[int, Decision]) -> JSON:
    """``prompt_filter_results``: one entry for each prompt of the request."""
    return [{"prompt_index": i, "content_filter_results": filter_results(decisions[i])} for i in sorted(decisions)]


def error_body(
    message: str, *, kind: str, code: str | None = None, param: str | None = None, extra: Mapping[str, JSON] | None = None
) -> JSONObject:
    """The ``error`` object of OpenAI's API: all four keys always; *kind* is its ``type``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **(extra or {})}}


def refusal(decision: Decision) -> tuple[int, JSONObject]:
    """Status and body for a prompt that the policy filtered (400) or could not have judged (503)."""
    if decision.action is Action.FILTER:
        status, code, message, inner = 400, "content_filter", _BLOCKED, "ResponsibleAIPolicyViolation"
    else:
        status, code, message, inner = 503, "content_filter_error", _UNDECIDED, "ContentFilterError"
    innererror: JSON = {"code": inner, "content_filter_result": filter_results(decision)}
    body = error_body(
        message,
        kind="invalid_request_error" if status == 400 else "server_error",  # noqa: PLR2004 - HTTP status
        code=code,
        param="prompt",
        extra={"status": status, "innererror": innererror},
    )
    return status, {**body, "status": status, "code": code, "message": message}
