"""Processes that share a store: ``workers.py race URL PROCESSES MOST`` and ``workers.py endless URL``."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count

import safety_proxy.store.sql_statements  # noqa: F401 - before anybody begins, so that all begin together
from safety_proxy.store.base import NewItem, StoreFullError
from safety_proxy.store.sql import SQLStore


async def fill(store: SQLStore, begins: int, who: int) -> None:
    """Make the list and put items on it, until no more fit."""
    os.read(begins, 1)
    await store.open()
    await store.put_list("list", {"description": "ours"})
    try:
        for number in count():
            await store.add_items("list", [NewItem(f"{who}.{number}"), NewItem(f"{who}.{number}!")])
            print(f"{who}.{number}", flush=True)  # noqa: T201 - to who started it
    except StoreFullError:
        await store.close()


def race(url: str, processes: int, most: int) -> int:
    """The store is made before the fork, as a server with workers makes it. 0 if all ended well."""
    store = SQLStore(url, most_items=most)
    begins, gate = os.pipe()
    children = []
    for who in range(processes):
        child = os.fork()
        if not child:
            os.close(gate)
            asyncio.run(fill(store, begins, who))
            os._exit(0)
        children.append(child)
    os.close(gate)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


async def endless(url: str) -> None:
    store = SQLStore(url, most_items=10**6)
    await store.open()
    await store.put_list("list", {})
    for number in count():
        await store.add_items("list", [NewItem(f"{number}"), NewItem(f"{number}!")])
        print(number, flush=True)  # noqa: T201 - to who started it


if __name__ == "__main__":
    if sys.argv[1] == "race":
        sys.exit(race(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    asyncio.run(endless(sys.argv[2]))
