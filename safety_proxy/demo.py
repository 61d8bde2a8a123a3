"""What ``safety-proxy demo`` does: a scripted model and the proxy in one process, and lines to paste or a tour.

The proxy is made as for anybody: from a configuration file and a policy file, which stand beside this module.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import click

from safety_proxy.demo_backend import MODEL, create_backend
from safety_proxy.demo_tour import BLOCKED, CUT, SAFE, UNJUDGED, take_tour
from safety_proxy.jsontext import write
from safety_proxy.server.app import create_app
from safety_proxy.server.run import running
from safety_proxy.settings import load_settings

DEFAULT_PORT: Final = 8080
CONFIGURATION: Final = Path(__file__).parent / "demo_proxy.yaml"

_CURL: Final = """\
# {title}
curl -{silence} {url}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{body}'
"""

_PYTHON: Final = """\
# The same with OpenAI's client (pip install openai)
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="none")
messages = [{{"role": "user", "content": "{prompt}"}}]
for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print("\\nfinish_reason:", chunk.choices[0].finish_reason)
"""


async def demonstrate(host: str, port: int | None, *, once: bool) -> bool:
    """Take the tour (*once*), or print what to paste and wait for SIGINT or SIGTERM.

    Port None is `DEFAULT_PORT`, or a free one if that is taken. Returns whether all that the tour expects came true.
    Raises OSError if the address cannot be bound.
    """
    if once:
        async with staged(host, port) as url:
            return await take_tour(url)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with staged(host, port) as url:
        click.echo(invitation(url))
        await stop.wait()
    click.echo("\nstopped")
    return True


@asynccontextmanager
async def staged(host: str, port: int | None) -> AsyncIterator[str]:
    """The scripted model and the proxy in front of it are being served; gives the proxy's URL."""
    async with AsyncExitStack() as stack:
        # Bound, so that nobody else gets it, but not listening: connections are refused.
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        backend = await stack.enter_async_context(running(create_backend(), host="127.0.0.1", port=0))
        variables = {"BACKEND": backend, "NOBODY": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        app = create_app(load_settings(config=CONFIGURATION, flags={}, environ=variables))
        try:
            proxy = running(app, host=host, port=DEFAULT_PORT if port is None else port)
            url = await stack.enter_async_context(proxy)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            url = await stack.enter_async_context(running(app, host=host, port=0))
        yield url


def invitation(url: str) -> str:
    """What to paste: the tour's requests as lines for a shell, and one in Python."""
    curls = [
        _CURL.format(
            title=stop.title,
            silence="sN" if stop.stream else "s",
            url=url,
            body=write(stop.body).decode().replace("'", "'\\''"),
        )
        for stop in (SAFE, SAFE.whole(), BLOCKED, CUT, UNJUDGED)
    ]
    head = f"The proxy listens on {url}; behind it answers a scripted model, `{MODEL}`. Ctrl-C ends both.\n"
    return "\n".join([head, *curls, _PYTHON.format(url=url, model=MODEL, prompt=CUT.prompt)])
