"""Triggers that look at what a model sees rather than at labels: drift and broken data.

Comes in: part of a ContinuousTraining. Goes out: frozen, validated models. Invariant: what a trigger may cost
in false alarms is said as a number a month; the level of each test follows from it.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as PythonDecimal
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from noria_operator.api.schema import ListSet, Rule, Spec
from noria_operator.api.types import PositiveDuration, Probability, Share, UnsignedDecimal

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Features = Annotated[list[Name], Field(max_length=64), ListSet()]
Samples = Annotated[int, Field(ge=50, le=1_000_000_000)]
Alarms = Annotated[
    UnsignedDecimal,
    Rule(cel="double(self) > 0.0", message='must be more than 0, like "0.01"', holds=lambda value: value > 0),
]
Measure = Literal[
    "psi",
    "jensenShannon",
    "jensenShannonDistance",
    "ks",
    "wasserstein",
    "lInfinity",
    "hellinger",
    "chiSquared",
]
THRESHOLDS: Final[dict[Measure, float]] = {
    "psi": 0.2,
    "jensenShannon": 0.036,
    "jensenShannonDistance": 0.19,
    "ks": 0.18,
    "wasserstein": 0.46,
    "lInfinity": 0.105,
    "hellinger": 0.16,
    "chiSquared": 0.21,
}
"""Where none is given: what a normal distribution has that moves by 0.46 standard deviations, in ten bins."""


class Drift(Spec):
    """Features or predictions are distributed unlike what the version was trained on."""

    measure: Measure = Field(
        default="psi",
        description="Distance: psi (nats), jensenShannon (bits), jensenShannonDistance (its root), ks, "
        "wasserstein (standard deviations of the reference), lInfinity, hellinger or chiSquared (by rows). "
        "Default: psi.",
    )
    threshold: UnsignedDecimal | None = Field(
        default=None,
        description="Distance above which a difference matters. Absent: psi 0.2, and what a normal "
        "distribution has that moved as far: jensenShannon 0.036, jensenShannonDistance 0.19, ks 0.18, "
        "wasserstein 0.46, lInfinity 0.105, hellinger 0.16, chiSquared 0.21.",
    )
    share: Probability = Field(
        default=PythonDecimal("0.3"),
        description='Share of the features that must drift; one at least. Default: "0.3".',
    )
    features: Features = Field(default_factory=list, description="Only these features. Empty: all.")
    predictions: bool = Field(
        default=True, description="Whether drift of the predictions alone is enough. Default: true."
    )
    min_samples: Samples = Field(
        default=200,
        description="Rows that a window needs, and values that a column needs to be judged. Default: 200.",
    )
    window: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="A window closes when this time has passed and minSamples is "
        "reached. Windows do not overlap. Default: 1h.",
    )
    for_: int = Field(
        default=2,
        alias="for",
        ge=1,
        le=8,
        description="Windows of the last `of` in which a column must stand out. Default: 2.",
    )
    of: int = Field(default=3, ge=1, le=8, description="How many windows are looked at. Default: 3.")
    false_alarms_per_month: Alarms = Field(
        default=PythonDecimal("0.01"),
        description='False alarms a month that may come where nothing changes. Default: "0.01".',
    )
    correction: Literal["Bonferroni", "BenjaminiHochberg"] = Field(
        default="Bonferroni",
        description="How columns share the false alarms; BenjaminiHochberg finds more where many drift. "
        "Default: Bonferroni.",
    )
    compare_with: Literal["Reference", "PreviousWindow", "SameHour"] = Field(
        default="Reference",
        description="Reference: what the version was trained on. PreviousWindow: the window before, which "
        "shows sudden changes (for: 1); it needs features. SameHour: the same time of the four weeks before, "
        "where counts come from a Prometheus that remembers them. Default: Reference.",
    )
    rules: ClassVar = (
        Rule(
            cel="(has(self.for) ? self.for : 2) <= (has(self.of) ? self.of : 3)",
            message="for must not be more than of",
            field=".for",
            holds=lambda it: it.for_ <= it.of,
        ),
        Rule(
            cel="!has(self.compareWith) || self.compareWith != 'PreviousWindow' || "
            "(has(self.features) && size(self.features) > 0)",
            message="compareWith PreviousWindow needs features: their counts are kept in status",
            field=".features",
            holds=lambda it: it.compare_with != "PreviousWindow" or bool(it.features),
        ),
    )


class DataQuality(Spec):
    """Data is broken: values are missing, unseen or out of range more often than in training, or rows and
    labels do not come as they use to.
    """

    max_missing: Share = Field(
        default=PythonDecimal("0.1"),
        description="Tolerated growth of a column's share of missing values over training; 1 checks "
        'nothing. Default: "0.1".',
    )
    max_unseen: Share = Field(
        default=PythonDecimal("0.1"),
        description="Tolerated share of categories that training did not know; 1 checks nothing. "
        'Default: "0.1".',
    )
    max_out_of_range: Share = Field(
        default=PythonDecimal("0.1"),
        description="Tolerated share of numbers outside the range of training; 1 checks nothing. "
        'Default: "0.1".',
    )
    max_duplicates: Share = Field(
        default=PythonDecimal(1),
        description="Tolerated share of rows that equal one that a pod was asked shortly before; 1 checks "
        "nothing. Default: 1.",
    )
    features: Features = Field(default_factory=list, description="Only these features. Empty: all.")
    min_samples: Samples = Field(
        default=200, description="Rows that a window and a column need to be judged. Default: 200."
    )
    min_rows: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Fewer rows in a window are a violation. Default: 0, any.",
    )
    max_rows: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="More rows in a window are a violation. Absent: any.",
    )
    max_volume_change: Probability | None = Field(
        default=None,
        description='Tolerated share of the rows usual in this hour of the week that is missing, like "0.5"; '
        "as many times more count, too. Absent: any.",
    )
    max_age: PositiveDuration | None = Field(
        default=None, description="No row for so long is a violation, like 1h. Absent: any."
    )
    max_label_age: PositiveDuration | None = Field(
        default=None, description="The same of labels, like 48h. Absent: any."
    )
    window: PositiveDuration = Field(
        default=timedelta(minutes=15),
        description="Length of a window; one with fewer rows than minSamples stays open, unless minRows, "
        "maxVolumeChange, maxAge or maxLabelAge is set. Default: 15m.",
    )
    for_: int = Field(
        default=1,
        alias="for",
        ge=1,
        le=100,
        description="Windows in a row that must show a violation. Default: 1.",
    )
    false_alarms_per_month: Alarms = Field(
        default=PythonDecimal("0.01"),
        description="False alarms a month that may come where every share is just what is tolerated. "
        'Default: "0.01".',
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.minRows) || !has(self.maxRows) || self.minRows <= self.maxRows",
            message="minRows must not be more than maxRows",
            field=".minRows",
            holds=lambda it: it.max_rows is None or it.min_rows <= it.max_rows,
        ),
    )


class Fairness(Spec):
    """A binary classifier treats groups differently: more than tolerated, and more than noise explains."""

    feature: Name = Field(description="Column of template.spec.slices whose groups are compared.")
    max_parity_difference: Share | None = Field(
        default=None,
        description="Tolerated difference between groups in the share of rows predicted positive, like "
        '"0.1".',
    )
    min_parity_ratio: Share | None = Field(
        default=None, description='Least ratio of these shares, like "0.8".'
    )
    max_opportunity_difference: Share | None = Field(
        default=None,
        description="Tolerated difference in the share of positive labels predicted positive.",
    )
    max_odds_difference: Share | None = Field(
        default=None, description="The same of positive and of negative labels: the larger difference."
    )
    min_samples: Samples = Field(
        default=200,
        description="Rows (labels) that a group needs; a window waits until two groups have them for each "
        "bound. Default: 200.",
    )
    window: PositiveDuration = Field(
        default=timedelta(hours=24), description="Least length of a window. Default: 24h."
    )
    for_: int = Field(
        default=1, alias="for", ge=1, le=100, description="Windows in a row that must show it. Default: 1."
    )
    false_alarms_per_month: Alarms = Field(
        default=PythonDecimal("0.01"),
        description='As of drift. Default: "0.01".',
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.maxParityDifference) || has(self.minParityRatio) || "
            "has(self.maxOpportunityDifference) || has(self.maxOddsDifference)",
            message="set at least one bound, like maxParityDifference",
            holds=lambda it: bool(it.bounds),
        ),
    )

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are set, by fairlearn's name of what they bound."""
        each = {
            "demographicParityDifference": self.max_parity_difference,
            "demographicParityRatio": self.min_parity_ratio,
            "equalOpportunityDifference": self.max_opportunity_difference,
            "equalizedOddsDifference": self.max_odds_difference,
        }
        return {name: float(value) for name, value in each.items() if value is not None}
