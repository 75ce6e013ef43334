"""Errors of one version that pods counted in units of their own."""

from __future__ import annotations

from typing import Final

from tests.unit.evidence.sums import add
from tests.unit.evidence.test_windows import body

from noria_operator.domain.fairness import Slicing
from noria_operator.domain.performance import Errors
from noria_operator.evidence import windows
from noria_operator.evidence.windows import Document, parse
from noria_serving.contract import ERRORS


def regression(unit: float, errors: tuple[int, ...], slices: dict[str, list[int]] | None = None) -> Document:
    """What a pod tells of `fare-1`."""
    told = parse(
        body(
            task="regression", errors={"fare-1": dict(zip(ERRORS, errors, strict=True))},
            version="fare-1", slice_errors={"fare-1": {"0": slices or {}}}, error_units={"fare-1": unit},
        )
    )  # fmt: skip
    assert told is not None
    return told


SEXES: Final = (Slicing("sex", ("f", "m", "other")),)


def test_errors_in_units_of_servers_of_two_releases_are_added_up_in_the_finest() -> None:
    old = regression(1.0, (10, 12, 3, 40, 1), {"0": [4, 6, 0, 12], "1": [6, 6, 3, 28]})
    new = regression(0.25, (5, 8, 2, 30, 0), {"1": [5, 8, 2, 30]})
    for parts in ((old, new), (new, old)):
        total = add([one.counts for one in parts])
        assert windows.errors(total, "fare-1") == Errors(15, 56, 14, 670, 1, 0.25)
        found = windows.slice_labels(total, "fare-1", SEXES)
        assert (found.unit, found.samples) == (0.25, 15)
        assert found.counts == {"sex=f": (4, 24, 0, 192), "sex=m": (11, 32, 14, 478), "sex=other": (0,) * 4}


def test_errors_that_a_coarser_unit_rounds_off_are_left_out_beside_a_finer_one() -> None:
    """They would make the sum better than any server's errors are."""
    old = regression(128.0, (10, 1, 0, 1, 0), {"0": [10, 1, 0, 1]})
    new = regression(0.25, (5, 8, 2, 30, 0), {"0": [5, 8, 2, 30]})
    total = add([old.counts, new.counts])
    assert windows.errors(total, "fare-1") == Errors(5, 8, 2, 30, 0, 0.25)
    assert windows.slice_labels(total, "fare-1", SEXES).counts["sex=f"] == (5, 8, 2, 30)
    assert windows.errors(old.counts, "fare-1") == Errors(10, 1, 0, 1, 0, 128.0)


def test_units_that_are_too_far_apart_to_be_added_up_tell_the_errors_of_the_finest() -> None:
    old = regression(2.0**900, (10, 12, 3, 40, 1), {"0": [10, 12, 3, 40]})
    new = regression(0.25, (5, 8, 2, 30, 0), {"0": [5, 8, 2, 30]})
    total = add([old.counts, new.counts])
    assert windows.errors(total, "fare-1") == Errors(5, 8, 2, 30, 0, 0.25)
    assert windows.slice_labels(total, "fare-1", SEXES).counts["sex=f"] == (5, 8, 2, 30)
