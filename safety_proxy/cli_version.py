"""``safety-proxy version``."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final

import click
import orjson

import safety_proxy
from safety_proxy.classifiers.embedded.model import Model
from safety_proxy.errors import ConfigError
from safety_proxy.model import JSON, JSONObject

DEPENDENCIES: Final = (
    "aiohttp",
    "aiosqlite",
    "azure-ai-contentsafety",
    "cachetools",
    "click",
    "google-re2",
    "numpy",
    "orjson",
    "prometheus-client",
    "pyahocorasick",
    "pydantic",
    "ruamel.yaml",
    "sqlalchemy",
    "structlog",
    "tenacity",
    "uvloop",
)
"""The distributions that the package needs."""


@click.command(epilog="\b\nExamples:\n  safety-proxy version\n  safety-proxy version --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def version(*, as_json: bool) -> None:
    """Tell the versions of program, embedded model and dependencies.

    Two installations with the same embedded model (a SHA-256 of its file) give the same verdicts.
    """
    model = _embedded_model()
    dependencies: dict[str, JSON] = {name: _version_of(name) for name in DEPENDENCIES}
    if as_json:
        versions: JSONObject = {
            "safety_proxy": safety_proxy.__version__,
            "python": platform.python_version(),
            "embedded_model": model,
            "dependencies": dependencies,
        }
        click.echo(orjson.dumps(versions, option=orjson.OPT_INDENT_2))
        return
    click.echo(f"safety-proxy {safety_proxy.__version__}")
    click.echo(f"Python {platform.python_version()}")
    click.echo("embedded model " + ", ".join(f"{key} {value}" for key, value in model.items()))
    for name, number in dependencies.items():
        click.echo(f"{name} {number or 'not installed'}")


def _embedded_model() -> JSONObject:
    try:
        model = Model.load()
    except ConfigError as error:  # an installation that lacks it is the very thing to be told of here
        return {"error": str(error)}
    return {"format": model.metadata["format"], "sha256": model.digest}


def _version_of(distribution: str) -> str | None:
    """None: not installed. There is no uvloop on Windows and PyPy."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
