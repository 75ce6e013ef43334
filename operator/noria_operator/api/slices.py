"""Slices: columns by which rows are told apart, and what was measured in each group.

Comes in: part of a TrainingJob or ModelVersion. Goes out: frozen, validated models. Invariant: groups are few
whatever a column holds, so that everything counted by them is bounded.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field

from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import Decimal, MetricName
from noria_serving.contract import SLICE_MOST_VALUES, SLICINGS

METRICS: Final = ("accuracy", "logloss", "auc", "mae", "rmse")
"""What the evaluation can compare by slice."""
MOST_SLICES: Final = SLICINGS
MOST_COMPARED: Final = 128
"""Slices, by each metric, of an evaluation."""
Column = Annotated[str, Field(min_length=1, max_length=128)]
Group = Annotated[str, Field(min_length=1, max_length=128)]


class Slice(Spec):
    """A column by which rows are told apart."""

    feature: Column = Field(description="The column, for example carrier.")
    bounds: Annotated[list[Decimal], Field(max_length=SLICE_MOST_VALUES)] | None = Field(
        default=None,
        description='Ranges of numbers end at these, like ["25", "40"]. Absent, and no values: quarters.',
    )
    values: Annotated[list[Group], Field(max_length=SLICE_MOST_VALUES)] | None = Field(
        default=None,
        description="Values with a slice of their own. Absent, and no bounds: the most frequent.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.bounds) || !has(self.values)",
            message="give bounds or values, not both",
            holds=lambda it: it.bounds is None or it.values is None,
        ),
    )


class SliceScore(Spec):
    """One slice of the held-out rows, by one metric."""

    feature: Column = Field(description="The column.")
    group: Group = Field(description="The slice, for example AA, 25..40, other or missing.")
    rows: int = Field(ge=0, le=2**53, description="Held-out rows in it.")
    metric: MetricName = Field(description="The metric.")
    challenger: Decimal = Field(description="That of the new model.")
    champion: Decimal | None = Field(
        default=None, description="That of the champion on the same rows. Absent: none, or not defined."
    )
    error: Decimal | None = Field(
        default=None, description="Standard error of the difference of both. Absent: no champion."
    )
