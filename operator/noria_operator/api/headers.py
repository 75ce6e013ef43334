"""A header that leads requests to a version: part of a step, and of an arm of an experiment.

Comes in: JSON. Goes out: a frozen, validated model. Invariant: name and value are what HTTP allows.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noria_operator.api.schema import Spec
from noria_operator.api.types import HeaderName


class Header(Spec):
    """A header, or metadata of a gRPC call."""

    name: HeaderName = Field(description="Name of the header; case does not matter. Example: x-canary.")
    value: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[ -~]*$")] = Field(
        description="Its exact value. Example: always."
    )
