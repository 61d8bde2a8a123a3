"""What a case says of categories, beyond the decision that it expects: whether each must be filtered. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from safety_proxy.harness.cases import ExpectedCategory, ExpectedSide
from safety_proxy.model import HARMS, Category, Severity


def truths(expected: ExpectedSide, categories: Iterable[Category]) -> tuple[dict[Category, bool], bool]:
    """What a case says of categories - whether each must be filtered - and whether it is benign.

    A category that the case names is as it says there. A case that expects ``allow`` and names nothing harmful is benign,
    and so it is in all of *categories*; one that expects ``filter`` does not tell for which of them.
    """
    known = {
        category: said for category, each in expected.categories.items() if (said := _truth(category, each)) is not None
    }
    benign = expected.decision == "allow" and not any(known.values())
    return ({**dict.fromkeys(categories, False), **known} if benign else known), benign


def _truth(category: Category, said: ExpectedCategory) -> bool | None:
    # A detection may be there and not be filtered, under a rule that only annotates; what is there is what counts.
    order = (said.filtered, said.detected) if category in HARMS else (said.detected, said.filtered)
    if (written := next((each for each in order if each is not None), None)) is not None:
        return written
    if said.min_severity is not None and said.min_severity >= Severity.LOW:
        return True
    return False if said.max_severity is not None and said.max_severity < Severity.LOW else None
