"""The classifiers that policies under test name, from a configuration file or as they are without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safety_proxy.assembly import build_classifiers
from safety_proxy.classifiers.base import UNOBSERVED, Classifier
from safety_proxy.classifiers.fallback import WithFallback
from safety_proxy.documents import Document, read, validate
from safety_proxy.jsontext import as_object
from safety_proxy.model import JSONObject
from safety_proxy.policy import Policy
from safety_proxy.settings_classifiers import ClassifierSettings, RemoteSettings
from safety_proxy.settings_file import FileShape, expand
from safety_proxy.settings_named import classifiers_in_use


def settings_for(
    policies: Iterable[Policy], config: Document | None, environ: Mapping[str, str]
) -> dict[str, ClassifierSettings]:
    """The settings of the classifiers that *policies* name, and of those that stand in for them.

    Of *config*, a configuration file, nothing else need be complete: other classifiers, secrets and backends are not looked
    at. Raises `ConfigError`.
    """
    policies = list(policies)
    document = config or Document("", {})
    written = as_object(document.content.get("classifiers"))
    wanted = {name for policy in policies for name in policy.classifiers}
    wanted |= {str(as_object(written.get(name)).get("fallback")) for name in wanted}
    entries: JSONObject = {name: entry for name, entry in written.items() if name in wanted}
    narrowed = expand(Document(document.file, {"classifiers": entries}, document.lines), environ)
    return classifiers_in_use(validate(FileShape, narrowed), narrowed, policies, environ)


def classifiers_for(policies: Iterable[Policy], config: Path | None, environ: Mapping[str, str]) -> dict[str, Classifier]:
    """The classifiers that *policies* name, by name, each in its frame and with its stand-in. Raises `ConfigError`."""
    settings = settings_for(policies, read(config) if config is not None else None, environ)
    made = build_classifiers(settings)
    standins = {name: each.fallback for name, each in settings.items() if isinstance(each, RemoteSettings)}
    return {
        name: each if (standin := standins.get(name)) is None else WithFallback(each, made[standin], UNOBSERVED)
        for name, each in made.items()
    }
