"""Tokens of Microsoft Entra ID, through the official library. Needs the extra ``entra``."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, Final, TypeAlias

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError

from safety_proxy.errors import ConfigError

PUBLIC: Final = "https://login.microsoftonline.com"
"""Where the public cloud issues tokens. Azure Government: ``https://login.microsoftonline.us``."""

_Wanted: TypeAlias = tuple[object, ...]
"""The scopes and options of a token."""


class EntraCredential(AsyncTokenCredential):
    """Finds an identity as `azure.identity.aio.DefaultAzureCredential` does.

    That is: environment, workload identity, managed identity, developer tools. *client_id* is that of a user-assigned
    managed identity or of a workload identity; None leaves it to the variable ``AZURE_CLIENT_ID``, if there is one.
    *authority* issues the tokens to the environment's identity; workload identity goes by ``AZURE_AUTHORITY_HOST``, which
    its platform sets, and managed identity needs none. Tokens are kept until they expire; that is the library's doing.

    Raises `ConfigError` if the library is not installed, or refuses what it is told here or by variables.
    """

    def __init__(self, client_id: str | None = None, authority: str = PUBLIC) -> None:
        try:
            library = import_module("azure.identity.aio")
        except ModuleNotFoundError:
            message = "needs the library for Microsoft Entra ID: pip install 'safety-proxy[entra]'"
            raise ConfigError(message, field="entra") from None
        if not authority.startswith("https://"):
            raise ConfigError("must begin with https://", field="entra.authority")
        # None would not be the same as nothing: the library would no longer look at the variable.
        named = {} if client_id is None else {"managed_identity_client_id": client_id}
        try:
            self._credential: AsyncTokenCredential = library.DefaultAzureCredential(authority=authority, **named)
        except (ValueError, OSError):  # not repeated: it may quote what a variable holds
            message = "is refused by the library for Microsoft Entra ID: look at the variables that begin with AZURE_"
            raise ConfigError(message, field="entra") from None
        self._fetching: dict[_Wanted, asyncio.Task[AccessToken | None]] = {}

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 - as the protocol has it
        """A token for *scopes*. Raises the library's ``ClientAuthenticationError`` if none is to be had, for any reason.

        Who is cancelled while he waits does not cut off the fetching: it may take longer than any call has time, and then
        the next one would begin it anew, for ever.
        """
        wanted: _Wanted = (scopes, *sorted(options.items()))
        fetching = self._fetching.get(wanted)
        if fetching is None:
            fetching = asyncio.get_running_loop().create_task(self._fetch(wanted, scopes, options))
            self._fetching[wanted] = fetching
        await asyncio.wait([fetching])
        token = None if fetching.cancelled() else fetching.result()
        if token is None:
            raise ClientAuthenticationError("no token was to be had")  # why not is in the library's log, at level debug
        return token

    async def close(self) -> None:
        """Give up what is being fetched and close the connections."""
        fetching = list(self._fetching.values())
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        await self._credential.close()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _fetch(self, wanted: _Wanted, scopes: tuple[str, ...], options: dict[str, Any]) -> AccessToken | None:
        try:
            return await self._credential.get_token(*scopes, **options)
        except Exception:  # noqa: BLE001 - of an identity that worked once the library lets every error through
            return None
        finally:
            self._fetching.pop(wanted, None)
