"""Prompts of promptfoo: texts, or conversations in JSON, with plain variables to fill in.

Without ``prompts`` it is ``{{prompt}}``, as there (promptfoo.dev/docs/configuration/prompts, "Default Prompt").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from safety_proxy.documents import Document
from safety_proxy.jsontext import parse
from safety_proxy.model import JSON, JSONObject
from safety_proxy.yaml import Place

_VARIABLE: Final = re.compile(r"\{\{-?\s*([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}")
_MORE: Final = re.compile(r"\{\{|\{%|\{#")
_ELSEWHERE: Final = re.compile(
    r"\w+://.*|exec:.*|\S+\.(?:txt|md|json|jsonl|ya?ml|csv|j2|py|[cm]?[jt]s|sh|bash|rb)(?::\w+)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A prompt in which variables are to be filled in."""

    template: JSON
    """A text, or a list of messages."""
    variables: tuple[str, ...]
    """The names of the variables that it uses."""

    def body(self, variables: Mapping[str, str]) -> JSONObject:
        """The input of a case, filled in. What stands in a variable is not read as a template."""
        filled = _filled(self.template, variables)
        return {"messages" if isinstance(filled, list) else "text": filled}


def prompts_of(document: Document, options: JSONObject) -> list[PromptTemplate]:
    """The prompts of a file, between the ``prefix`` and the ``suffix`` of *options*. Raises `ConfigError`."""
    written = document.content.get("prompts", "{{prompt}}")
    several = written if isinstance(written, list) else [written]
    if not several:
        raise document.error("must have at least 1 item", ("prompts",))
    found = []
    for index, each in enumerate(several):
        place: Place = ("prompts", index) if isinstance(written, list) else ("prompts",)
        raw = each.get("raw", each.get("id")) if isinstance(each, dict) else each
        if not isinstance(raw, str) or not raw.strip():
            raise document.error("must be text", place)
        if _ELSEWHERE.fullmatch(raw.strip()):
            raise document.error("is in another file; only prompts that stand here are read", place)
        if raw.lstrip().startswith("- role:"):
            raise document.error("is a conversation in YAML; only those in JSON are read", place)
        found.append(_template(document, f"{options.get('prefix') or ''}{raw}{options.get('suffix') or ''}", place))
    return found


def _template(document: Document, raw: str, place: Place) -> PromptTemplate:
    if _MORE.search(_VARIABLE.sub("", raw)):
        raise document.error("uses more of templates than plain variables, {{name}}", place)
    return PromptTemplate(_conversation(raw) or raw, tuple(dict.fromkeys(_VARIABLE.findall(raw))))


def _conversation(raw: str) -> list[JSON] | None:
    try:
        content = parse(raw.encode()) if raw.lstrip().startswith("[") else None
    except ValueError:  # a text that begins with a bracket
        return None
    return content if isinstance(content, list) else None


def _filled(template: JSON, variables: Mapping[str, str]) -> JSON:
    if isinstance(template, str):
        return _VARIABLE.sub(lambda found: variables[found[1]], template)
    if isinstance(template, list):
        return [_filled(each, variables) for each in template]
    if isinstance(template, dict):
        return {key: _filled(each, variables) for key, each in template.items()}
    return template
