"""What a request costs its deployment: admitted under the quota, counted under its key when it is known what it used.

A prompt that was filtered counts, too: it has been read, and a backend that is billed by Azure would charge for it. A
request that the backend refused, or whose prompt nobody could judge, used nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from safety_proxy.dialects.base import CompletionRequest
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON
from safety_proxy.server.azure_api import is_azure_route, route_of
from safety_proxy.server.meters import COST, FIRST_TEXT, FIRST_TEXT_HELD, QUOTA_REFUSALS, TOKENS, Meters
from safety_proxy.server.quotas import Admission, Quota, Refusal, Standing
from safety_proxy.server.usage import Usage, estimate_tokens, of_characters, prompt_length, read_usage
from safety_proxy.settings_usage import PriceSettings

RATE_LIMIT: Final = "x-ratelimit-"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Opens an account for each request. Keys of the mappings are names of deployments."""

    meters: Meters
    quotas: Mapping[str, Quota]
    prices: Mapping[str, PriceSettings]
    clock: Callable[[], float] = time.time

    def open(self, request: web.Request, asked: CompletionRequest, deployment: str, key: str) -> Account:
        """Admit a request. Raises `RequestError` 429 if its deployment's quota has no room for it."""
        account = Account(self, deployment, key, prompt_length(asked))
        quota = self.quotas.get(deployment)
        if quota is not None:
            azure = is_azure_route(route_of(request))
            admitted = quota.admit(self.clock(), estimate_tokens(asked))
            if isinstance(admitted, Refusal):
                self.meters.count(QUOTA_REFUSALS, deployment, admitted.limit)
                raise _refused(quota, admitted, azure=azure)
            account.quota, account.admission = quota, admitted
            account.headers = rate_limit_headers(quota, admitted.standing, azure=azure)
        request[ACCOUNT] = account
        return account


class Account:
    """One request's."""

    def __init__(self, accounts: Accounts, deployment: str, key: str, prompt_length: int) -> None:
        self._accounts, self._deployment, self._key = accounts, deployment, key
        self._prompt_length = prompt_length
        self.quota: Quota | None = None
        self.admission: Admission | None = None
        self.headers: Mapping[str, str] = {}
        """``x-ratelimit-*``; empty where nothing is limited."""
        self._opened = time.monotonic()
        self._arrived: float | None = None
        self._released = False

    def spend(self, told: JSON, characters: int) -> None:
        """The request used what the backend *told* as ``usage``; if that is nothing, what its *characters* come to.

        *characters* are those of the completion. The quota is corrected by what was told alone: an estimate of ours is no
        better than the first one.
        """
        usage, basis = read_usage(told), "reported"
        if usage is None:
            usage, basis = Usage(of_characters(self._prompt_length), of_characters(characters)), "estimated"
        elif self.quota is not None and self.admission is not None:
            self.quota.correct(self.admission, usage.total)
        meters, price = self._accounts.meters, self._accounts.prices.get(self._deployment)
        meters.count(TOKENS, self._deployment, self._key, "prompt", basis, amount=usage.prompt)
        meters.count(TOKENS, self._deployment, self._key, "completion", basis, amount=usage.completion)
        if price is not None:
            cost = (usage.prompt * price.prompt + usage.completion * price.completion) / 1000
            meters.count(COST, self._deployment, self._key, price.currency, amount=cost)

    def arrived(self, characters: int) -> None:
        """The backend has sent so many characters by now."""
        if self._arrived is None and characters:
            self._arrived = time.monotonic()

    def released(self) -> None:
        """Text of the stream has been shown to the client."""
        if not self._released:
            self._released, now = True, time.monotonic()
            self._accounts.meters.observe(FIRST_TEXT, self._deployment, value=now - self._opened)
            if self._arrived is not None:
                self._accounts.meters.observe(FIRST_TEXT_HELD, self._deployment, value=now - self._arrived)


ACCOUNT: Final = web.RequestKey("account", Account)


async def show_limits(request: web.Request, response: web.StreamResponse) -> None:
    """Put how the quota stands into the head of an answer; what the backend says of its own is not told beside it."""
    account = request.get(ACCOUNT)
    if account is not None and account.headers:
        for name in [name for name in response.headers if name.lower().startswith(RATE_LIMIT)]:
            del response.headers[name]
        response.headers.update(account.headers)


# ---------------------------------------------------------------------------------------------------------- headers


def rate_limit_headers(quota: Quota, standing: Standing, *, azure: bool) -> dict[str, str]:
    """``x-ratelimit-*``: durations as OpenAI writes them, whole seconds as *azure* does."""
    reset = str(math.ceil(standing.reset)) if azure else duration(standing.reset)
    headers: dict[str, str] = {}
    for what, limit, remaining in (
        ("requests", quota.requests, standing.remaining_requests),
        ("tokens", quota.tokens, standing.remaining_tokens),
    ):
        if limit is not None:
            headers[f"{RATE_LIMIT}limit-{what}"] = str(limit)
            headers[f"{RATE_LIMIT}remaining-{what}"] = str(remaining)
            headers[f"{RATE_LIMIT}reset-{what}"] = reset
    return headers


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: ``12ms``, ``1.5s``, ``6m0s``. Rounded up to milliseconds."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"


def _refused(quota: Quota, refusal: Refusal, *, azure: bool) -> RequestError:
    headers = rate_limit_headers(quota, refusal.standing, azure=azure)
    limit = quota.requests if refusal.limit == "requests" else quota.tokens
    message = f"the deployment's limit of {limit} {refusal.limit} a minute"
    if refusal.hopeless:  # another minute will not help: no Retry-After, or Azure's clients would try
        headers["x-should-retry"] = "false"
        message = f"the request asks for more tokens than {message} has room for"
        return RequestError(message, status=429, code="rate_limit_exceeded", headers=headers)
    wait = math.ceil(refusal.standing.reset)
    headers["retry-after-ms"] = str(math.ceil(refusal.standing.reset * 1000))
    message = f"{message} is reached; retry in {wait} s"
    return RequestError(message, status=429, code="rate_limit_exceeded", retry_after=wait, headers=headers)
