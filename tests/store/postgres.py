"""A PostgreSQL of the tests' own, as it is installed on the machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg  # type: ignore[import-untyped]  # it has no types

_NUMBERS = count()


def _program(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


def _user() -> str | None:
    """Whose the server is to be: it refuses to be root's."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else None


INITDB, POSTGRES, USER = _program("initdb"), _program("postgres"), _user()
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "log_min_messages": "log",  # what it says has to fit into the pipe, which nobody empties
    "log_checkpoints": "off",
    "max_connections": "40",
}


def missing() -> str | None:
    """What keeps the tests from having one, if anything does."""
    if INITDB is None or POSTGRES is None:
        return "PostgreSQL is not installed"
    return "there is no user postgres" if USER is None else None


@dataclass
class Postgres:
    """A running server on loopback that forgets everything if the power fails."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls) -> Postgres:
        folder = Path(tempfile.mkdtemp(prefix="pg"))  # the user postgres may not enter pytest's folders
        if USER is not None and os.geteuid() == 0:
            shutil.chown(folder, USER)
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]
        _popen(INITDB, *options, "-D", str(folder / "data")).communicate()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return cls(port, folder, _run(folder, port))

    def kill(self) -> None:
        """As if it had crashed: nobody is waited for, nothing is put in order."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.communicate()

    def start_again(self) -> None:
        """After `kill`: at the same port, with all that was committed."""
        self.process = _run(self.folder, self.port)

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql://postgres:hidden@127.0.0.1:{self.port}/{database}?sslmode=prefer"

    async def make_database(self, options: str) -> str:
        """The URL of a new one, which is empty."""
        name = f"test{next(_NUMBERS)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        return self.url(name)

    async def empty_database(self) -> str:
        """The URL of the one that is there from the beginning. All that was in it is gone, as are those who used it."""
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
        )
        await self.run(
            "SET default_transaction_read_only = off",
            others,
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            "ALTER DATABASE postgres RESET ALL",
        )
        return self.url("postgres")

    async def run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def _popen(program: str | None, *options: str) -> subprocess.Popen[bytes]:
    assert program is not None
    user = USER if os.geteuid() == 0 else None
    groups = None if user is None else ()
    return subprocess.Popen(  # noqa: S603 - what was found above
        [program, *options],
        cwd="/",
        user=user,
        group=user,
        extra_groups=groups,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _run(folder: Path, port: int) -> subprocess.Popen[bytes]:
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    process = _popen(POSTGRES, "-D", str(folder / "data"), "-p", str(port), *settings)
    assert process.stderr is not None
    for line in process.stderr:
        if b"ready to accept connections" in line:
            return process
    raise RuntimeError("PostgreSQL did not start")
