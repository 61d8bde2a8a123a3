"""Tokens of Microsoft Entra ID: the real library, against a managed identity's endpoint on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from safety_proxy.classifiers import entra
from safety_proxy.classifiers.azure import AzureContentSafety
from safety_proxy.classifiers.entra import EntraCredential
from safety_proxy.classifiers.remote import Frame, RemoteClassifier
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.model import Category, Kind, Query
from tests.classifiers.azure_emulator import AzureEmulator
from tests.classifiers.loopback import LoopbackService, Received

SECRET = "secret-of-the-identity"
TOKEN = "a-token"
SCOPE = "https://cognitiveservices.azure.us/.default"


class ManagedIdentity(LoopbackService):
    """As App Service has one: ``IDENTITY_ENDPOINT`` and ``IDENTITY_HEADER``."""

    def answer(self, request: Received) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != SECRET:
            return web.json_response({"statusCode": 401, "message": "no"}, status=401)
        told = {"access_token": TOKEN, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        return web.json_response({**told, "resource": request.query["resource"]})


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagedIdentity]:
    service = ManagedIdentity()
    await service.start()
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{service.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", SECRET)
    yield service
    await service.stop()


def classifier(azure: AzureEmulator, client_id: str | None = None) -> RemoteClassifier:
    adapter = AzureContentSafety(azure.endpoint, EntraCredential(client_id), scope=SCOPE)
    return RemoteClassifier("azure", adapter, Frame(timeout=20))


async def test_a_token_is_fetched_once_and_borne_by_every_call(azure: AzureEmulator, identity: ManagedIdentity) -> None:
    azure.tokens.add(TOKEN)
    asked = classifier(azure, "a-client")
    for _ in range(3):
        (verdict,) = await asked.classify([Query("naked", Kind.MESSAGE)])
        assert verdict.severities[Category.SEXUAL] == 4
    await asked.close()
    assert {request.headers["Authorization"] for request in azure.received} == {f"Bearer {TOKEN}"}
    (request,) = identity.received
    assert request.query["resource"] == "https://cognitiveservices.azure.us"
    assert request.query["client_id"] == "a-client"


async def test_without_an_identity_nobody_is_let_in_and_no_secret_is_told(
    azure: AzureEmulator, identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    asked = classifier(azure)
    with pytest.raises(ClassifierError) as failed:
        await asked.classify([Query("naked", Kind.MESSAGE)])
    await asked.close()
    assert failed.value.reason == "unauthorized"
    assert SECRET not in repr(failed.value) + str(failed.value.__cause__)
    assert not azure.received
    assert identity.received


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(entra, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'safety-proxy\[entra\]'"):
        EntraCredential()


async def test_another_cloud_has_another_authority() -> None:
    credential = EntraCredential(authority="https://login.microsoftonline.us")
    await credential.close()
