"""Tokens of Microsoft Entra ID: the real library, against a managed identity's endpoint on loopback."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

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


async def test_questions_that_are_asked_at_once_share_a_token(azure: AzureEmulator, identity: ManagedIdentity) -> None:
    azure.tokens.add(TOKEN)
    asked = classifier(azure)
    await asked.classify([Query(f"text {i}", kind) for i in range(5) for kind in (Kind.USER_PROMPT, Kind.DOCUMENT)])
    await asked.close()
    assert len(azure.received) > 10
    assert len(identity.received) == 1


@pytest.mark.parametrize(("given", "expected"), [(None, "of-the-variable"), ("given", "given")])
async def test_the_identity_of_the_variable_counts_unless_another_is_given(
    azure: AzureEmulator,
    identity: ManagedIdentity,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    expected: str,
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "of-the-variable")
    azure.tokens.add(TOKEN)
    asked = classifier(azure, given)
    await asked.classify([Query("fine", Kind.MESSAGE)])
    await asked.close()
    assert identity.received[0].query["client_id"] == expected


async def test_a_token_that_the_service_does_not_take_is_unauthorized_and_not_logged(
    azure: AzureEmulator, identity: ManagedIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = classifier(azure)
    with pytest.raises(ClassifierError) as failed:
        await asked.classify([Query("naked", Kind.MESSAGE)])
    await asked.close()
    told = caplog.text + "".join(traceback.format_exception(failed.value))
    assert failed.value.reason == "unauthorized"
    assert azure.received[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert not [secret for secret in (SECRET, TOKEN) if secret in told]
    assert identity.received


async def test_without_an_identity_nobody_is_let_in_and_no_secret_is_told(
    azure: AzureEmulator,
    identity: ManagedIdentity,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("IDENTITY_HEADER", "wrong-secret")
    asked = classifier(azure)
    with pytest.raises(ClassifierError) as failed:
        await asked.classify([Query("naked", Kind.MESSAGE)])
    await asked.close()
    assert failed.value.reason == "unauthorized"
    assert "wrong-secret" not in caplog.text + "".join(traceback.format_exception(failed.value))
    assert not azure.received
    assert identity.received


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(entra, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'safety-proxy\[entra\]'"):
        EntraCredential()


class Library:
    """Stands in for the library where the real one would ask the internet, or would take long to fail."""

    def __init__(self, *answers: AccessToken | Exception) -> None:
        self.answers = list(answers)
        self.told: dict[str, str] = {}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.closed = False

    def __call__(self, **told: str) -> Library:
        self.told = told
        return self

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        self.asked += 1
        self.begun.set()
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


Install = Callable[..., Library]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def build(*answers: AccessToken | Exception) -> Library:
        library = Library(*answers)
        monkeypatch.setattr(entra, "import_module", lambda _: SimpleNamespace(DefaultAzureCredential=library))
        return library

    return build


def token(seconds: float = 3600) -> AccessToken:
    return AccessToken(TOKEN, int(time.time() + seconds))


async def test_another_cloud_has_another_authority(install: Install) -> None:
    library = install()
    EntraCredential("a-client", "https://login.microsoftonline.us")
    assert library.told == {
        "authority": "https://login.microsoftonline.us",
        "managed_identity_client_id": "a-client",
    }
    EntraCredential()
    assert library.told == {"authority": "https://login.microsoftonline.com"}


@pytest.mark.parametrize(
    "error",
    [
        ClientAuthenticationError("secret"),
        HttpResponseError("secret"),
        ServiceRequestError("secret"),
        ValueError("secret"),
        OSError("secret"),
    ],
)
async def test_an_identity_that_is_lost_is_unauthorized_whatever_the_library_says(
    azure: AzureEmulator, install: Install, error: Exception
) -> None:
    install(token(seconds=1), error, token())
    azure.tokens.add(TOKEN)
    asked = classifier(azure)
    query = Query("fine", Kind.MESSAGE)
    await asked.classify([query])
    with pytest.raises(ClassifierError) as failed:
        await asked.classify([query])
    assert failed.value.reason == "unauthorized"
    assert "secret" not in "".join(traceback.format_exception(failed.value))
    await asked.classify([query])
    await asked.close()
    assert len(azure.received) == 2


async def test_who_leaves_does_not_cut_off_the_fetching_that_the_next_one_waits_for(install: Install) -> None:
    library = install(token())
    library.gate.clear()
    credential = EntraCredential()
    first = asyncio.ensure_future(credential.get_token(SCOPE))
    await library.begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    second = asyncio.ensure_future(credential.get_token(SCOPE))
    asyncio.get_running_loop().call_soon(library.gate.set)
    assert (await second).token == TOKEN
    assert library.asked == 1


async def test_tokens_for_different_ends_are_fetched_apart(install: Install) -> None:
    library = install(AccessToken("one", 1), AccessToken("two", 1))
    credential = EntraCredential()
    one, two = await asyncio.gather(credential.get_token(SCOPE), credential.get_token(SCOPE, claims="more"))
    assert {one.token, two.token} == {"one", "two"}
    assert library.asked == 2


async def test_who_waits_for_a_token_when_it_is_closed_gets_none(install: Install) -> None:
    library = install(token())
    library.gate.clear()
    credential = EntraCredential()
    waiting = asyncio.ensure_future(credential.get_token(SCOPE))
    await library.begun.wait()
    await credential.close()
    with pytest.raises(ClientAuthenticationError):
        await waiting
    assert library.closed


async def test_it_may_be_closed_twice_and_by_leaving_its_context(identity: ManagedIdentity) -> None:
    async with EntraCredential() as credential:
        assert (await credential.get_token(SCOPE)).token == TOKEN
    await credential.close()
    assert len(identity.received) == 1


def test_an_authority_without_tls_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^entra\.authority: must begin with https://$"):
        EntraCredential(authority="http://login.microsoftonline.us")


def test_what_the_library_refuses_is_an_error_of_the_configuration_that_does_not_quote_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "nonsense")
    with pytest.raises(ConfigError, match="AZURE_") as failed:
        EntraCredential()
    assert failed.value.field == "entra"
    assert "nonsense" not in str(failed.value)


@pytest.mark.parametrize("endpoint", ["http://content-safety.example", "http://192.0.2.1:8080", "http://localhost.example"])
def test_tokens_are_not_sent_in_the_clear_to_other_machines(install: Install, endpoint: str) -> None:
    install()
    with pytest.raises(ConfigError, match=r"^endpoint: must begin with https://"):
        AzureContentSafety(endpoint, EntraCredential(), scope=SCOPE)


@pytest.mark.parametrize("endpoint", ["http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1", "https://h.example"])
async def test_tokens_may_go_to_this_machine_or_over_tls(install: Install, endpoint: str) -> None:
    install()
    await AzureContentSafety(endpoint, EntraCredential(), scope=SCOPE).close()


async def test_a_key_is_sent_as_the_endpoint_says() -> None:
    await AzureContentSafety("http://content-safety.example", "a-key").close()
