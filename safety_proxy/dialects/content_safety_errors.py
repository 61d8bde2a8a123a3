"""Errors as Azure AI Content Safety tells them.

Two layers of that service have a shape each: what the service itself refuses has a word as its code, what the gateway before
it refuses has the status. A reason of ours that Azure has no word for is told as ``innererror.code``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from safety_proxy.model import JSON, JSONObject

_WORDS: Final[Mapping[int, str]] = {
    400: "InvalidRequestBody",
    413: "InvalidRequestBody",
    415: "InvalidRequestBody",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
}
_CODES: Final = frozenset({*_WORDS.values(), "InvalidResourceName", "ResourceNotFound"})
"""All the words that the service has."""
_GATEWAY: Final[Mapping[int, str]] = {
    401: "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource.",
    404: "Resource not found",
}
"""What the gateway says of these."""


def content_safety_error(
    status: int, message: str, *, code: str | None = None, target: str | None = None
) -> tuple[str, JSONObject]:
    """The code, which also stands in the header ``x-ms-error-code``, and the body of an error.

    *code* is a word of Azure's or one of ours; *target* the path of the field that is wrong.
    """
    word = code if code in _CODES else _WORDS.get(status)
    if word is None:
        return str(status), {"error": {"code": str(status), "message": _GATEWAY.get(status, message)}}
    error: JSONObject = {"code": word, "message": message, "target": target, "details": []}
    if code is not None and code != word:
        told: JSON = {"code": code}
        error["innererror"] = told
    return word, {"error": error}
