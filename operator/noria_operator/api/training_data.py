"""What rows for training must be like before a run: `dataQuality` of a TrainingJob.

Comes in: JSON. Goes out: a frozen, validated model. Invariant: names and defaults are those of the trigger
`dataQuality`, which looks at what a model is asked.
"""

from __future__ import annotations

from decimal import Decimal as PythonDecimal
from typing import ClassVar, Literal

from pydantic import Field

from noria_operator.api.monitoring import Name
from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import PositiveDuration, Share, UnsignedDecimal


class TrainingData(Spec):
    """What rows may be like, beside what the champion learned from."""

    data: str = Field(min_length=1, max_length=32, description="Entry of spec.data, for example train.")
    max_missing: Share = Field(
        default=PythonDecimal("0.1"),
        description='Growth of the share of missing values over training. Default: "0.1".',
    )
    max_unseen: Share = Field(
        default=PythonDecimal("0.1"), description='Share of categories that are new. Default: "0.1".'
    )
    max_out_of_range: Share = Field(
        default=PythonDecimal("0.1"), description='Share of numbers out of range. Default: "0.1".'
    )
    max_type_errors: Share = Field(
        default=PythonDecimal("0.01"),
        description='Share of texts in a feature of numbers. Default: "0.01".',
    )
    max_duplicates: Share = Field(
        default=PythonDecimal(1), description="Share of rows that equal another. Default: 1."
    )
    max_distance: UnsignedDecimal | None = Field(
        default=None, description="Greatest PSI against training. Absent: any."
    )
    max_skew: UnsignedDecimal | None = Field(
        default=None,
        description="Greatest PSI against what the champion was asked in the last day. Absent: any; status "
        "tells it.",
    )
    min_rows: int = Field(default=1, ge=1, le=1_000_000_000, description="Default: 1.")
    time_column: Name | None = Field(default=None, description="Column with the time of a row. Absent: none.")
    max_age: PositiveDuration | None = Field(
        default=None, description="Age of the newest row, for example 48h."
    )
    action: Literal["Refuse", "Warn"] = Field(
        default="Refuse",
        description="Refuse: nothing is trained. Warn: it is written down. Default: Refuse.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.timeColumn) == has(self.maxAge)",
            message="set timeColumn and maxAge together",
            holds=lambda it: (it.time_column is None) == (it.max_age is None),
        ),
    )
