"""How a rejected version is tried again by itself: `spec.strategy.retry` of a ModelDeployment."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from noria_operator.api.schema import Spec
from noria_operator.api.types import PositiveDuration


class Retry(Spec):
    """Try a rejected version again by itself, each time after twice as long."""

    limit: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often, after the first try; then it waits for noria.dev/retry. Default: 3.",
    )
    delay: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="From the rejection to the first retry, doubled for each further one, up to a day. "
        "Default: 10m.",
    )
