"""Words in disguise: letters set apart, digits and signs for letters, letters drawn out.

What ordinary text has of these - names of parts, versions, identifiers, addresses, initials - is left alone where it can be
told apart; where it cannot, the other reading is read for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, product
from typing import Final

from safety_proxy.edits import WHOLE, Draft, Edges, Stage, substituted
from safety_proxy.words import COMMON, is_wordlike

_LETTER: Final = r"[^\W\d_]"
_ALNUM: Final = r"[^\W_]"
_SIGN: Final = r"[!-/:-@\[-`{-~\u00a6\u00b7\u2010-\u2015\u2022\u2027\u22c5\u2e31\u30fb]"
_BLANK: Final = r"[^\S\n]|\u2800"
_APART: Final = re.compile(
    rf"(?<!{_ALNUM}){_ALNUM}(?:"
    rf"(?:(?:{_BLANK}){_ALNUM}(?!{_ALNUM}|{_SIGN}{_ALNUM}))+"
    rf"|(?:\n{_ALNUM}(?!{_ALNUM}))+"
    rf"|(?:{_SIGN}{{1,3}}{_ALNUM}(?!{_ALNUM}))+"
    rf"|(?:[ ]{_SIGN}{{1,2}}[ ]?{_ALNUM}(?!{_ALNUM}))+"
    rf")"
)
"""Letters, each apart: with a blank between, each on its line, with signs between, with blanks about the signs."""
_GAP: Final = re.compile(r"\s{1,6}|\s{0,3}[/|,.;_-]{1,2}\s{0,3}")
"""What parts two words whose letters are apart."""
_SIGNED_APART: Final = re.compile(rf"{_SIGN[:-1]}\u2800]{_ALNUM}(?:{_SIGN[:-1]}\u2800]{{1,3}}{_ALNUM}){{2}}")
"""Where the second to fourth letter of a word stand apart, quickly told."""
_FEWEST_APART: Final = 4
"""Letters of a word that is meant so; three may be initials."""
_FEWEST_TOGETHER: Final = 6
"""Or letters of all the words in a row, when one has three at least."""
_NUMBERED: Final = 0.34
"""Share of digits from which letters apart are rather columns of a table."""
_GAPS: Final = re.compile(r"[\W_]+")
_HARD: Final = re.compile(r"[\"#$%&()<=>@\[\\\]^`{}]")
"""Signs that stand in code between letters; they set them apart on purpose only if it is the same everywhere."""
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz"
_LONGEST: Final = 20
"""Letters of a word; more are several, with the same gap between as within."""
_VOWEL: Final = re.compile(r"[aeiouy]", re.IGNORECASE)
_VOWELS: Final = 0.2
"""Share of vowels in what English words make when written together."""
_LATER_SCRIPTS: Final = "\u0900"
"""From here on come scripts that have no letters which could be set apart to hide a word, but words of one character."""

_STRICT: Final = str.maketrans("013457@$!", "oieastasi")
_LOOSE: Final = str.maketrans("0134578@$!", "oieastbasi")
_LEET_PLACE: Final = re.compile(r"[013457@$!](?=[A-Za-z]|[1$])")
"""Where a leet word shows, quickly told: such a sign before a letter; or at its end, twice or with a dollar."""
_TOKEN: Final = re.compile(r"(?<![\w@$./=#%&\\+])[A-Za-z0-9@$!]{2,20}+(?![\w@$/=#%&+\\]|\.\w|[:!(]=|[:(]\S)")
_INNER: Final = re.compile(r"[A-Za-z][013457@$!]{1,4}(?=[A-Za-z])")
_EXCLAIMED: Final = re.compile(r"[B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{1,3}![a-z]+", re.IGNORECASE)
"""An exclamation mark for the vowel that a word has to begin with; elsewhere a blank is missing after it."""
_LED: Final = re.compile(
    r"@(?:ss|sses|sshole|ssholes|nal|buse|ttack|rson|nus)|\$(?:ex|exy|exual|hit|lut|luts|uicide|hoot|tab|tabbing|laughter|lave)"
    r"|[a@]\$\$(?:hole)?|5(?:hoot|hit|ex|exy|lut|uicide)|8(?:omb|itch|lood)|[1!](?:diot|nject)|3(?:xplosives?|xplode)|0(?:verdose)",
    re.IGNORECASE,
)
"""Words that begin with the sign; most others that do are variables, names of people, and numbers."""
_ENDING: Final = re.compile(r"[a-z]{1,2}[aeiou]11", re.IGNORECASE)
"""ki11 and te11."""
_SPELT_AS_WORDS: Final = re.compile(r"[A-Z]?[^A-Z]*|[^a-z]*")
_ORDINARY: Final = re.compile(
    r"[a-z]\d+[a-z]|.*[269].*|[0-9a-f]+|(?:[a-z]{3,}|[a-z]?[aeiouy][a-z]?)@[a-z]{3,}|[a-z]+[014]d|[a-z]+![ars]"
    r"|(?:log|neo|gpt|sha|md|web|ipv|mp|py|win|int|uint|float|fp|conv|pool|norm|utf|iso|top|day|part|vol|rev|http|es|vue|x"
    r"|l[12]l)\d+[a-z].*|(?:h5|s3f|w3)[a-z]+|v\d+(?:alpha|beta|rc|dev|pre).*",
    re.IGNORECASE,
)
"""i18n and b2b; digits that stand for no letter; hexadecimal; half an address; names of formats and programs; versions."""
_LOOSELY_ORDINARY: Final = re.compile(
    r"\d{4,}|.*[269].*|0x.*|[0-9a-f]{6,}|v\d+(?:alpha|beta|rc|dev|pre)?\d*|[a-z]+[014]d|[a-z]+![ars]|.*@v?\d.*",
    re.IGNORECASE,
)
_SHORTEST: Final = 3
_MANY_DIGITS: Final = 5
_HABIT: Final = 2
"""So many words with digits or signs within, and the others are read alike: "4774ck 7h3 h4rb0ur 47 d4wn"."""
_LOOKED_AT: Final = 2_000
"""Words that are looked at to tell a habit."""

_TRIPLE: Final = re.compile(r"(.)\1\1")
_DRAWN: Final = re.compile(rf"({_LETTER})\1\1")
_WORD: Final = re.compile(rf"(?<![\w+/=\\-]){_LETTER}{{4,60}}+(?![\w+/=])")
_RUN: Final = re.compile(r"([^\W\d_])\1{2,}", re.IGNORECASE)
_LONG_RUN: Final = re.compile(r"([^\W\d_])\1{3}", re.IGNORECASE)
_NUMERAL: Final = re.compile(r"[IVXLCDM]+|[ivxlcdm]+|[uU]?[0-9a-fA-F]+")
_VARIETY: Final = 3
"""Different letters that a drawn-out word has; "hmmm", "www" and "ooooh" have fewer."""
_DOUBLED: Final = frozenset("lsfz")
"""Consonants that English words end in twice."""
_MOST_RUNS: Final = 3
"""Runs in a word that are tried in both ways."""


# ------------------------------------------------------------------------------------------------------ letters apart


def may_be_apart(text: str, lengths: Sequence[int]) -> bool:
    """Whether `joined` can find anything in *text*, the words of which, parted by blanks, have these *lengths*. Quick."""
    if lengths.count(1) >= _FEWEST_APART - 1:
        beside = zip(lengths, lengths[1:], lengths[2:], strict=False)
        if any(before == length == after == 1 for before, length, after in beside):
            return True
    return _SIGNED_APART.search(text) is not None


def joined(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """With the words that letters set apart make; a wider gap, or another one than between letters, parts them."""
    if not may_be_apart(text, list(map(len, text.split()))):
        return text, ()
    draft = Draft()
    end = 0
    for group in _groups(text):
        for number, match in enumerate(group):
            between = text[end : match.start()]
            if number and len(between) > 1:
                draft.replace(" ", len(between))
            else:
                draft.keep(between)
            draft.replace(_letters(match[0]), len(match[0]))
            end = match.end()
    if end == 0:
        return text, ()
    draft.keep(text[end:])
    return draft.finished()


def _groups(text: str) -> Iterator[list[re.Match[str]]]:
    """Words of letters apart that stand beside each other, if they are meant."""
    group: list[re.Match[str]] = []
    for match in _APART.finditer(text):
        if group and not _GAP.fullmatch(text, group[-1].end(), match.start()):
            if _is_meant(group):
                yield group
            group = []
        group.append(match)
    if group and _is_meant(group):
        yield group


def _letters(match: str) -> str:
    return "".join(char for char in match if char.isalnum())


def _is_meant(group: list[re.Match[str]]) -> bool:
    words = [_letters(match[0]) for match in group]
    longest = max(map(len, words))
    together = "".join(words)
    if longest < _FEWEST_APART and (longest < _SHORTEST or len(together) < _FEWEST_TOGETHER):
        return False
    digits = sum(map(str.isdigit, together))
    gaps = {gap for match in group for gap in _GAPS.findall(match[0])}
    if digits >= _NUMBERED * len(together) or (len(gaps) > 1 and (digits or _HARD.search("".join(gaps)) is not None)):
        return False
    return any(_is_word(word) for word in words if len(word) >= min(longest, _FEWEST_APART))


def _is_word(letters: str) -> bool:
    if not letters.isascii():
        return max(letters) < _LATER_SCRIPTS
    if len(letters) > _LONGEST:
        return len(_VOWEL.findall(letters)) >= _VOWELS * len(letters)
    return letters.lower() not in _ALPHABET and is_wordlike(letters.translate(_STRICT))


# -------------------------------------------------------------------------------------------------------------- leet


def may_be_leet(text: str) -> bool:
    """Whether `unleeted` can find anything. Quick."""
    return _LEET_PLACE.search(text) is not None


def unleeted(text: str, edges: Edges = WHOLE) -> tuple[str, Stage]:
    """With letters for the digits and signs in words that mix them; in a text full of such words, in all its words."""
    if not may_be_leet(text):
        return text, ()
    tokens = [found[0] for found in islice(_TOKEN.finditer(text), _LOOKED_AT)]
    within = sum(_INNER.search(token) is not None for token in tokens)
    is_habit = within >= _HABIT and any(map(_is_leet, tokens))

    def spelt(found: re.Match[str]) -> str:
        token = found[0]
        if (edges.left and found.start() == 0) or (edges.right and found.end() == len(text)):
            return token  # half a word
        if is_habit:
            return token if _LOOSELY_ORDINARY.fullmatch(token.rstrip("!")) else _translated(token, _LOOSE)
        return _translated(token, _STRICT) if _is_leet(token) else token

    return substituted(_TOKEN, spelt, text, aligned=True)


def _is_leet(token: str) -> bool:
    word = token.rstrip("!")
    if word.isalpha() or len(word) < _SHORTEST:
        return False
    if _LED.fullmatch(word) is not None or _ENDING.fullmatch(word) is not None:
        return True
    if sum(map(str.isdigit, word)) > _MANY_DIGITS or _ORDINARY.fullmatch(word) or not _SPELT_AS_WORDS.fullmatch(word):
        return False
    if "!" in word and _EXCLAIMED.fullmatch(word) is None:
        return False
    return _INNER.search(word) is not None and is_wordlike(_translated(word, _STRICT))


def _translated(token: str, table: dict[int, int]) -> str:
    word = token.rstrip("!")
    letters = word.replace("11", "ll").translate(table)
    return (letters.upper() if word.isupper() else letters) + token[len(word) :]


# --------------------------------------------------------------------------------------------------------- drawn out


def may_be_drawn_out(text: str) -> bool:
    """Whether `shortened` can find anything. Quick."""
    if not text.isascii():
        return _TRIPLE.search(text) is not None
    # As one number: each byte is compared with the next two at once, in a third of the time that the pattern takes.
    number = int.from_bytes(text.encode())
    unlike = number ^ (number >> 8)
    return 0 in (unlike | (unlike >> 8)).to_bytes(len(text)) and _DRAWN.search(text) is not None


def shortened(text: str, _edges: Edges = WHOLE) -> tuple[str, Stage]:
    """With drawn-out letters once, or twice where that makes a common word.

    Three letters alike are drawn out only where others are as well, or where a common word comes out: compounds of German
    have three.
    """
    if not may_be_drawn_out(text):
        return text, ()
    words = [found[0] for found in islice(_WORD.finditer(text), _LOOKED_AT)]
    is_habit = sum(_is_drawn_out(word, _VARIETY) for word in words) >= _HABIT

    def once(found: re.Match[str]) -> str:
        word = found[0]
        if not _is_drawn_out(word, _VARIETY - is_habit):
            return word
        short = _shortened(word)
        if is_habit or short.lower() in COMMON:
            return short
        return short if _LONG_RUN.search(word) is not None and (is_wordlike(short) or not short.isascii()) else word

    return substituted(_WORD, once, text)


def _is_drawn_out(word: str, variety: int) -> bool:
    return (
        _RUN.search(word) is not None
        and len(set(word.lower())) >= variety
        and _SPELT_AS_WORDS.fullmatch(word) is not None
        and _NUMERAL.fullmatch(word) is None
    )


def _shortened(word: str) -> str:
    """*word* with each run once or twice: as a common word has it, else as English mostly does."""
    runs = len(_RUN.findall(word))
    if runs <= _MOST_RUNS:
        for counts in product((1, 2), repeat=runs):
            candidate = _with_runs(word, counts)
            if candidate.lower() in COMMON:
                return candidate
    return _RUN.sub(lambda run: run[1] * (2 if run[1].lower() in _DOUBLED else 1), word)


def _with_runs(word: str, counts: Iterable[int]) -> str:
    rest = iter(counts)
    return _RUN.sub(lambda run: run[1] * next(rest), word)


STEPS: Final[tuple[Callable[[str, Edges], tuple[str, Stage]], ...]] = (joined, unleeted, shortened)
"""All of the above, in the order in which one uncovers the next."""
