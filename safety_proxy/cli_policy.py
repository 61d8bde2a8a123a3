"""``safety-proxy policy``: is a policy valid, what does it say with its defaults filled in, what may stand in one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import click
import orjson

from safety_proxy import policy_file
from safety_proxy.assembly import build_classifier
from safety_proxy.classifiers.base import Classifier
from safety_proxy.cli_common import find_policy
from safety_proxy.documents import Document, read, validate
from safety_proxy.errors import ConfigError
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSON, Category, JSONObject, Kind
from safety_proxy.policy import Policy, Reports
from safety_proxy.settings_classifiers import ClassifierSettings
from safety_proxy.settings_file import FileShape, expand
from safety_proxy.yaml import Place

_MODULES: Final[Mapping[str, str]] = {"test": "cli_policy_test", "sweep": "cli_policy_sweep", "diff": "cli_policy_diff"}
"""Where commands live that are imported when they are asked for: the harness is large."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_MODULES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"safety_proxy.{_MODULES[cmd_name]}"), cmd_name)
        return command


@click.group(
    cls=_Commands,
    epilog="\b\nExamples:\n  safety-proxy policy check policies/\n  safety-proxy policy show default\n"
    "  safety-proxy policy test default --cases cases/",
    short_help="Validate, test and compare policies.",
)
def policy() -> None:
    """Validate policies, look into them, put them to the test, compare them."""


@policy.command(
    epilog="\b\nExamples:\n  safety-proxy policy check\n  safety-proxy policy check policies/ strict --config proxy.yaml"
)
@click.argument("policies", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file whose classifiers the policies may name. Its secrets are not read.",
)
def check(policies: tuple[str, ...], config: Path | None) -> None:
    """Say of each policy whether it is valid and can be enforced.

    POLICY is a file, a folder (its own *.yaml), or the name of a shipped policy. None: those that the configuration file
    names, else all shipped ones. That a policy can be enforced means that the classifiers it names report every category
    it has a rule for. Without a configuration file these are the built-in `embedded` and `azure_content_safety`; neither
    is asked, and no credentials are needed.

    Exit status 2 if a policy is invalid.
    """
    document = read(config) if config is not None else Document("", {})
    reports = _reports(document)
    valid = [_check(path, reports) for path in _chosen(policies, document)]
    if not valid:
        raise ConfigError("no policy found")
    if not all(valid):
        raise click.exceptions.Exit(2)


@policy.command(epilog="\b\nExamples:\n  safety-proxy policy show default\n  safety-proxy policy show ./house.yaml")
@click.argument("policy_", metavar="NAME|FILE")
def show(policy_: str) -> None:
    """Print a policy with all defaults filled in.

    The first line tells its identity. What is printed is a policy file; loading it gives the same identity.
    """
    shown = policy_file.load(read(find_policy(policy_)))
    click.echo(f"# {shown.identity}")
    click.echo("\n".join(to_yaml(shown.to_document())))


@policy.command(
    epilog="\b\nExample:\n"
    "  safety-proxy policy schema > policy.schema.json\n"
    "Then write as the first line of a policy (editors with the YAML language server read it):\n"
    "  # yaml-language-server: $schema=policy.schema.json"
)
def schema() -> None:
    """Print the JSON Schema of policy files.

    Editors complete and validate policies with it.
    """
    click.echo(orjson.dumps(policy_file.schema(), option=orjson.OPT_INDENT_2))


# --------------------------------------------------------------------------------------------------------- which files


def _chosen(given: Sequence[str], config: Document) -> Iterator[Path | ConfigError]:
    """The files that are meant, each once; in the place of those that cannot be found, the error that says so."""
    named = list(_named(given, config)) or list(policy_file.shipped().values())
    seen: set[Path] = set()
    for each in named:
        if isinstance(each, ConfigError) or each.resolve() not in seen:
            yield each
        if isinstance(each, Path):
            seen.add(each.resolve())


def _named(given: Sequence[str], config: Document) -> Iterator[Path | ConfigError]:
    for name in given:
        try:
            yield from _files(find_policy(name), name)
        except ConfigError as error:
            yield error
    for index, entry in enumerate(_configured(config) if not given else ()):
        path = Path(config.file).parent / entry
        try:
            yield from _files(path, str(path))
        except ConfigError as error:
            yield config.error(error.message, ("policies", index))


def _configured(config: Document) -> list[str]:
    """The files and folders that the configuration names. The rest of it need not be right."""
    written = {key: value for key, value in config.content.items() if key == "policies"}
    return validate(FileShape, expand(Document(config.file, written, config.lines), os.environ)).policies


def _files(path: Path, name: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.yaml"))
    if not found:
        raise ConfigError("no *.yaml in this folder", file=name)
    return found


# ------------------------------------------------------------------------------------------------------------ judging


def _check(path: Path | ConfigError, reports: Mapping[str, Reports]) -> bool:
    """Print what there is to say of one policy. Returns whether it is valid."""
    try:
        if isinstance(path, ConfigError):
            raise path
        found = policy_file.load(read(_near(path)))
        found.require(reports)
    except ConfigError as error:
        click.echo(f"{click.style('FAIL', fg='red')} {error}")
        return False
    _tell(found)
    return True


def _tell(found: Policy) -> None:
    click.echo(f"{click.style('ok', fg='green')}   {found.identity}  {found.document.file}")
    for warning in found.warnings:
        click.echo(f"{click.style('warn', fg='yellow')} {warning}")


def _near(path: Path) -> Path:
    """*path* as one would write it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


# --------------------------------------------------------------------------------------------------------- classifiers

_NOBODY: Final[JSONObject] = {"url": "https://localhost", "model": "granite-guardian-3.3"}
"""Stands where a server and its model must; nobody is asked."""
_COMPLETE: Final[Mapping[str, JSONObject]] = {
    "embedded": {},
    "blocklist": {"lists": [{"name": "any", "terms": ["any"]}]},
    "azure_content_safety": {
        "endpoint": "https://localhost",
        "key": "none",
        "checks": ["harms", "shields", "protected_material_text", "protected_material_code"],
    },
    "openai_moderation": {},
    "llama_guard": _NOBODY,
    "prompt_guard": _NOBODY,
    "qwen3_guard": _NOBODY,
    "shield_gemma": _NOBODY,
    "granite_guardian": _NOBODY,
    "http": {"url": "https://localhost"},
}
"""What an entry of each type needs at least to tell what it reports."""
_TELLING: Final = frozenset({"reports", "hazards", "checks", "images", "variant", "version", "model"})
"""The keys of an entry that say what it reports."""


def _reports(config: Document) -> dict[str, Reports]:
    """What the built-in classifiers and those of the configuration report, by name.

    Only what says so counts, so variables and secrets need not be there. Raises `ConfigError` for an unknown type, and for
    what is wrong with what counts.
    """
    entries: dict[str, JSONObject] = {name: {"type": name} for name in ("embedded", "azure_content_safety")}
    for name, written in as_object(config.content.get("classifiers")).items():
        place: Place = ("classifiers", name, "type")
        if as_object(written).get("type") not in _COMPLETE:
            raise config.error(f"must be one of: {', '.join(_COMPLETE)}", place)
        entries[name] = as_object(written)
    return {name: _Reporter(name, _settings(config, name, entry)) for name, entry in entries.items()}


def _settings(config: Document, name: str, written: JSONObject) -> ClassifierSettings:
    """Settings that are good enough to tell what the classifier reports."""
    told = {key: value for key, value in written.items() if key in _TELLING and "${" not in str(value)}
    entry: JSONObject = {"type": written["type"], **_COMPLETE[str(written["type"])], **told}
    return validate(FileShape, Document(config.file, {"classifiers": {name: entry}}, config.lines)).classifiers[name]


class _Reporter:
    """Tells what a classifier reports; makes it when it is first asked, since the embedded one takes time to load."""

    def __init__(self, name: str, settings: ClassifierSettings) -> None:
        self._name, self._settings = name, settings
        self._made: Classifier | None = None

    def __call__(self, kind: Kind) -> frozenset[Category]:
        if self._made is None:
            self._made = build_classifier(self._name, self._settings)
        return self._made.reports(kind)


# ---------------------------------------------------------------------------------------------------------------- YAML

_LONGEST_LINE: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|[0-9]+(ms|s|m)")
_CONSTANTS: Final = frozenset({"true", "false", "null"})


def to_yaml(value: JSON, indent: str = "") -> Iterator[str]:
    """*value*, a mapping or a list, as the lines of YAML that `safety_proxy.documents` reads back as it was.

    What has no mapping in it is written on one line if it fits.
    """
    items = [(f"{_flow(key)}:", item) for key, item in value.items()] if isinstance(value, dict) else []
    items += [("-", item) for item in value] if isinstance(value, list) else []
    for head, item in items:
        line = f"{indent}{head} {_flow(item)}"
        inner = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
        if not inner or (len(line) <= _LONGEST_LINE and not any(isinstance(each, dict) for each in inner)):
            yield line
        elif head == "-":
            first, *rest = to_yaml(item, f"{indent}  ")
            yield f"{indent}- {first.lstrip(' ')}"
            yield from rest
        else:
            yield f"{indent}{head}"
            yield from to_yaml(item, f"{indent}  ")


def _flow(value: JSON) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _CONSTANTS:
        return value
    printable = isinstance(value, str) and value.isprintable()
    return json.dumps(value, ensure_ascii=not printable)
