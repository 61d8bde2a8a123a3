"""``safety-proxy serve`` and ``safety-proxy demo``: the commands that open a port."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
import structlog

from safety_proxy.demo import DEFAULT_PORT, demonstrate
from safety_proxy.errors import ConfigError
from safety_proxy.logs import configure_logging
from safety_proxy.server.run import run
from safety_proxy.settings import load_settings
from safety_proxy.settings_sources import OPTIONS, PREFIX

_Function = TypeVar("_Function", bound=Callable[..., object])

log = structlog.get_logger("safety_proxy.cli")


def _settings_options(function: _Function) -> _Function:
    """The options of `OPTIONS`; what they mean, and whether they are right, is said there and in the settings."""
    for name, meaning in reversed(list(OPTIONS.items())):
        if name != "backend_key":
            flag, what = f"--{name.replace('_', '-')}", f"{meaning} [{PREFIX}{name.upper()}]"
            if name in _SWITCHES:
                function = click.option(flag, name, flag_value="true", default=None, help=what)(function)
            else:
                function = click.option(flag, name, metavar=_METAVARS.get(name, "TEXT"), help=what)(function)
    return function


_SWITCHES = frozenset({"filter_only"})
"""Flags that take no value."""
_METAVARS = {
    "config": "FILE",
    "backend": "URL",
    "backend_key_file": "FILE",
    "policy": "NAME|FILE",
    "host": "ADDRESS",
    "port": "N",
    "workers": "N",
    "log_level": "LEVEL",
    "log_format": "FORMAT",
}


@click.command(
    short_help="Run the proxy in front of a model server.",
    epilog="\b\nExamples:\n"
    "  safety-proxy serve --backend http://127.0.0.1:11434/v1\n"
    "  safety-proxy serve --config proxy.yaml --port 9000 --workers 4\n"
    "  safety-proxy serve --filter-only --policy strict",
)
@_settings_options
def serve(**flags: str | None) -> None:
    """Run the proxy in front of a model server, until SIGTERM or SIGINT.

    Either --backend, --config or --filter-only is needed; the address is 127.0.0.1:8080 unless one is given. What is set
    in several places counts in this order: flag, environment variable (in brackets below), configuration file, default.
    The backend's key is given by SAFETY_PROXY_BACKEND_KEY or --backend-key-file, never by a flag. With --filter-only no
    model server is needed: what is served is the filtering service, and --policy is the policy that it judges by.
    """
    settings = load_settings(config=None, flags=flags, environ=os.environ)
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    configure_logging(pretty=pretty, level=settings.log_level)
    for warning in settings.warnings:
        log.warning("config.warning", message=warning)
    with _listening(settings.listen.host, settings.listen.port):
        run(settings)


@click.command(
    short_help="See it all with one command.", epilog="\b\nExamples:\n  safety-proxy demo\n  safety-proxy demo --once"
)
@click.option("--once", is_flag=True, help="Send the tour's four requests, show what happens, and end.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    help=f"Port of the proxy; 0 is any that is free.  [default: {DEFAULT_PORT}, or a free one if it is taken]",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address of the proxy.")
def demo(host: str, port: int | None, *, once: bool) -> None:
    """See it all with one command: a scripted model and the proxy in front of it, in one process.

    Needs no network, no credentials, no GPU. Prints lines to paste and runs until Ctrl-C. With --once, four requests are
    sent over HTTP (a safe stream, a blocked prompt, a completion cut mid-stream, a classifier that cannot be asked), and
    what the client received is compared with what was promised: exit status 1 if a promise was not kept.
    """
    configure_logging(pretty=False, level="error")
    with _listening(host, DEFAULT_PORT if port is None else port):
        kept = asyncio.run(demonstrate(host, port, once=once))
    if not kept:
        raise click.exceptions.Exit(1)


@contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    """Turn the error of an address that is taken, forbidden, or none of this machine's into a `ConfigError`."""
    try:
        yield
    except ConnectionError:  # of another connection, such as the pipe that we print to
        raise
    except OSError as error:
        # What it has to say of itself tells the address a second time; names that cannot be resolved have no other words.
        resolved = not isinstance(error, socket.gaierror)
        reason = os.strerror(error.errno) if resolved and error.errno is not None else error.strerror
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from None
