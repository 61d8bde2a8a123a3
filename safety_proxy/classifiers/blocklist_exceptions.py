"""The phrases in which a match of a blocklist does not count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import ahocorasick

WholeWords: TypeAlias = Callable[[int, int], bool]
"""Whether a stretch of the text, from start to end, begins and ends where words do; true beyond an open edge."""


class Exceptions:
    """*phrases*, in the spelling that is searched for, by list."""

    def __init__(self, phrases: Mapping[str, frozenset[str]]) -> None:
        self._longest = {name: max(map(len, each)) for name, each in phrases.items() if each}
        self._whole = {name: _trie(each) for name, each in phrases.items() if each}
        self._reversed = {name: _trie(phrase[::-1] for phrase in each) for name, each in phrases.items() if each}

    def in_text(self, text: str, whole_words: WholeWords, *, open_left: bool, open_right: bool) -> Excepted:
        """Where the exceptions are in *text*, found when it is asked for."""
        return Excepted(lambda name: list(self._stretches(name, text, whole_words, open_left, open_right)))

    def _stretches(
        self, name: str, text: str, whole_words: WholeWords, open_left: bool, open_right: bool
    ) -> Iterator[tuple[int, int]]:
        trie = self._whole.get(name)
        if trie is None:
            return
        for last, length in trie.iter(text):
            if whole_words(last + 1 - length, last + 1):
                yield last + 1 - length, last + 1
        # What an open edge cuts off may be an exception: whoever sees the text go on will know.
        reach = min(self._longest[name], len(text))
        if open_right:
            for start in range(len(text) - reach, len(text)):
                if trie.match(text[start:]) and whole_words(start, len(text)):
                    yield start, len(text)
                    break  # those that begin later lie within it
        if open_left:
            for end in range(reach, 0, -1):
                if self._reversed[name].match(text[:end][::-1]) and whole_words(0, end):
                    yield 0, end
                    break


class Excepted:
    """The exceptions in one text."""

    def __init__(self, find: Callable[[str], list[tuple[int, int]]]) -> None:
        self._find = find
        self._found: dict[str, list[tuple[int, int]]] = {}

    def covers(self, name: str, start: int, end: int) -> bool:
        """Whether the match of the list *name* from *start* to *end* lies in one of its exceptions."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return any(first <= start and end <= last for first, last in self._found[name])


def _trie(phrases: Iterator[str] | frozenset[str]) -> ahocorasick.Automaton:
    automaton = ahocorasick.Automaton()
    for phrase in phrases:
        automaton.add_word(phrase, len(phrase))
    automaton.make_automaton()
    return automaton
