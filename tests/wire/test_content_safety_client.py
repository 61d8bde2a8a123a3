"""The clients of Azure AI Content Safety, sync and async, for texts, images and blocklists; and the SDK's own samples."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import pytest
from azure.ai.contentsafety import BlocklistClient, ContentSafetyClient
from azure.ai.contentsafety.aio import BlocklistClient as AsyncBlocklistClient
from azure.ai.contentsafety.aio import ContentSafetyClient as AsyncContentSafetyClient
from azure.ai.contentsafety.models import (
    AddOrUpdateTextBlocklistItemsOptions,
    AnalyzeImageOptions,
    AnalyzeTextOptions,
    AnalyzeTextOutputType,
    ImageData,
    RemoveTextBlocklistItemsOptions,
    TextBlocklist,
    TextBlocklistItem,
    TextCategory,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport

from safety_proxy.model import Category
from safety_proxy.testing import FakeBackend, ScriptedClassifier
from tests.pictures import png
from tests.server.conftest import HARM, OUTAGE, Serve

T = TypeVar("T")
Start = Callable[[], AbstractAsyncContextManager[str]]

SECRET = "key-of-the-team"
KEY = AzureKeyCredential(SECRET)
KEYS = f"keys: [{{name: team, sha256: {hashlib.sha256(SECRET.encode()).hexdigest()}, blocklists: write}}]\n"
VERSIONS = ["2023-10-01", "2024-09-01"]
ENDINGS = ["", "/"]
HATE = "I loathe all of them"
SDK = "azure-ai-contentsafety"


@pytest.fixture(name="start")
def _start(serve: Serve, backend: FakeBackend) -> Start:
    """Start a filtering service with a key and a store: ``async with start() as url``."""

    def start() -> AbstractAsyncContextManager[str]:
        harms = {HARM: (Category.VIOLENCE, 6), HATE: (Category.HATE, 4)}
        return serve(
            backend,
            config=KEYS,
            classifier=ScriptedClassifier(harms, errors={OUTAGE: "timeout"}, reads_images=True),
            flags={"filter_only": "true", "policy": "test"},
        )

    return start


class Patient(RequestsTransport):  # type: ignore[misc]  # azure.core does not type it
    """Does not wait, but remembers how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, duration: float) -> None:
        self.slept.append(duration)


async def analysing(url: str, call: Callable[[ContentSafetyClient], T], api_version: str = VERSIONS[0]) -> T:
    def run() -> T:
        with ContentSafetyClient(url, KEY, api_version=api_version, retry_total=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


async def listing(url: str, call: Callable[[BlocklistClient], T], api_version: str = VERSIONS[0]) -> T:
    def run() -> T:
        with BlocklistClient(url, KEY, api_version=api_version, retry_total=0) as client:
            return call(client)

    return await asyncio.to_thread(run)


def asynchronous(url: str) -> AsyncContentSafetyClient:
    return AsyncContentSafetyClient(url, KEY, retry_total=0)


def adding(*texts: str) -> AddOrUpdateTextBlocklistItemsOptions:
    return AddOrUpdateTextBlocklistItemsOptions(blocklist_items=[TextBlocklistItem(text=text) for text in texts])


def fill(client: BlocklistClient, name: str, texts: Iterable[str]) -> list[str]:
    """Make a list of *texts*; the ids of the items."""
    client.create_or_update_text_blocklist(name, TextBlocklist(blocklist_name=name))
    every = list(texts)
    added: list[str] = []
    for start in range(0, len(every), 100):
        result = client.add_or_update_blocklist_items(name, adding(*every[start : start + 100]))
        added += [str(item.blocklist_item_id) for item in result.blocklist_items or ()]
    return added


# ------------------------------------------------------------------------------------------------------ texts and images


@pytest.mark.parametrize("api_version", VERSIONS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_text_is_analysed(start: Start, ending: str, api_version: str) -> None:
    async with start() as url:
        answer = await analysing(url + ending, lambda c: c.analyze_text(AnalyzeTextOptions(text=HARM)), api_version)

    assert [(each.category, each.severity) for each in answer.categories_analysis] == [
        (TextCategory.HATE, 0),
        (TextCategory.SELF_HARM, 0),
        (TextCategory.SEXUAL, 0),
        (TextCategory.VIOLENCE, 6),
    ]
    assert answer.blocklists_match == []


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_text_is_analysed_asynchronously(start: Start, ending: str) -> None:
    options = AnalyzeTextOptions(
        text=HARM, categories=[TextCategory.VIOLENCE], output_type=AnalyzeTextOutputType.EIGHT_SEVERITY_LEVELS
    )
    async with start() as url, asynchronous(url + ending) as client:
        answer = await client.analyze_text(options)

    assert [(each.category, each.severity) for each in answer.categories_analysis] == [(TextCategory.VIOLENCE, 6)]


@pytest.mark.parametrize("api_version", VERSIONS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_image_is_analysed(start: Start, ending: str, api_version: str) -> None:
    options = AnalyzeImageOptions(image=ImageData(content=png(HARM)))
    async with start() as url:
        answer = await analysing(url + ending, lambda c: c.analyze_image(options), api_version)

        async with asynchronous(url + ending) as client:
            same = await client.analyze_image(options)

    assert {each.category: each.severity for each in answer.categories_analysis} == {
        "Hate": 0,
        "SelfHarm": 0,
        "Sexual": 0,
        "Violence": 6,
    }
    assert same.as_dict() == answer.as_dict()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (AnalyzeTextOptions(text=""), 400, "InvalidRequestBody"),
        (AnalyzeTextOptions(text="x" * 10_001), 400, "InvalidRequestBody"),
        (AnalyzeTextOptions(text="x", categories=["Spam"]), 400, "InvalidRequestBody"),
        (AnalyzeTextOptions(text="x", blocklist_names=["nobody"]), 404, "ResourceNotFound"),
        (AnalyzeTextOptions(text=OUTAGE), 503, "ServerBusy"),
    ],
)
async def test_an_error_has_a_code(start: Start, options: AnalyzeTextOptions, status: int, code: str) -> None:
    async with start() as url:
        with pytest.raises(HttpResponseError) as caught:
            await analysing(url, lambda c: c.analyze_text(options))
        async with asynchronous(url) as client:
            with pytest.raises(HttpResponseError) as caught_too:
                await client.analyze_text(options)

    for each in (caught, caught_too):
        assert each.value.error is not None
        assert (each.value.status_code, each.value.error.code) == (status, code)


async def test_an_image_by_its_address_is_refused(start: Start) -> None:
    options = AnalyzeImageOptions(image=ImageData(blob_url="http://127.0.0.1:9/image.png"))
    async with start() as url:
        with pytest.raises(HttpResponseError) as caught:
            await analysing(url, lambda c: c.analyze_image(options))

    assert caught.value.error is not None
    assert (caught.value.error.code, caught.value.error.target) == ("InvalidRequestBody", "image.blobUrl")


async def test_a_client_told_that_there_is_no_verdict_waits_a_second_and_asks_again(start: Start) -> None:
    transport = Patient()

    def run(url: str) -> None:
        with ContentSafetyClient(url, KEY, transport=transport, retry_status=2) as client:
            client.analyze_text(AnalyzeTextOptions(text=OUTAGE))

    async with start() as url:
        with pytest.raises(HttpResponseError):
            await asyncio.to_thread(run, url)

    assert transport.slept == [1.0, 1.0]


async def test_a_wrong_key_is_told_as_such(start: Start) -> None:
    def run(url: str) -> None:
        with ContentSafetyClient(url, AzureKeyCredential("wrong")) as client:
            client.analyze_text(AnalyzeTextOptions(text="hi"))

    async with start() as url:
        for ending in ENDINGS:
            with pytest.raises(ClientAuthenticationError) as caught:
                await asyncio.to_thread(run, url + ending)

            assert caught.value.error is not None
            assert caught.value.error.code == "401"


# -------------------------------------------------------------------------------------------------------------- blocklists


@pytest.mark.parametrize("api_version", VERSIONS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_blocklist_lives_and_dies(start: Start, ending: str, api_version: str) -> None:
    def live(client: BlocklistClient) -> str:
        made = client.create_or_update_text_blocklist("brands", TextBlocklist(blocklist_name="brands", description="ours"))
        assert made.as_dict() == {"blocklistName": "brands", "description": "ours"}
        assert client.get_text_blocklist("brands").as_dict() == made.as_dict()
        assert [each.blocklist_name for each in client.list_text_blocklists()] == ["brands"]
        added = client.add_or_update_blocklist_items("brands", adding("acme", "h*te")).blocklist_items or []
        assert [each.text for each in added] == ["acme", "h*te"]
        identity = str(added[0].blocklist_item_id)
        assert client.get_text_blocklist_item("brands", identity).text == "acme"
        assert [each.as_dict() for each in client.list_text_blocklist_items("brands")] == [each.as_dict() for each in added]
        client.remove_blocklist_items("brands", RemoveTextBlocklistItemsOptions(blocklist_item_ids=[identity]))
        with pytest.raises(ResourceNotFoundError) as caught:
            client.get_text_blocklist_item("brands", identity)
        assert caught.value.error is not None
        client.delete_text_blocklist("brands")
        assert list(client.list_text_blocklists()) == []
        return str(caught.value.error.code)

    async with start() as url:
        assert await listing(url + ending, live, api_version) == "ResourceNotFound"


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_blocklist_lives_and_dies_asynchronously(start: Start, ending: str) -> None:
    async with start() as url, AsyncBlocklistClient(url + ending, KEY, retry_total=0) as client:
        await client.create_or_update_text_blocklist("brands", TextBlocklist(blocklist_name="brands"))
        added = (await client.add_or_update_blocklist_items("brands", adding(*map(str, range(7))))).blocklist_items or []
        ids = [str(each.blocklist_item_id) for each in added]
        assert [each.text async for each in client.list_text_blocklist_items("brands", maxpagesize=3)] == [*"0123456"]
        assert (await client.get_text_blocklist_item("brands", ids[3])).text == "3"
        await client.remove_blocklist_items("brands", RemoveTextBlocklistItemsOptions(blocklist_item_ids=ids[1:]))
        assert [each.text async for each in client.list_text_blocklist_items("brands")] == ["0"]
        assert [each.blocklist_name async for each in client.list_text_blocklists()] == ["brands"]
        await client.delete_text_blocklist("brands")
        with pytest.raises(ResourceNotFoundError):
            await client.get_text_blocklist("brands")


async def test_a_text_is_searched_as_soon_as_an_item_is_there(start: Start) -> None:
    options = AnalyzeTextOptions(text="I h*te ACME", blocklist_names=["brands"], halt_on_blocklist_hit=True)
    async with start() as url:
        [first, second] = await listing(url, lambda c: fill(c, "brands", ["acme", "h*te"]))
        answer = await analysing(url, lambda c: c.analyze_text(options))

    assert [each.as_dict() for each in answer.blocklists_match or ()] == [
        {"blocklistName": "brands", "blocklistItemId": first, "blocklistItemText": "acme"},
        {"blocklistName": "brands", "blocklistItemId": second, "blocklistItemText": "h*te"},
    ]
    assert answer.categories_analysis == []


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("asked", "pages", "first", "last"),
    [
        ({}, [100, 100, 50], 0, 250),
        ({"maxpagesize": 120}, [120, 120, 10], 0, 250),
        ({"maxpagesize": 50, "skip": 100}, [50, 50, 50], 100, 250),
        ({"top": 130}, [100, 30], 0, 130),
        ({"top": 100}, [100], 0, 100),
        ({"top": 7, "skip": 245, "maxpagesize": 4}, [4, 1], 245, 250),
        ({"skip": 250}, [0], 250, 250),
    ],
)
async def test_pages_follow_each_other_to_the_end(
    start: Start, ending: str, asked: dict[str, int], pages: list[int], first: int, last: int
) -> None:
    texts = [f"word {number}" for number in range(250)]

    def read(client: BlocklistClient) -> list[list[str]]:
        fill(client, "brands", texts)
        # The class that iterates by page is none of the SDK's public types.
        found = client.list_text_blocklist_items("brands", **asked)
        return [[str(item.text) for item in page] for page in found.by_page()]  # type: ignore[attr-defined]  # typed as Iterable

    async with start() as url:
        found = await listing(url + ending, read)

    assert [len(page) for page in found] == pages
    assert [text for page in found for text in page] == texts[first:last]


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda c: c.create_or_update_text_blocklist("no blanks", {}), 400, "InvalidResourceName"),
        (lambda c: c.create_or_update_text_blocklist("x" * 65, {}), 400, "InvalidResourceName"),
        (lambda c: c.add_or_update_blocklist_items("there", adding("x" * 129)), 400, "InvalidRequestBody"),
        (lambda c: c.add_or_update_blocklist_items("there", adding()), 400, "InvalidRequestBody"),
        (lambda c: c.add_or_update_blocklist_items("nowhere", adding("x")), 404, "ResourceNotFound"),
        (lambda c: c.get_text_blocklist("nowhere"), 404, "ResourceNotFound"),
        (lambda c: c.get_text_blocklist_item("there", "no-such-item"), 404, "ResourceNotFound"),
        (lambda c: list(c.list_text_blocklist_items("nowhere")), 404, "ResourceNotFound"),
    ],
)
async def test_an_error_about_a_blocklist_has_a_code(
    start: Start, call: Callable[[BlocklistClient], object], status: int, code: str
) -> None:
    async with start() as url:
        await listing(url, lambda c: fill(c, "there", ["x"]))
        with pytest.raises(HttpResponseError) as caught:
            await listing(url, call)

    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (status, code)


# ------------------------------------------------------------------------------------------- the SDK's samples and tests


@pytest.fixture(name="sources", scope="module")
def _sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the SDK that is installed, unpacked; skips if there is no index of packages."""
    folder = tmp_path_factory.mktemp("sdk")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    fetched = subprocess.run(  # noqa: S603 - this very Python
        [*download, f"{SDK}=={version(SDK)}"], cwd=folder, capture_output=True, text=True, check=False
    )
    if fetched.returncode != 0:
        pytest.skip(f"NO INDEX OF PACKAGES: the SDK's own samples and tests did not run. {fetched.stderr}")
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    [samples] = folder.glob("*/samples")
    # What the samples and tests look at is in the SDK's repository, but not in the distribution.
    (samples / "sample_data").mkdir()
    (samples / "sample_data" / "image.jpg").write_bytes(b"\xff\xd8\xff\xe0 a cat")
    (samples / "sample_data" / "text.txt").write_text(HATE)
    return samples.parent


async def run(url: str, *arguments: str | Path, **environment: str) -> str:
    """What a run of Python prints. One that fails fails the test."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env={**os.environ, "CONTENT_SAFETY_ENDPOINT": url, "CONTENT_SAFETY_KEY": SECRET, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


SAMPLES = {
    "sample_analyze_image.py": ["Hate severity: 0", "Violence severity: 0"],
    "sample_analyze_image_async.py": ["Hate severity: 0", "Violence severity: 0"],
    "sample_analyze_text.py": ["Hate severity: 0", "Violence severity: 0"],
    "sample_analyze_text_async.py": ["Hate severity: 0", "Violence severity: 0"],
    "sample_manage_blocklist.py": [
        "Name: TestBlocklist, Description: Test blocklist management.",
        "BlockItemText: k*ll",
        "BlockItemText: h*te",
        "Get blockitem:",
        "Removed blockItem:",
        "Deleted blocklist: TestBlocklist",
    ],
}
"""What each prints, among other things."""
LEFT_OUT = {"sample_entra_id_auth.py"}
"""Its credential signs in at Microsoft, and it shows the token over TLS only."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_samples_of_the_sdk_run_as_they_are(start: Start, sources: Path) -> None:
    assert set(await asyncio.to_thread(os.listdir, sources / "samples")) == {*SAMPLES, *LEFT_OUT, "sample_data"}
    async with start() as url:
        for ending in ENDINGS:
            for name, lines in SAMPLES.items():
                printed = await run(url + ending, sources / "samples" / name)
                assert [line for line in lines if line not in printed] == [], name


TOOLS = """
import inspect, os, pytest

@pytest.fixture(scope="session")
def test_proxy(): ...

def add_general_string_sanitizer(**_): ...
def recorded_by_proxy(test): return test
def is_live(): return True

class FakeTokenCredential: ...

class AzureRecordedTestCase:
    def create_client_from_credential(self, kind, credential, **options):
        return kind(credential=credential, **options)

class EnvironmentVariableLoader:
    def __init__(self, *_, **names): self.names = names
    def __call__(self, test):
        wanted = [name for name in inspect.signature(test).parameters if name in self.names]
        def run(self): test(self, **{name: os.environ[name.upper()] for name in wanted})
        return run
"""
"""What the SDK's tests are written with, as far as they need it: no recordings, the real thing. Not on any index."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_tests_of_the_sdk_hold(start: Start, sources: Path, tmp_path: Path, ending: str) -> None:
    """All but the one that signs in at Microsoft, which shows its token over TLS only."""
    (tmp_path / "devtools_testutils.py").write_text(TOOLS)
    flags = ("-m", "pytest", "-c", os.devnull, "--rootdir", str(sources), "-p", "no:cacheprovider", "-k", "not entra")
    async with start() as url:
        printed = await run(url + ending, *flags, sources / "tests", PYTHONPATH=str(tmp_path))

    assert "11 passed, 1 deselected" in printed
