"""HTML that hostile text cannot break out of: what is no `Markup` is escaped whenever it becomes part of one."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

_ODD: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that nobody sees, that turn the text around them, or that no HTML file can hold. Joiners are not among them:
many scripts, and many emoji, cannot be written without."""
_VOID: Final = frozenset({"meta", "input", "br"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


class Markup(str):
    """HTML, to be taken as it is."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"
"""What an element may hold: markup, text, numbers, several of those, or nothing."""


def escape(text: str) -> Markup:
    """*text* as HTML, in an element or an attribute; characters that nobody sees become ``U+FFFD``."""
    return Markup(html.escape(_ODD.sub("\ufffd", text)))


def visible(text: str) -> Markup:
    """*text* as HTML, in an element; of characters that nobody sees the numbers are shown."""
    shown: list[str] = []
    end = 0
    for match in _ODD.finditer(text):
        shown += [html.escape(text[end : match.start()]), tag("i", f"U+{ord(match[0]):04X}", class_="odd")]
        end = match.end()
    return Markup("".join((*shown, html.escape(text[end:]))))


def join(*children: Child) -> Markup:
    """One after the other; whatever is no `Markup` is escaped."""
    return Markup("".join(map(_markup, children)))


def _markup(child: Child) -> str:
    match child:
        case None:
            return ""
        case Markup():
            return child
        case str():
            return escape(child)
        case int() | float():
            return str(child)
        case _:
            return join(*child)


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element of HTML or SVG.

    In the names of attributes ``_`` stands for ``-``, and one at the end is dropped (``class_``). An attribute that is
    True has no value; one that is None or False is left out.
    """
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    if not _NAME.fullmatch(name):
        raise ValueError("no name of an attribute")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
