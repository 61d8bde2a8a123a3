"""What must hold of a policy's blocklists for a text to be searched for all that is on them."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from safety_proxy.documents import Document
from safety_proxy.normalise import term_length
from safety_proxy.policy import LONGEST_STORED
from safety_proxy.policy_shape import BlocklistShape, PolicyShape
from safety_proxy.yaml import Place


def require_distinct(shape: PolicyShape, document: Document) -> None:
    """Raise `ConfigError` if a name is taken twice: of classifiers, or of the blocklists of a side."""
    lists: list[tuple[Place, list[str]]] = [(("classifiers",), list(shape.classifiers))]
    for name, side in (("input", shape.input), ("output", shape.output)):
        lists.append(((name, "blocklists"), [blocklist.name for blocklist in side.blocklists]))
    for place, names in lists:
        for index, name in enumerate(names):
            if name in names[:index]:
                raise document.error(f"`{name}` is named twice", (*place, index))


def require_searchable(shape: PolicyShape, document: Document) -> int:
    """Raise `ConfigError` unless every blocklist has something to search for that can be found.

    Returns the length of the longest term of the output side, in positions. A stream withholds a term only if it is no
    longer than the holdback; one that withholds nothing sees it whole only if it is shorter than the context. For a list of
    the store, whose terms come and go, the longest one that it takes counts.
    """
    for name, side in (("input", shape.input), ("output", shape.output)):
        for index, blocklist in enumerate(side.blocklists):
            _require_terms(blocklist, document, (name, "blocklists", index))
    longest, what, where = max(_lengths(shape), key=lambda term: term[0], default=(0, "", ()))
    stream = shape.output.stream
    if longest > stream.holdback and stream.mode == "buffered":
        needed = f"`output.stream.holdback` must be at least {longest}; it is {stream.holdback}"
        raise document.error(f"{what} {longest} long, so {needed}", where)
    if longest >= stream.context and stream.mode == "asynchronous":
        needed = f"`output.stream.context` must be at least {longest + 1}; it is {stream.context}"
        raise document.error(f"{what} {longest} long, so {needed}", where)
    return longest


def _require_terms(blocklist: BlocklistShape, document: Document, place: Place) -> None:
    if blocklist.source is not None:
        for key in ("terms", "patterns", "exceptions"):
            if getattr(blocklist, key):
                raise document.error("cannot be written here: the list is kept in the store", (*place, key))
        return
    if not blocklist.terms and not blocklist.patterns:
        raise document.error("has neither terms nor patterns", place)
    for key, phrases in (("terms", blocklist.terms), ("exceptions", blocklist.exceptions)):
        for number, phrase in enumerate(phrases):
            if term_length(phrase) == 0:
                raise document.error("is blank", (*place, key, number))
    for number, pattern in enumerate(blocklist.patterns):
        if mistake := _mistake_in(pattern):
            raise document.error(mistake, (*place, "patterns", number))


def _lengths(shape: PolicyShape) -> Iterator[tuple[int, str, Place]]:
    """How long the terms of the output side are, with the beginning of a sentence that says so, and where they stand."""
    for index, blocklist in enumerate(shape.output.blocklists):
        place: Place = ("output", "blocklists", index)
        if blocklist.source is not None:
            yield LONGEST_STORED, "is kept in the store, where terms may be", (*place, "from")
        for key, phrases in (("terms", blocklist.terms), ("exceptions", blocklist.exceptions)):
            for number, term in enumerate(phrases):
                yield term_length(term), "is", (*place, key, number)


def _mistake_in(pattern: str) -> str | None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace").partition(":")[0]  # what follows the colon is the pattern
        return f"is not a pattern in RE2 syntax: {reason}"
    return "matches the empty text, and so every text" if compiled.search("") else None
