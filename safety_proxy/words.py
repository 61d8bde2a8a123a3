"""What English words are like: enough to tell a word in disguise from a part number, and a cipher from prose.

Nothing here knows a language. The list and the rules only break ties: whether to read a text another way as well.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from typing import Final

COMMON: Final = frozenset(
    """
    about after again all also and another any anyone are around attack away back bad because been before being best
    better blood body bomb both boy break bring build building burn but call can child children city come could country
    day dead death destroy did die does down drug each easy else end enemy even every everyone everything explosive
    family father feel fight find fire first for force friend from fuck get girl give going good great group gun had
    hand hang happy hard harm has hate have head hell help her here hide high him his home hope house how human hurt
    idea into its jew just keep kill killed killer kids kind knife know land last late learn leave left let life like
    line little live long look lost love made make making man many may mean meet men might mind money more most mother
    much murder must muslim name need never new nigger night not nothing now nude off old once one only open order other
    our out over own pain part people person place plan play please poison police porn power prison problem public put
    question rape read ready real really right room run same save say school secret see seem self send sex shit shoot
    she should show shut side sleep slut some someone something soon start state steal steep step still stop story
    street stupid such suicide sure system take talk teach tell than that the their them then there these they thing
    think this those thought three through time today together told tonight too top towards town try two under until use
    used very violence virus wait want war was watch water way weapon week well went were what when where which while
    white who whole why will wish with without woman women word work world would write wrong year yes you young your
    yourself
    """.split()  # noqa: SIM905 - a list of words is read more easily so
)
"""Common words of English, and some that harm is told with."""

_WORDS_TOO: Final = frozenset(
    """
    ant are bar dab dah dam dan del den dna dog don ere edam ees eid eman emit eno era esu evil fles fur gab gel gun jul
    leef mees mid moor nam nan nap neve new nip nit nod nem nos not now nun nur oat on part pat peek peels pets pot pots
    rail rap raw rea red reh rom sah saw ser sey sip six sum sun swap tac tap tar teem tel ten ton trap tub tun ung ure
    var von was wed won yam yob
    """.split()  # noqa: SIM905
)
"""What some of those words turn into is a word as well, of English or of another language, or a name."""

_ONSET: Final = (
    r"(?:sch|scr|shr|spl|spr|squ|str|thr|chr|qu|[bcfgps]l|[bcdfgkptw]r|s[chkmnptw]|[cgprstw]h|kn|wr|tw|dw"
    r"|[b-df-hj-np-tv-z])?"
)
_CODA: Final = (
    r"(?:l[bdfklmpt]|r[bcdfgklmnpt]|n[cdkt]|ng(?:th)?|m[bp]|[cfpx]t|s[kpth]|w[kln]|t?ch|g?ht?|th|ph|ck"
    r"|[lr](?:st|ch|th|sh|d)|n(?:ch|th)|([b-df-hj-np-tv-z])\1|[bcdfghklmnprtwxz])?s?"
)
_WORDLIKE: Final = re.compile(rf"{_ONSET}(?=[aeiouy])(?!.*[^aeiouy]{{5}})[a-z]*[aeiouy]{_CODA}", re.IGNORECASE)
_LONGEST: Final = 20
"""Letters of a word that is looked at: longer ones are no words of English, and all of this takes bounded time."""
_PLACES: Final = re.compile(r"(?<![\w+/=.-])[a-z]{3,12}(?![\w+/=])")
_ENOUGH: Final = 2
"""Different words that must come out of a cipher; one may be chance."""


def is_wordlike(word: str) -> bool:
    """Whether *word* may be one of English, by the letters it begins and ends with; case does not matter."""
    return len(word) <= _LONGEST and _WORDLIKE.fullmatch(word) is not None


def rotated(text: str) -> str:
    """*text* in ROT13, which undoes itself."""
    return codecs.encode(text, "rot13")


def _forms(cipher: Callable[[str], str]) -> frozenset[str]:
    return frozenset(cipher(word) for word in COMMON if len(word) > _ENOUGH) - COMMON - _WORDS_TOO


_ROTATED: Final = _forms(rotated)
_REVERSED: Final = _forms(lambda word: word[::-1])
_CIPHERED: Final = frozenset(form for word in _ROTATED | _REVERSED for form in (word, word.capitalize(), word.upper()))


def may_be_cipher(words: Iterable[str]) -> bool:
    """Whether `is_rotated` or `is_reversed` can hold for a text of these *words*, which blanks part. Quick."""
    return not _CIPHERED.isdisjoint(words)


def is_rotated(text: str) -> bool:
    """Whether ROT13 makes common words of what are no words in *text*."""
    return len(_ROTATED.intersection(_PLACES.findall(text.lower()))) >= _ENOUGH


def is_reversed(text: str) -> bool:
    """Whether *text* from its end has common words where it has none."""
    return len(_REVERSED.intersection(_PLACES.findall(text.lower()))) >= _ENOUGH
