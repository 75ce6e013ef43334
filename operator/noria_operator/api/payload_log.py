"""What a model server writes down of its requests, answers and labels.

Comes in: `spec.server.payloadLog` of a ModelDeployment. Goes out: a frozen, validated model. Invariant: it is
part of the revision, so rows of one version are written, and left out, in one way.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from noria_operator.api.locations import StoreLocation
from noria_operator.api.schema import ListSet, Spec
from noria_operator.api.types import HOUR_AT_MOST, Duration, ObjectName, Probability

FeatureName = Annotated[str, Field(min_length=1, max_length=256)]


class PayloadLog(Spec):
    """Rows, answers and labels as Parquet files; nobody waits for them, and what does not fit is dropped."""

    uri: StoreLocation = Field(
        description="Where files go, for example s3://lake/payloads, or a claim that all pods can write to."
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret of the same namespace with the keys of the store. Absent: none.",
    )
    sample: Probability | None = Field(
        default=None,
        description='Share of requests that are written, for example "0.01". Absent: all.',
    )
    redact: Annotated[list[FeatureName], Field(max_length=256), ListSet()] = Field(
        default_factory=list,
        description="Features, embeddings, outputs or id to leave out; an unknown name is an error.",
    )
    every: Annotated[Duration, HOUR_AT_MOST] = Field(
        default=timedelta(minutes=1),
        description="Longest time that rows wait for a file, from 1s to 1h. Default: 1m.",
    )
