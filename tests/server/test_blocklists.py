"""The blocklists of the store, managed as clients of Azure AI Content Safety do it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from safety_proxy.server.blocklists import LARGEST_PAGE, PAGE
from safety_proxy.store.base import MOST_ITEMS, NewItem
from safety_proxy.store.sql import SQLStore
from safety_proxy.testing import FakeBackend
from tests.server.conftest import Serve

Start = Callable[..., AbstractAsyncContextManager[str]]

LISTS = "/contentsafety/text/blocklists"
BRANDS = f"{LISTS}/brands"
ITEMS = f"{BRANDS}/blocklistItems"
ADD = f"{BRANDS}:addOrUpdateBlocklistItems"
REMOVE = f"{BRANDS}:removeBlocklistItems"
OPERATIONS = [
    ("GET", LISTS, None),
    ("GET", BRANDS, None),
    ("GET", ITEMS, None),
    ("GET", f"{ITEMS}/some", None),
    ("PATCH", BRANDS, {}),
    ("DELETE", BRANDS, None),
    ("POST", ADD, {"blocklistItems": [{"text": "x"}]}),
    ("POST", REMOVE, {"blocklistItemIds": ["some"]}),
]
ON_A_LIST = [each for each in OPERATIONS if each[1] != LISTS and each[0] not in {"PATCH", "DELETE"}]


@pytest.fixture(name="start")
def _start(serve: Serve, backend: FakeBackend) -> Start:
    """Start a filtering service: ``async with start(config) as url``."""

    def start(config: str = "") -> AbstractAsyncContextManager[str]:
        return serve(backend, config=config, flags={"filter_only": "true", "policy": "test"})

    return start


class Service:
    """Calls, in short."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and body of the answer to a call."""
        async with self.open(method, path, body, **headers) as response:
            return response.status, await response.json() if response.status != 204 else await response.read()

    def open(self, method: str, path: str, body: object = None, **headers: str) -> AbstractAsyncContextManager[Any]:
        url = path if path.startswith("http") else self._url + path
        data = None if body is None else json.dumps(body)
        return self._http.request(method, URL(url, encoded=True), data=data, headers=headers)

    async def add(self, *texts: str) -> list[str]:
        """Put texts on a list called brands; the ids of the items."""
        await self("PATCH", BRANDS, {})
        status, body = await self("POST", ADD, {"blocklistItems": [{"text": text} for text in texts]})
        assert status == 200, body
        return [item["blocklistItemId"] for item in body["blocklistItems"]]

    async def pages(self, path: str) -> list[list[str]]:
        """The texts of the items on each page, as long as there is a next one."""
        pages: list[list[str]] = []
        while path:
            status, body = await self("GET", path)
            assert status == 200, body
            pages.append([item["text"] for item in body["value"]])
            path = body.get("nextLink", "")
        return pages


# ------------------------------------------------------------------------------------------------------------------ lists


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_a_list_is_made_and_changed_by_a_patch(start: Start, http: aiohttp.ClientSession, media_type: str) -> None:
    async with start() as url:
        call = Service(http, url)
        told = {"Content-Type": media_type}
        made = await call("PATCH", BRANDS, {"blocklistName": "brands", "description": "ours"}, **told)
        kept = await call("PATCH", BRANDS, {}, **told)
        changed = await call("PATCH", BRANDS, {"description": "theirs"}, **told)
        bare = await call("PATCH", BRANDS, {"description": None}, **told)
        found = await call("GET", BRANDS)

    ours = {"blocklistName": "brands", "description": "ours"}
    assert (made, kept) == ((201, ours), (200, ours))
    assert changed == (200, {"blocklistName": "brands", "description": "theirs"})
    assert (bare, found) == ((200, {"blocklistName": "brands"}), (200, {"blocklistName": "brands"}))


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%A4", "a%00", "a%2Fb"])
async def test_a_list_is_not_made_under_a_name_that_it_cannot_have(
    start: Start, http: aiohttp.ClientSession, name: str
) -> None:
    async with start() as url:
        call = Service(http, url)
        status, body = await call("PATCH", f"{LISTS}/{name}", {})
        missing, told = await call("GET", f"{LISTS}/{name}")

    assert (status, body["error"]["code"], body["error"]["target"]) == (400, "InvalidResourceName", "blocklistName")
    assert (missing, told["error"]["code"]) == (404, "ResourceNotFound")


async def test_a_name_with_a_colon_is_taken_for_an_operation_that_there_is_none_of(
    start: Start, http: aiohttp.ClientSession
) -> None:
    async with start() as url:
        status, body = await Service(http, url)("PATCH", f"{LISTS}/a%3Ab", {})

    assert (status, body["error"]["code"]) == (404, "404")


async def test_the_name_in_the_body_is_that_in_the_path(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        status, body = await Service(http, url)("PATCH", BRANDS, {"blocklistName": "others"})

    assert (status, body["error"]["code"], body["error"]["target"]) == (400, "InvalidRequestBody", "blocklistName")


async def test_a_removed_list_is_gone_with_its_items_and_may_be_removed_again(
    start: Start, http: aiohttp.ClientSession
) -> None:
    async with start() as url:
        call = Service(http, url)
        await call.add("acme")
        assert await call("DELETE", BRANDS) == (204, b"")
        assert await call("DELETE", BRANDS) == (204, b"")
        assert (await call("GET", BRANDS))[0] == 404
        await call("PATCH", BRANDS, {})
        assert await call.pages(ITEMS) == [[]]


async def test_lists_are_told_by_name_in_pages(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        call = Service(http, url)
        for name in "cab":
            await call("PATCH", f"{LISTS}/{name}", {"description": name.upper()})
        _, first = await call("GET", f"{LISTS}?api-version=2024-09-01&maxpagesize=2")
        _, second = await call("GET", first["nextLink"])

    assert [each["blocklistName"] for each in first["value"]] == ["a", "b"]
    assert second == {"value": [{"blocklistName": "c", "description": "C"}]}


@pytest.mark.parametrize(("method", "path", "body"), ON_A_LIST)
async def test_a_list_that_does_not_exist_is_not_found(
    start: Start, http: aiohttp.ClientSession, method: str, path: str, body: object
) -> None:
    async with start() as url, Service(http, url).open(method, path, body) as response:
        error = (await response.json())["error"]
        assert response.headers["x-safety-proxy-policy"].startswith("test@")

    assert (response.status, error["code"], error["target"]) == (404, "ResourceNotFound", "blocklistName")


# ------------------------------------------------------------------------------------------------------------------ items


async def test_an_item_keeps_its_id_when_its_description_changes(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        call = Service(http, url)
        [identity, _] = await call.add("acme", "other")
        item = {"text": "acme", "description": "d"}
        _, body = await call("POST", ADD, {"blocklistItems": [item]})
        found = await call("GET", f"{ITEMS}/{identity}")
        pages = await call.pages(ITEMS)

    assert body == {"blocklistItems": [{"blocklistItemId": identity, **item}]}
    assert found == (200, {"blocklistItemId": identity, **item})
    assert pages == [["acme", "other"]]


async def test_removed_items_are_gone_and_strange_ids_do_no_harm(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        call = Service(http, url)
        [first, second] = await call.add("acme", "other")
        assert await call("POST", REMOVE, {"blocklistItemIds": [first, "stranger", "\0"]}) == (204, b"")
        status, body = await call("GET", f"{ITEMS}/{first}")
        assert await call.pages(ITEMS) == [["other"]]
        assert (await call("GET", f"{ITEMS}/{second}"))[0] == 200

    assert (status, body["error"]["code"], body["error"]["target"]) == (404, "ResourceNotFound", "blocklistItemId")


@pytest.mark.parametrize("text", ["\0", "\u200b", "x" * 129, "\ufdfa" * 20])
async def test_an_item_that_cannot_be_kept_or_found_is_refused_and_none_is_added(
    start: Start, http: aiohttp.ClientSession, text: str
) -> None:
    async with start() as url:
        call = Service(http, url)
        await call("PATCH", BRANDS, {})
        status, body = await call("POST", ADD, {"blocklistItems": [{"text": "fine"}, {"text": text}]})
        pages = await call.pages(ITEMS)

    assert (status, body["error"]["code"], body["error"]["target"]) == (
        400,
        "InvalidRequestBody",
        "blocklistItems[1].text",
    )
    assert pages == [[]]


async def test_half_a_surrogate_pair_is_no_json(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        call = Service(http, url)
        await call("PATCH", BRANDS, {})
        status, body = await call("POST", ADD, {"blocklistItems": [{"text": "\ud800"}]})

    assert (status, body["error"]["innererror"]["code"]) == (400, "invalid_json")


async def test_a_full_store_takes_no_more(start: Start, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    store = SQLStore(f"sqlite:///{tmp_path}/filter.db")
    await store.open()
    await store.put_list("brands", {})
    await store.add_items("brands", [NewItem(f"word {number}") for number in range(MOST_ITEMS - 1)])
    await store.close()
    async with start() as url:
        call = Service(http, url)
        status, body = await call("POST", ADD, {"blocklistItems": [{"text": "one"}, {"text": "two"}]})
        known, _ = await call("POST", ADD, {"blocklistItems": [{"text": "word 1", "description": "d"}, {"text": "one"}]})

    error = body["error"]
    assert (status, error["code"], error["innererror"]) == (400, "InvalidRequestBody", {"code": "blocklists_full"})
    assert "10000" in error["message"]
    assert known == 200


async def test_a_store_that_fails_is_no_fault_of_the_client(start: Start, http: aiohttp.ClientSession) -> None:
    async with start('service: {store: "sqlite:///no-such-folder/filter.db"}') as url:
        async with Service(http, url).open("GET", LISTS) as response:
            error = (await response.json())["error"]

    assert (response.status, error["code"], response.headers["Retry-After"]) == (503, "ServerBusy", "1")
    assert error["innererror"] == {"code": "store_unavailable"}


# ------------------------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize(
    ("asked", "sizes", "first"),
    [
        ("", [5], 0),
        ("?maxpagesize=2", [2, 2, 1], 0),
        ("?maxpagesize=5", [5], 0),
        ("?skip=2&maxpagesize=2", [2, 1], 2),
        ("?top=3&maxpagesize=2", [2, 1], 0),
        ("?top=2&maxpagesize=2", [2], 0),
        ("?top=4&maxpagesize=2", [2, 2], 0),
        ("?top=2&skip=4", [1], 4),
        ("?top=0", [0], 0),
        ("?skip=9", [0], 9),
        ("?maxpagesize=999999999", [5], 0),
    ],
)
async def test_pages_follow_each_other_to_the_end(
    start: Start, http: aiohttp.ClientSession, asked: str, sizes: list[int], first: int
) -> None:
    async with start() as url:
        call = Service(http, url)
        await call.add(*"abcde")
        pages = await call.pages(ITEMS + asked)

    assert [len(page) for page in pages] == sizes
    assert "".join(text for page in pages for text in page) == "abcde"[first : first + sum(sizes)]


async def test_a_page_has_a_hundred_items_or_a_thousand_at_most(
    start: Start, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    store = SQLStore(f"sqlite:///{tmp_path}/filter.db")
    await store.open()
    await store.put_list("brands", {})
    await store.add_items("brands", [NewItem(f"word {number}") for number in range(LARGEST_PAGE + 1)])
    await store.close()
    async with start() as url:
        call = Service(http, url)
        usual = [len(page) for page in await call.pages(ITEMS)]
        largest = [len(page) for page in await call.pages(f"{ITEMS}?maxpagesize=5000")]

    assert usual == [PAGE] * 10 + [1]
    assert largest == [LARGEST_PAGE, 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("top=-1", "top"),
        ("top=x", "top"),
        ("skip=1.5", "skip"),
        ("skip=%D9%A1", "skip"),
        ("maxpagesize=0", "maxpagesize"),
        ("maxpagesize=", "maxpagesize"),
        ("skip=9999999999", "skip"),
    ],
)
async def test_what_is_no_number_is_refused(start: Start, http: aiohttp.ClientSession, query: str, field: str) -> None:
    async with start() as url:
        call = Service(http, url)
        await call.add("acme")
        status, body = await call("GET", f"{ITEMS}?{query}")

    assert (status, body["error"]["code"], body["error"]["target"]) == (400, "InvalidRequestBody", field)


async def test_the_next_page_is_where_the_client_called_and_nowhere_else(start: Start, http: aiohttp.ClientSession) -> None:
    forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    async with start() as url:
        call = Service(http, url)
        await call.add(*"abc")
        asked = f"/{ITEMS}?api-version=2024-09-01&maxpagesize=2&of=a%26b"
        _, body = await call("GET", asked, Host="filter.example:8443", **forwarded)
        _, plain = await call("GET", asked)
        strange, told = await call("GET", asked, Host="a/b@c")
        harmless, _ = await call("GET", ITEMS, Host="a/b@c")

    link = URL(body["nextLink"])
    assert link.origin() == URL("https://filter.example:8443")
    assert link.path == ITEMS
    assert dict(link.query) == {"api-version": "2024-09-01", "maxpagesize": "2", "of": "a&b", "skip": "2"}
    assert URL(plain["nextLink"]).scheme == "http"
    assert (strange, told["error"]["target"], harmless) == (400, "Host", 200)


# ----------------------------------------------------------------------------------------------------------------- access


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
async def test_a_key_may_do_what_it_says(
    start: Start, http: aiohttp.ClientSession, method: str, path: str, body: object
) -> None:
    config = "keys:\n" + "".join(
        f"- {{name: {name}, sha256: {hashlib.sha256(name.encode()).hexdigest()}, blocklists: {name}}}\n"
        for name in ("none", "read", "write")
    )
    async with start(config) as url:
        call = Service(http, url)
        keys = ("nobody", "none", "read", "write")
        told = {key: await call(method, path, body, **{"Ocp-Apim-Subscription-Key": key}) for key in keys}

    assert (told["nobody"][0], told["none"][0]) == (401, 403)
    assert told["none"][1]["error"]["code"] == "403"
    assert (told["read"][0] == 403) == (method != "GET")
    assert told["write"][0] in {200, 201, 204, 404}


@pytest.mark.parametrize("slashes", ["/", "//"])
async def test_an_action_is_called_whatever_becomes_of_the_colon(
    start: Start, http: aiohttp.ClientSession, slashes: str
) -> None:
    async with start() as url:
        call = Service(http, url)
        await call.add("acme")
        path = slashes + ADD.lstrip("/").replace(":", "%3A")
        status, _ = await call("POST", path, {"blocklistItems": [{"text": "other"}]})
        assert await call.pages(ITEMS) == [["acme", "other"]]

    assert status == 200


async def test_lists_are_there_after_a_restart(start: Start, http: aiohttp.ClientSession) -> None:
    async with start() as url:
        await Service(http, url).add("acme")
    async with start() as url:
        assert await Service(http, url).pages(ITEMS) == [["acme"]]
