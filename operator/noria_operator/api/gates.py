"""What a trained model must reach: its evaluation on held-out rows, and the conditions on that.

Comes in: `spec.evaluation` and `spec.gates` as users write them. Goes out: frozen, validated models.
Invariant: a gate asks exactly one thing of one metric.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.schema import ListSet, Rule, Spec
from noria_operator.api.slices import METRICS
from noria_operator.api.types import Decimal, Image, UnsignedDecimal

EvaluationMetric = Literal["auc", "logloss", "accuracy", "calibration", "ece", "rmse", "mae"]
"""What the evaluation can tell of a model; of these each task has its own."""


class Evaluation(Spec):
    """Score challenger and champion on the same held-out rows, by a Job of Noria's own."""

    data: str = Field(
        min_length=1,
        max_length=32,
        description="Name of the entry in spec.data that holds the held-out rows.",
    )
    label: str = Field(
        min_length=1,
        max_length=128,
        description="Column of the held-out rows with the true outcome, for example late.",
    )
    metrics: Annotated[list[EvaluationMetric], Field(max_length=16), ListSet()] = Field(
        default_factory=list,
        description="Metrics to compute besides those the gates name, for example [auc, logloss].",
    )
    image: Image | None = Field(
        default=None,
        description="Image of the Job, made from Noria's server image with more libraries. Absent: that one.",
    )


class Gate(Spec):
    """One condition that the evaluation must meet, else no ModelVersion is made."""

    metric: EvaluationMetric = Field(description="Metric of the evaluation.")
    min: Decimal | None = Field(default=None, description='Least value that passes, for example "0.65".')
    max: Decimal | None = Field(default=None, description='Greatest value that passes, for example "0.2".')
    versus: Literal["champion"] | None = Field(
        default=None,
        description="Compare with the champion on the same rows; passes while there is none yet, fails when "
        "its ModelVersion was deleted.",
    )
    max_drop: UnsignedDecimal | None = Field(
        default=None,
        description='With versus: by how much it may be worse, for example "0.01"; "0": not at all.',
    )
    min_delta: UnsignedDecimal | None = Field(
        default=None, description='With versus: by how much it must be better at least, for example "0.005".'
    )
    by_slice: bool = Field(
        default=False,
        description="true, with maxDrop: it may surely be worse by more in no slice of spec.slices. Default: "
        "false.",
    )
    min_rows: int = Field(
        default=100,
        ge=20,
        le=1_000_000,
        description="With bySlice: rows that a slice needs. Default: 100.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.bySlice) || !self.bySlice || (has(self.maxDrop) && self.metric in "
            + str(list(METRICS))
            + ")",
            message="bySlice goes with versus and maxDrop, and metric " + ", ".join(METRICS),
            field=".bySlice",
            holds=lambda it: not it.by_slice or (it.max_drop is not None and it.metric in METRICS),
        ),
        Rule(
            cel="[has(self.min), has(self.max), has(self.versus)].exists_one(x, x)",
            message="set exactly one of min, max and versus",
            holds=lambda it: [it.min, it.max, it.versus].count(None) == 2,
        ),
        Rule(
            cel="has(self.versus) ? has(self.maxDrop) != has(self.minDelta) "
            ": !has(self.maxDrop) && !has(self.minDelta)",
            message="set exactly one of maxDrop and minDelta with versus, and none without it",
            holds=lambda it: [it.max_drop, it.min_delta].count(None) == (2 if it.versus is None else 1),
        ),
    )
