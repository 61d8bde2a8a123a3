"""Tokens of Microsoft Entra ID, through the official library. Needs the extra ``entra``."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential

from safety_proxy.errors import ConfigError

PUBLIC: Final = "https://login.microsoftonline.com"
"""Where the public cloud issues tokens. Azure Government: ``https://login.microsoftonline.us``."""


class EntraCredential(AsyncTokenCredential):
    """Finds an identity as `azure.identity.aio.DefaultAzureCredential` does.

    That is: environment, workload identity, managed identity (the user-assigned one of *client_id*, if any), developer
    tools. *authority* issues the tokens, which are kept until they expire; that is the library's doing. Raises
    `ConfigError` if the library is not installed.
    """

    def __init__(self, client_id: str | None = None, authority: str = PUBLIC) -> None:
        try:
            library = import_module("azure.identity.aio")
        except ModuleNotFoundError:
            message = "needs the library for Microsoft Entra ID: pip install 'safety-proxy[entra]'"
            raise ConfigError(message, field="entra") from None
        self._credential: AsyncTokenCredential = library.DefaultAzureCredential(
            managed_identity_client_id=client_id, authority=authority
        )

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 - as the protocol has it
        """A token for *scopes*. Raises the library's ``ClientAuthenticationError`` if there is no identity."""
        return await self._credential.get_token(*scopes, **options)

    async def close(self) -> None:
        """Close the connections."""
        await self._credential.close()

    async def __aexit__(self, *_: object) -> None:
        await self.close()
