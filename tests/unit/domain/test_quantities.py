"""Quantities are read as Kubernetes reads them."""

from __future__ import annotations

import pytest

from noria_operator.domain.quantities import amount


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        (3, 3.0),
        ("4Gi", 4 * 2**30),
        ("1.5k", 1500.0),
        ("1e3", 1000.0),
        ("250u", 0.00025),
    ],
)
def test_suffixes_and_exponents_are_read(text: str | int, number: float) -> None:
    assert amount(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "two", "1Qi", "5 m"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        amount(text)
