"""Words, phrases and patterns that a text must not hold, searched in linear time.

Terms go into one Aho-Corasick automaton, so ten thousand of them cost what one costs; patterns are RE2's, which cannot
backtrack. Both are searched in normalised text (`safety_proxy.normalise`): as written, and with look-alikes unmasked where
that differs.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import ahocorasick
import re2

from safety_proxy.classifiers.blocklist_exceptions import Excepted, Exceptions
from safety_proxy.errors import ConfigError
from safety_proxy.model import Category, Kind, Query, Span, Verdict
from safety_proxy.normalise import Normalised, in_word, joins, normalise, offset_of, trailing_invisible
from safety_proxy.policy import Blocklist

__all__ = ["Blocklist", "BlocklistClassifier"]


_ENOUGH: Final = 100
"""Matches of one list that are shown; a text may be made of nothing else, and each takes its time."""
_NEIGHBOURS: Final = ("", "a", ".", "aa", "..", "a.", ".a")
"""Their borders and inner places are all that RE2's empty assertions (``^ $ \\b \\B``) tell apart."""


@dataclass(slots=True)
class _Term:
    """One spelling of a term, and the lists it is on."""

    length: int
    word_left: bool
    """It begins with a letter or digit: none may stand before it."""
    word_right: bool
    lists: dict[str, list[int]]
    """By name, the places of the terms that are spelt so."""


class BlocklistClassifier:
    r"""Searches each text for the terms and patterns of *lists*. Reports blocklists, no category.

    A term is found whatever its case, its spacing and its look-alikes, and as whole words: neither a letter nor a digit
    nor a mark may adjoin it where it begins or ends with a letter or digit (an underscore may: it is how Markdown
    stresses words). Scripts that put no blanks between words have no such borders.

    A pattern has RE2's syntax and is searched without regard to case. It meets normalised text: lower case, NFKC, blanks
    single, no line ends. Its ``\b`` and ``\w`` know ASCII letters only, as ever in RE2.

    A match that lies in an exception of its list does not count; exceptions are found as terms are. One that may lie in
    an exception which an open edge cuts off does not count either: there the text goes on, and who sees it go on knows.

    A match that touches an open edge of a query does not count. Spans are those of the first hundred terms
    found of each list, and of the first match of each pattern (finding all could take square time).

    Raises ConfigError for two lists of one name, a blank term, and a pattern that RE2 refuses or that can match an
    empty stretch; *field* then names the list and the entry, as in ``names.patterns[3]``.
    """

    limit: int | None = None
    overlap = 0
    reads_images = False
    reads_conversation = False

    def __init__(self, lists: Sequence[Blocklist], name: str = "blocklist") -> None:
        self.name = name
        self._names: dict[str, None] = {}
        for blocklist in lists:
            if blocklist.name in self._names:
                raise ConfigError("two blocklists of this name", field=blocklist.name)
            self._names[blocklist.name] = None
        contents = json.dumps([[each.name, each.terms, each.patterns, each.exceptions] for each in lists])
        self.identity = f"blocklist:{hashlib.sha256(contents.encode()).hexdigest()}"
        self._automaton = _automaton(lists)
        self._exceptions = Exceptions(
            {
                each.name: frozenset(
                    spelling
                    for index, phrase in enumerate(each.exceptions)
                    for spelling in _spellings(phrase, f"{each.name}.exceptions[{index}]")
                )
                for each in lists
            }
        )
        self._patterns = [
            (blocklist.name, _compiled(pattern, f"{blocklist.name}.patterns[{index}]"))
            for blocklist in lists
            for index, pattern in enumerate(blocklist.patterns)
        ]

    def reports(self, _kind: Kind, /) -> frozenset[Category]:
        """Nothing: a blocklist is no category."""
        return frozenset()

    async def classify(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query, at once."""
        return self.classify_now(queries)

    async def close(self) -> None:
        """Nothing to let go of."""

    def classify_now(self, queries: Sequence[Query], /) -> Sequence[Verdict]:
        """One verdict for each query."""
        return [self.search(query, self._names) for query in queries]

    def search(self, query: Query, names: Collection[str]) -> Verdict:
        """The verdict of the lists called *names* alone, whichever others there are. All of them have to be there."""
        wanted = dict.fromkeys(names)
        spans = sorted(
            {span for form in _forms(query) for span in self._spans(query, form, wanted)},
            key=lambda span: (span.start, span.end, span.label),
        )
        found = {span.label for span in spans}
        return Verdict(blocklists={name: name in found for name in wanted}, spans=tuple(spans))

    def terms_in(self, query: Query, names: Collection[str]) -> Mapping[str, Sequence[int]]:
        """The terms that were found, as places in the ``terms`` of each of the lists called *names*, in ascending order."""
        wanted = dict.fromkeys(names)
        found: dict[str, set[int]] = {name: set() for name in wanted}
        seen: set[tuple[str, int]] = set()
        for form in _forms(query):
            hits = self._hits(
                query,
                form,
                self._excepted(query, form),
                lambda term: [name for name in _among(term.lists, wanted) if (name, id(term)) not in seen],
            )
            for label, term, _, _ in hits:
                seen.add((label, id(term)))
                found[label].update(term.lists[label])
        return {name: sorted(places) for name, places in found.items()}

    def _spans(self, query: Query, form: Normalised, names: Mapping[str, None]) -> Iterator[Span]:
        excepted = self._excepted(query, form)
        counts: Counter[str] = Counter()
        hits = self._hits(
            query, form, excepted, lambda term: [name for name in _among(term.lists, names) if counts[name] < _ENOUGH]
        )
        for label, _, start, end in hits:
            counts[label] += 1
            yield Span(*form.origin(start, end), label)
        if self._patterns:
            yield from self._pattern_spans(form, *_inner(query, form), excepted, names)

    def _excepted(self, query: Query, form: Normalised) -> Excepted:
        return self._exceptions.in_text(
            form.text,
            partial(_is_phrase, form.text, query.open_left),
            open_left=query.open_left,
            open_right=query.open_right,
        )

    def _hits(
        self, query: Query, form: Normalised, excepted: Excepted, wanted: Callable[[_Term], Sequence[str]]
    ) -> Iterator[tuple[str, _Term, int, int]]:
        """Where terms count: list, term, start and end in the normalised text. *wanted* tells which lists to look at."""
        if self._automaton is None:
            return
        first, limit = _inner(query, form)
        for last, term in self._automaton.iter(form.text):
            labels = wanted(term)
            start, end = last + 1 - term.length, last + 1
            if labels and first <= start and end <= limit and _whole_words(form.text, start, end, term, query.open_left):
                for label in labels:
                    if not excepted.covers(label, start, end):
                        yield label, term, start, end

    def _pattern_spans(
        self, form: Normalised, start: int, end: int, excepted: Excepted, names: Mapping[str, None]
    ) -> Iterator[Span]:
        # RE2 wants UTF-8 and gives offsets in it. Half a surrogate pair has none and goes as a question mark.
        before, within = (text.encode(errors="replace") for text in (form.text[:start], form.text[start:end]))
        encoded = before + within + form.text[end:].encode(errors="replace")
        for label, pattern in self._patterns:
            if label not in names:
                continue
            position, limit = len(before), len(before) + len(within)
            while (match := pattern.search(encoded, position, limit)) is not None:
                found = len(encoded[: match.start()].decode()), len(encoded[: match.end()].decode())
                if not excepted.covers(label, *found):
                    yield Span(*form.origin(*found), label)
                    break
                position = match.end()


def _automaton(lists: Sequence[Blocklist]) -> ahocorasick.Automaton | None:
    terms: dict[str, _Term] = {}
    for blocklist in lists:
        for index, term in enumerate(blocklist.terms):
            for spelling in _spellings(term, f"{blocklist.name}.terms[{index}]"):
                entry = terms.setdefault(spelling, _Term(len(spelling), in_word(spelling[0]), _ends_in_word(spelling), {}))
                entry.lists.setdefault(blocklist.name, []).append(index)
    if not terms:
        return None
    automaton = ahocorasick.Automaton()
    for spelling, entry in terms.items():
        automaton.add_word(spelling, entry)
    automaton.make_automaton()
    return automaton


def _among(lists: Mapping[str, object], names: Mapping[str, None]) -> list[str]:
    """Those of *lists* that are called one of *names*, in the time that the fewer of them take."""
    fewer, other = (lists, names) if len(lists) < len(names) else (names, lists)
    return [name for name in fewer if name in other]


def _spellings(term: str, field: str) -> set[str]:
    """With both spellings, a word of another script is found as it is and among letters of a second one."""
    spellings = {normalise(term, lookalikes=unmask).text.strip() for unmask in (False, True)}
    if not all(spellings):
        raise ConfigError("a blank term", field=field)
    return spellings


def _compiled(pattern: str, field: str) -> re2._Regexp:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ConfigError(error.args[0].decode(errors="replace"), field=field) from None
    except UnicodeEncodeError:
        raise ConfigError("half a surrogate pair", field=field) from None
    if any(compiled.fullmatch(text, place, place) for text in _NEIGHBOURS for place in range(len(text) + 1)):
        raise ConfigError("a pattern that matches where there is nothing", field=field)
    return compiled


def _forms(query: Query) -> list[Normalised]:
    """The texts to search: as written, and unmasked if that is another."""
    written = normalise(query.text, lookalikes=False)
    if query.text.isascii():
        return [written]
    unmasked = normalise(query.text, open_left=query.open_left, open_right=query.open_right)
    return [written] if unmasked.text == written.text else [written, unmasked]


def _inner(query: Query, form: Normalised) -> tuple[int, int]:
    """The part of the normalised text that does not touch an open edge of the original one.

    Left out is what came from the first or last visible character, and whatever would have melted into it.
    """
    start, end = 0, len(form.text)
    if query.open_left:
        first = offset_of(query.text, 0)
        while start < end and (form.origin(start, start + 1)[0] <= first or joins(form.text[start])):
            start += 1
    if query.open_right:
        last = len(query.text) - trailing_invisible(query.text)
        while start < end and form.origin(end - 1, end)[1] >= last:
            end -= 1
        while start < end < len(form.text) and joins(form.text[end]):
            end -= 1
    return start, end


def _is_phrase(text: str, open_left: bool, start: int, end: int) -> bool:
    """Whether the stretch begins and ends where words do.

    Beyond the text's end there may be a border, and before its beginning, if that is *open_left*, too.
    """
    left, right = in_word(text[start]), _ends_in_word(text[start:end])
    term = _Term(end - start, left and not (open_left and start == 0), right, {})
    return _whole_words(text, start, end, term, open_left)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _ends_in_word(term: str) -> bool:
    letters = [char for char in term if not _is_mark(char)]
    return bool(letters) and in_word(letters[-1])


def _whole_words(text: str, start: int, end: int, term: _Term, open_left: bool) -> bool:
    if end < len(text) and (_is_mark(text[end]) or (term.word_right and in_word(text[end]))):
        return False
    if not term.word_left:
        return True
    before = start - 1
    # A mark belongs to the letter before it.
    while before >= 0 and _is_mark(text[before]):
        before -= 1
    if before < 0:
        return start == 0 or not open_left
    return not in_word(text[before])
