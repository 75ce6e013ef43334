"""Figures keep their digits at any scale, and are never more than status can hold."""

from __future__ import annotations

import pytest

from noria_operator.api.types import format_decimal
from noria_operator.domain.figures import LARGEST, said, written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (0.8712345678, "0.871235"),
        (1234.5678912, "1234.567891"),
        (0.0123456789, "0.0123457"),
        (3.4000001e-6, "0.0000034"),
        (-3.45678912e-7, "-0.000000345679"),
        (1e-20, "0"),
        (2e15, "999999999999999.0"),
        (-2e300, "-999999999999999.0"),
    ],
)
def test_a_figure_has_six_places_and_six_significant_digits(value: float, text: str) -> None:
    assert written(value) == text


def test_the_largest_figure_can_be_written() -> None:
    assert format_decimal(LARGEST)
    with pytest.raises(ValueError, match="15 digits"):
        format_decimal(LARGEST + 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.76543, "0.7654"), (0.001, "0.0010"), (3.4567e-6, "3.457e-06"), (-1.5, "-1.5000")],
)
def test_a_sentence_has_four_places_or_as_many_digits(value: float, text: str) -> None:
    assert said(value) == text
