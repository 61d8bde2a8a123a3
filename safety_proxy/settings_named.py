"""Which classifiers there are: those of the configuration file, and those that policies name by their type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from pydantic import SecretStr

from safety_proxy.classifiers.blocklist import BlocklistClassifier
from safety_proxy.documents import Document
from safety_proxy.errors import ConfigError
from safety_proxy.model import Category
from safety_proxy.policy import Policy
from safety_proxy.settings_classifiers import (
    AzureSettings,
    BlocklistSettings,
    Check,
    ClassifierSettings,
    EmbeddedSettings,
    RemoteSettings,
)
from safety_proxy.settings_file import FileShape
from safety_proxy.settings_values import check_secret, check_url
from safety_proxy.yaml import Place

_UNASKED: Final[tuple[Check, ...]] = ("harms", "shields")
"""What Azure is asked for unless something else is written or wanted."""
_WANTED: Final[Mapping[Category, Check]] = {
    Category.PROTECTED_MATERIAL_TEXT: "protected_material_text",
    Category.PROTECTED_MATERIAL_CODE: "protected_material_code",
}


def hint(name: str, known: Iterable[str]) -> str:
    """What to tell somebody who wrote a *name* that is none of *known*."""
    near = get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(sorted(known)) or 'none'}"


def classifiers_in_use(
    file: FileShape, document: Document, policies: Iterable[Policy], environ: Mapping[str, str]
) -> dict[str, ClassifierSettings]:
    """The file's classifiers, and those that *policies*, the ones in use, name by their type. Raises `ConfigError`."""
    for name, written in file.classifiers.items():
        if isinstance(written, BlocklistSettings):
            try:
                BlocklistClassifier(written.blocklists, name)
            except ConfigError as error:
                raise document.error(f"{error.field}: {error.message}", ("classifiers", name, "lists")) from None
    classifiers: dict[str, ClassifierSettings] = dict(file.classifiers)
    policies = list(policies)
    for policy in policies:
        for index, name in enumerate(policy.classifiers):
            if name not in classifiers:
                classifiers[name] = _unwritten(name, policy, ("classifiers", index), classifiers, environ)
    _follow_fallbacks(classifiers, document)
    return {name: _with_checks(name, each, policies) for name, each in classifiers.items()}


def _unwritten(
    name: str, policy: Policy, place: Place, known: Iterable[str], environ: Mapping[str, str]
) -> ClassifierSettings:
    if name == "embedded":
        return EmbeddedSettings(type="embedded")
    if name != "azure_content_safety":
        message = f"no classifier is called `{name}`; {hint(name, {*known, 'embedded', 'azure_content_safety'})}"
        raise policy.document.error(message, place)
    endpoint, key = environ.get("CONTENT_SAFETY_ENDPOINT", ""), SecretStr(environ.get("CONTENT_SAFETY_KEY", ""))
    try:
        return AzureSettings(type="azure_content_safety", endpoint=check_url(endpoint), key=check_secret(key))
    except ValueError:
        message = "needs an endpoint and a key: set CONTENT_SAFETY_ENDPOINT and CONTENT_SAFETY_KEY, or configure it"
        raise policy.document.error(message, place) from None


def _follow_fallbacks(classifiers: dict[str, ClassifierSettings], document: Document) -> None:
    """Raise unless each fallback is a classifier, and one that has none itself: who stands in must not wait for others.

    `embedded` needs no entry here either.
    """
    for name, settings in list(classifiers.items()):
        if not isinstance(settings, RemoteSettings) or settings.fallback is None:
            continue
        place: Place = ("classifiers", name, "fallback")
        if settings.fallback == "embedded":
            classifiers.setdefault("embedded", EmbeddedSettings(type="embedded"))
        standin = classifiers.get(settings.fallback)
        if standin is None:
            raise document.error(
                f"no classifier is called `{settings.fallback}`; {hint(settings.fallback, classifiers)}", place
            )
        if isinstance(standin, RemoteSettings) and standin.fallback is not None:
            raise document.error("has a fallback itself; a classifier that stands in cannot", place)
        if isinstance(standin, BlocklistSettings):
            raise document.error("is a blocklist, which reports no category", place)


def _with_checks(name: str, settings: ClassifierSettings, policies: Iterable[Policy]) -> ClassifierSettings:
    """Azure is asked for protected material, which costs a call of its own, where a policy has a rule for it."""
    if not isinstance(settings, AzureSettings) or settings.checks is not None:
        return settings
    naming = [policy for policy in policies if name in policy.classifiers]
    wanted = [check for category, check in _WANTED.items() if any(category in p.output.categories for p in naming)]
    return settings.model_copy(update={"checks": [*_UNASKED, *wanted]})
