"""The authored rows are the same every time, labelled, and say no more than they know."""

from __future__ import annotations

from safety_proxy.classifiers.embedded.contrast import SOURCE, contrast_rows
from safety_proxy.classifiers.embedded.model import HEADS


def test_the_rows_depend_on_the_seed_alone() -> None:
    assert contrast_rows(1) == contrast_rows(1)
    assert contrast_rows(1) != contrast_rows(2)


def test_every_row_is_filled_in_labelled_and_free() -> None:
    rows = contrast_rows(1)
    assert len({row.text for row in rows}) == len(rows)
    for row in rows:
        assert "{" not in row.text
        assert set(row.labels) == set(HEADS)
        assert (row.source, row.licence) == (SOURCE, "CC0-1.0")


def test_harmless_rows_outnumber_threats_and_despair() -> None:
    rows = contrast_rows(1)
    violent = [row for row in rows if row.labels["violence"] == 1]
    despairing = [row for row in rows if row.labels["self_harm"] == 1]
    harmless = [row for row in rows if all(value == 0 for value in row.labels.values())]
    assert len(violent) == 500
    assert len(despairing) > 50
    assert len(harmless) > 2 * len(violent)
    assert len(violent) + len(despairing) + len(harmless) == len(rows)
    assert all(row.labels["harassment"] is None for row in (*violent, *despairing))


def test_rows_that_name_a_group_are_never_positive() -> None:
    assert all(set(row.labels.values()) == {0} for row in contrast_rows(1) if "refugees" in row.text)
