"""Azure AI Content Safety: the blocklists of the store.

Who has a key needs it to say ``blocklists: read`` or ``write``. A change holds for whoever searches by the lists from the
moment that it is acknowledged, and for requests to models within about a second.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from safety_proxy.dialects.content_safety import (
    item_answer,
    list_answer,
    read_item_ids,
    read_list_changes,
    read_new_items,
    require_list_name,
)
from safety_proxy.errors import RequestError
from safety_proxy.model import JSON
from safety_proxy.server.content_safety import DIALECT
from safety_proxy.server.exchange import PROXY, json_response, read_json
from safety_proxy.server.middleware import FACTS, Handler
from safety_proxy.server.service import Caller, admit_to_service
from safety_proxy.store.base import MOST_ITEMS, BlocklistStore, NewItem, NoSuchListError, StoreFullError

PAGE: Final = 100
"""Entries of a page unless a client asks for fewer, or for more."""
LARGEST_PAGE: Final = 1000

_Operation = Callable[[Caller, BlocklistStore], Awaitable[web.Response]]

_NUMBER: Final = re.compile("[0-9]{1,9}")
_HOST: Final = re.compile(r"[0-9A-Za-z._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def _serves(operation: _Operation, *, write: bool = False) -> Handler:
    """A handler that admits a caller who may read, or change, blocklists, and leaves the rest to *operation*."""

    async def serve(request: web.Request) -> web.StreamResponse:
        with request.app[PROXY].load.request():
            caller = admit_to_service(request)
            request[FACTS].update(dialect=DIALECT)
            try:
                caller.require_blocklists(write=write)
                await caller.service.store.open()
                response = await operation(caller, caller.service.store)
            except NoSuchListError:
                raise _not_found("there is no blocklist of this name", "blocklistName", caller) from None
            except RequestError as error:
                error.headers.update(caller.headers())
                raise
            response.headers.update(caller.headers())
            return response

    return serve


async def show_lists(caller: Caller, store: BlocklistStore) -> web.Response:
    """All lists, by name, in pages."""
    page = _Page.asked_by(caller.request)
    found = await store.lists(page.skip, page.size + 1)
    return page.answer([list_answer(each.name, each.description) for each in found])


async def show_list(caller: Caller, store: BlocklistStore) -> web.Response:
    """One list, without its items."""
    found = await store.find_list(_name(caller))
    return json_response(list_answer(found.name, found.description))


async def put_list(caller: Caller, store: BlocklistStore) -> web.Response:
    """Make a list, or change its description: a merge patch, under whatever media type."""
    name = _name(caller)
    require_list_name(name)
    changes = read_list_changes(await read_json(caller.request), name)
    found, is_new = await store.put_list(name, changes)
    return json_response(list_answer(found.name, found.description), status=201 if is_new else 200)


async def remove_list(caller: Caller, store: BlocklistStore) -> web.Response:
    """Take a list away with its items. That there is none is what was wanted, so it is no error."""
    require_list_name(_name(caller))
    await store.remove_list(_name(caller))
    return web.Response(status=204)


async def put_items(caller: Caller, store: BlocklistStore) -> web.Response:
    """Put items on a list, all or none."""
    items = [NewItem(text, description) for text, description in read_new_items(await read_json(caller.request))]
    try:
        found = await store.add_items(_name(caller), items)
    except StoreFullError:
        message = f"the blocklists would have more than {MOST_ITEMS} items together; none was added"
        raise RequestError(message, code="blocklists_full", field="blocklistItems") from None
    return json_response({"blocklistItems": [item_answer(each.id, each.text, each.description) for each in found]})


async def remove_items(caller: Caller, store: BlocklistStore) -> web.Response:
    """Take items off a list. Ids that it does not have are no error."""
    await store.remove_items(_name(caller), read_item_ids(await read_json(caller.request)))
    return web.Response(status=204)


async def show_items(caller: Caller, store: BlocklistStore) -> web.Response:
    """The items of a list, oldest first, in pages."""
    page = _Page.asked_by(caller.request)
    found = await store.items(_name(caller), page.skip, page.size + 1)
    return page.answer([item_answer(each.id, each.text, each.description) for each in found])


async def show_item(caller: Caller, store: BlocklistStore) -> web.Response:
    """One item."""
    found = await store.find_item(_name(caller), caller.request.match_info["item"])
    if found is None:
        raise _not_found("the blocklist has no item of this id", "blocklistItemId")
    return json_response(item_answer(found.id, found.text, found.description))


def _name(caller: Caller) -> str:
    return caller.request.match_info["blocklist"]


def _not_found(message: str, path: str, caller: Caller | None = None) -> RequestError:
    headers = caller.headers() if caller is not None else None
    return RequestError(message, status=404, code="ResourceNotFound", field=path, headers=headers)


# ---------------------------------------------------------------------------------------------------------------- pages


@dataclass(frozen=True, slots=True)
class _Page:
    """Which entries are asked for: *size* of them, at most *top* with all pages that follow, without the first *skip*."""

    request: web.Request
    skip: int
    top: int | None
    size: int

    @classmethod
    def asked_by(cls, request: web.Request) -> _Page:
        """By ``skip``, ``top`` and ``maxpagesize``. Raises `RequestError`."""
        top = _number(request.query, "top")
        size = _number(request.query, "maxpagesize", 1)
        size = min(PAGE if size is None else size, LARGEST_PAGE)
        return cls(request, _number(request.query, "skip") or 0, top, size if top is None else min(size, top))

    def answer(self, entries: Sequence[JSON]) -> web.Response:
        """*entries* are those of the page, and one more if there is one."""
        shown = list(entries[: self.size])
        left = None if self.top is None else self.top - self.size
        body: dict[str, JSON] = {"value": shown}
        if len(entries) > self.size and left != 0:
            body["nextLink"] = self._next(left)
        return json_response(body)

    def _next(self, left: int | None) -> str:
        """The address of the next page, absolute: the SDK's clients understand no other.

        It is made of what the client itself called. Of what a proxy in between says of that, only that it was HTTPS is
        believed: the key that comes with the next request must not go in the clear.
        """
        if _HOST.fullmatch(self.request.host) is None:
            raise RequestError("the header `Host` does not name a host", field="Host")
        query = {**self.request.query, "skip": str(self.skip + self.size)}
        if left is not None:
            query["top"] = str(left)
        path = "/" + self.request.rel_url.raw_path.lstrip("/")
        url = self.request.url.with_path(path, encoded=True).with_query(query)
        return str(url.with_scheme("https") if self.request.headers.get("X-Forwarded-Proto") == "https" else url)


def _number(query: Mapping[str, str], name: str, least: int = 0) -> int | None:
    if name not in query:
        return None
    if _NUMBER.fullmatch(query[name]) is None or int(query[name]) < least:
        raise RequestError(f"`{name}` is not a whole number from {least}", field=name)
    return int(query[name])


_LISTS: Final = "/contentsafety/text/blocklists"
_LIST: Final = f"{_LISTS}/{{blocklist:[^:/]+}}"

ROUTES: Final[Sequence[web.RouteDef]] = (
    web.get(_LISTS, _serves(show_lists), allow_head=False),
    web.get(_LIST, _serves(show_list), allow_head=False),
    web.patch(_LIST, _serves(put_list, write=True)),
    web.delete(_LIST, _serves(remove_list, write=True)),
    web.post(f"{_LIST}:addOrUpdateBlocklistItems", _serves(put_items, write=True)),
    web.post(f"{_LIST}:removeBlocklistItems", _serves(remove_items, write=True)),
    web.get(f"{_LIST}/blocklistItems", _serves(show_items), allow_head=False),
    web.get(f"{_LIST}/blocklistItems/{{item}}", _serves(show_item), allow_head=False),
)
