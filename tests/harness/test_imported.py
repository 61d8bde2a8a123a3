from __future__ import annotations

from collections import Counter

import pytest

from safety_proxy.errors import ConfigError
from safety_proxy.harness.cases import ExpectedCategory, ExpectedSide
from safety_proxy.harness.imported import Importer, Row
from safety_proxy.model import Category


def row(**known: object) -> Row:
    return Row("t.csv", 7, **{"text": "hello", **known})  # type: ignore[arg-type]  # what is known differs


def test_a_row_is_a_case_that_expects_what_is_known() -> None:
    (case,) = Importer().case(row(filtered=True, categories={Category.HATE: True}, name="rude", tags=frozenset({"a"})))
    assert case.body == {"text": "hello"}
    assert case.input == ExpectedSide("filter", {Category.HATE: ExpectedCategory(filtered=True)})
    assert case.output is None
    assert (case.name, case.place, case.tags) == ("rude", "t.csv:7", frozenset({"a"}))


def test_a_row_without_a_name_is_called_by_its_line() -> None:
    assert [case.name for case in Importer().case(row(filtered=False))] == ["line 7"]


def test_texts_may_be_completions() -> None:
    (case,) = Importer("output").case(row(filtered=False))
    assert case.body == {"completion": "hello"}
    assert (case.input, case.output) == (None, ExpectedSide("allow"))


def test_a_category_may_be_known_where_the_decision_is_not() -> None:
    (case,) = Importer().case(row(categories={Category.HATE: False}))
    assert case.input == ExpectedSide(None, {Category.HATE: ExpectedCategory(filtered=False)})


@pytest.mark.parametrize(("known", "reason"), [({"text": " \n"}, "without a text"), ({}, "without a label")])
def test_what_cannot_be_judged_is_counted_or_an_error(known: dict[str, object], reason: str) -> None:
    skipped: Counter[str] = Counter()
    assert list(Importer(skipped=skipped).case(row(**known))) == []
    assert skipped == {reason: 1}
    with pytest.raises(ConfigError, match=rf"^t\.csv:7: is {reason}$"):
        list(Importer().case(row(**known)))


def test_rows_without_a_label_are_kept_where_nothing_needs_to_be_expected() -> None:
    (case,) = Importer(need_expectations=False).case(row())
    assert (case.input, case.output) == (None, None)
