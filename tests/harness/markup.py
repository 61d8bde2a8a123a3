"""HTML read by the parser of the standard library, for claims about its elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img"}


@dataclass
class Element:
    """An element with what it holds, in order."""

    name: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, name: str = "", *, class_: str = "") -> list[Element]:
        """It and those in it with this name and class."""
        return [each for each in self._walk() if name in {"", each.name} and ({class_} - {""}) <= each.classes]

    def one(self, name: str = "", *, class_: str = "") -> Element:
        """The only one of those."""
        (only,) = self.all(name, class_=class_)
        return only

    @property
    def classes(self) -> set[str]:
        """Words of its class attribute."""
        return set((self.attributes.get("class") or "").split())

    def _walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child._walk()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands there twice"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"</{tag}> ends another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("a processing instruction")


def parsed(document: str) -> Element:
    """The document; raises AssertionError if elements do not end where they should."""
    reader = _Reader()
    reader.feed(document)
    reader.close()
    (root,) = reader.open
    return root
