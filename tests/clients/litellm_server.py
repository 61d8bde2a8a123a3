"""LiteLLM's proxy, as a process of its own."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients.litellm_environment import BIN, MISSING, PYTHON, VARIABLES


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    key: str = field(repr=False)


@contextmanager
def litellm_proxy(config: Mapping[str, object], folder: Path, **environ: str) -> Iterator[Server]:
    """Start it on a port of its own choice, with a configuration that is written to *folder*, and variables in *environ*."""
    assert PYTHON.exists(), MISSING
    file = folder / "config.yaml"
    file.write_text(json.dumps(config))
    key = f"sk-{secrets.token_hex(32)}"
    command = [str(BIN / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", "0", "--telemetry", "False"]
    variables = VARIABLES | environ | {"LITELLM_MASTER_KEY": key}
    with subprocess.Popen(  # noqa: S603 - installed by our own Makefile
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"Uvicorn running on (http://\S+)", line):
                    yield Server(found[1], key)
                    break
            else:
                pytest.fail(f"LiteLLM's proxy did not start:\n{''.join(said)}")
        finally:
            process.terminate()
            process.communicate()
