"""Connections to SQLite and PostgreSQL, and what their errors come to.

SQLite: its log is written ahead (WAL), and to the disk before a change is acknowledged (``synchronous=FULL``). A
transaction that writes takes the lock when it begins (``BEGIN IMMEDIATE``): one that takes it later is told that the
database is locked, without being made to wait, if another has written in the meantime.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import URL, event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from safety_proxy.errors import StoreError
from safety_proxy.store.sql_urls import is_postgres, sqlite_path

Use: TypeAlias = Literal["glance", "read", "write"]
"""What a connection is for: one statement that reads, several that see the same, or changes."""

_CONNECT: Final = 5.0
"""Seconds for a connection to PostgreSQL."""
_STATEMENT: Final = 10.0
"""Seconds for a statement, and for the lock of SQLite. Thousands of items take less than one."""
_ABANDONED: Final = "20s"
"""When PostgreSQL takes the lock from a machine that has vanished. Longer than the patience of one that has not."""
_CONNECTIONS: Final = 4
"""Of one process. Each is used for some milliseconds at a time."""
_ISOLATION: Final[dict[Use, str]] = {"glance": "AUTOCOMMIT", "read": "REPEATABLE READ", "write": "READ COMMITTED"}
_BEGIN: Final[dict[Use, str | None]] = {"glance": None, "read": "BEGIN", "write": "BEGIN IMMEDIATE"}

_SYSTEM_REASONS: Final = {
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.EROFS: "read_only",
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
}
"""Why a file cannot be made; others, such as a folder that is not there, are ``unreachable``."""
_SQLITE_REASONS: Final = {
    sqlite3.SQLITE_BUSY: "timeout",
    sqlite3.SQLITE_LOCKED: "timeout",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "unreachable",
}
"""By primary result code (https://www.sqlite.org/rescode.html); others are ``broken``."""
_POSTGRES_REASONS: Final = {
    "08": "unreachable",  # connection exceptions
    "25006": "read_only",  # read_only_sql_transaction: a replica
    "25P03": "timeout",  # idle_in_transaction_session_timeout
    "28": "unreachable",  # the user or the password is wrong
    "3D": "unreachable",  # no such database
    "40": "timeout",  # rolled back for the sake of others
    "42501": "read_only",  # insufficient_privilege
    "53100": "full",  # disk_full
    "53300": "unreachable",  # too_many_connections
    "55P03": "timeout",  # lock_not_available
    "57014": "timeout",  # query_canceled
    "57P": "unreachable",  # it stops, has crashed, or starts
}
"""By the beginning of SQLSTATE (PostgreSQL, appendix A); others are ``broken``."""


def make_engine(url: str) -> AsyncEngine:
    """An engine, without a connection yet, for *url*, which `check_store_url` gave. It belongs to this process and loop.

    Makes a missing file of SQLite, for its owner's eyes only. Raises `StoreError`.
    """
    if is_postgres(url):
        return _postgres(url)
    path = sqlite_path(url)
    if path is not None:
        _make_file(path)
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=path or ":memory:"),
        # In memory, each connection would have a database of its own.
        pool_size=_CONNECTIONS if path else 1,
        max_overflow=0,
        pool_timeout=_STATEMENT,
        poolclass=AsyncAdaptedQueuePool,
        # No BEGIN of the library's: `_begin` tells when a transaction begins, and as which kind.
        connect_args={"isolation_level": None, "timeout": _STATEMENT},
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "handle_error", _keep_connection)
    return engine


async def prepare_database(engine: AsyncEngine) -> None:
    """What can be done outside of transactions only. To be called once before the tables are made."""
    if engine.dialect.name != "sqlite":
        return
    # Changing to WAL takes a lock for which SQLite does not wait, if several processes do it at once.
    async with transaction(engine, "glance") as connection:
        while True:
            try:
                await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            except DBAPIError as error:
                if reason_of(error) != "timeout":
                    raise
                await asyncio.sleep(0.02)
            else:
                return


@asynccontextmanager
async def transaction(engine: AsyncEngine, use: Use) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, which is committed at the end, or rolled back if an error or a cancellation comes."""
    is_sqlite = engine.dialect.name == "sqlite"
    async with engine.connect() as connection:
        if is_sqlite:
            await connection.execution_options(use=use)
        else:
            await connection.execution_options(isolation_level=_ISOLATION[use])
        async with connection.begin():
            if use == "write" and not is_sqlite:
                await connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{_ABANDONED}'")
            yield connection


def reason_of(error: BaseException) -> str | None:
    """The reason of the `StoreError` that *error* comes to; None if it is neither a driver's nor the network's."""
    if isinstance(error, TimeoutError | PoolTimeoutError):
        return "timeout"
    if isinstance(error, OSError):
        return "unreachable"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_REASONS.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, "broken")
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return next((reason for beginning, reason in _POSTGRES_REASONS.items() if state.startswith(beginning)), "broken")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "unreachable"
    is_drivers = isinstance(error, SQLAlchemyError) or type(error).__module__.startswith("asyncpg.")
    return "broken" if is_drivers else None


def _postgres(url: str) -> AsyncEngine:
    asyncpg = import_module("asyncpg")

    async def connect() -> Any:  # noqa: ANN401 - the library has no types
        return await asyncpg.connect(url, timeout=_CONNECT, command_timeout=_STATEMENT)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_STATEMENT,
        pool_pre_ping=True,  # a server that was started again is not an error
        hide_parameters=True,
    )


def _make_file(path: str) -> None:
    # A file that is there is not opened: closing it would take SQLite's locks away from all of this process.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # What SQLite cannot open is not left to the library, whose thread may speak to a loop that has ended since.
        if not Path(path).is_file() or not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise StoreError("unreachable", "it is no file that can be read") from None
    except OSError as error:
        raise StoreError(_SYSTEM_REASONS.get(error.errno or 0, "unreachable"), "its file cannot be made") from None


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    use: Use = connection.get_execution_options().get("use", "read")
    statement = _BEGIN[use]
    if statement is not None:
        connection.exec_driver_sql(statement)


def _keep_connection(context: ExceptionContext) -> None:
    """After a call that was called off, a connection is as good as before: its thread does one thing after the other.

    In memory, the database would be lost with it.
    """
    if not isinstance(context.original_exception, Exception):
        context.is_disconnect = False
