"""What the statuses of all kinds share: conditions (kstatus), commands, triggers, metadata.

Comes in: JSON of a status. Goes out: its typed parts. Invariant: every kind carries Ready, Reconciling and
Stalled with `observedGeneration`, so that `kubectl wait`, `helm --wait` and Flux understand it
(`domain.conditions` says when they change).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from noria_operator.api.schema import PRESERVE, ListMap, Status
from noria_operator.api.types import Decimal, Time

MESSAGE_LIMIT: Final = 1024
"""Characters; messages may quote what a container wrote."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Message = Annotated[str, Field(max_length=MESSAGE_LIMIT)]
Text = Annotated[str, Field(max_length=256)]
Metrics = Annotated[dict[str, Decimal], Field(max_length=64)]
"""Metric name → value."""


class Condition(Status):
    """One aspect of the object's state, as in meta/v1."""

    type: str = Field(max_length=64, description="Name of the aspect, for example Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        default="",
        max_length=64,
        description="Why, in one CamelCase word that programs can read, for example GateFailed.",
    )
    message: Message = Field(
        default="", description="Why, for people: the object, the cause and what to do next."
    )
    last_transition_time: Time = Field(
        default=EPOCH, description="When status changed last, for example 2026-01-31T08:00:00Z."
    )
    observed_generation: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="Generation of the spec that the condition was computed from.",
    )


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16, description="Ready, Reconciling, Stalled, and what the kind adds; one of each type."
    ),
    ListMap("type"),
]
ObservedGeneration = Annotated[
    int | None,
    Field(ge=0, le=2**53, description="Generation of the spec that this status was computed from."),
]
Commands = Annotated[
    dict[str, Text],
    Field(max_length=16, description="User commands already carried out: name of the command → its last id."),
]
EarlierCommands = Annotated[
    dict[str, Annotated[list[Text], Field(max_length=10)]],
    Field(max_length=16, description="Their ids before, the newest first; none is carried out again."),
]


class Trigger(Status):
    """Why a TrainingJob was started by a ContinuousTraining."""

    reason: str = Field(
        default="", max_length=64, description="Kind of the trigger, such as Performance, or Manual."
    )
    name: Text = Field(default="", description="Name of the trigger in the ContinuousTraining.")
    value: Text | None = Field(default=None, description="What was measured, for example 0.61.")
    threshold: Text | None = Field(default=None, description="What it was compared with, for example 0.65.")
    interval: Text | None = Field(
        default=None, description="Where the true value lies with 95 %, like 0.58 to 0.64."
    )
    samples: int | None = Field(
        default=None, ge=0, le=2**53, description="Number of labelled rows behind the value."
    )
    at: Time | None = Field(default=None, description="When the decision was made.")
    since: Time | None = Field(
        default=None, description="Since when the loss or drift was known that the run answers."
    )


class Metadata(BaseModel):
    """The part of an object's metadata that Noria reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[dict[str, Any]] = Field(default_factory=list)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # A CRD may say nothing about metadata but its type: the API server checks it by itself.
        return {"type": "object", "description": "Standard object metadata."} | PRESERVE
