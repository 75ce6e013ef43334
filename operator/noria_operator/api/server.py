"""What answers requests in each pod of a version: `server` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: a container of the user's own gets no
field that only Noria's model server knows.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.payload_log import PayloadLog
from noria_operator.api.pods import PodFields
from noria_operator.api.schema import ListSet, Rule, Spec
from noria_operator.api.types import Argument, Image


class WarmUp(Spec):
    """Predictions of the bundle's golden rows before a pod is ready."""

    rows: Annotated[
        list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=16), ListSet()
    ] = Field(description="Sizes of batches that are predicted, for example [1, 64].")
    calls: int = Field(default=3, ge=1, le=1000, description="How often each is predicted. Default: 3.")


class Server(PodFields):
    """What answers requests in each pod of a version."""

    runtime: Literal["noria", "custom"] = Field(
        default="noria",
        description="noria: Noria's own model server. custom: a container of yours that speaks HTTP. "
        "Default: noria.",
    )
    image: Image | None = Field(
        default=None,
        description="Container image; required with custom. Absent: the operator's server image.",
    )
    command: Annotated[list[Argument], Field(max_length=32)] = Field(
        default_factory=list,
        description="With custom: command in exec form, no shell. Absent: the image's own.",
    )
    args: Annotated[list[Argument], Field(max_length=128)] = Field(
        default_factory=list, description="With custom: arguments in exec form. Absent: the image's own."
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        description="Port of the container that takes requests; noria always uses 8080. Default: 8080.",
    )
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port that takes gRPC without TLS. 0: none. Absent: 8082 of noria, none of custom.",
    )
    health_path: str = Field(
        default="/v2/health/ready",
        min_length=1,
        max_length=256,
        pattern=r"^/[A-Za-z0-9._~/-]*$",
        description="Path that answers 200 once it can take requests. Default: /v2/health/ready.",
    )
    termination_seconds: int | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="Seconds that a pod gets to finish its requests when it stops, at least 28. Absent: 60.",
    )
    payload_log: PayloadLog | None = Field(
        default=None,
        description="Write requests, answers and labels down, for audits and training. Absent: nothing is.",
    )
    warm_up: WarmUp | None = Field(
        default=None,
        description="Predictions before a pod is ready. Absent: the golden rows alone, twice.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.runtime) || self.runtime != 'custom' || "
            "!(has(self.warmUp) || has(self.payloadLog))",
            message="warmUp and payloadLog are for runtime: noria only; leave them out",
            reason="FieldValueForbidden",
            holds=lambda it: it.runtime != "custom" or (it.warm_up or it.payload_log) is None,
        ),
        Rule(
            cel="!has(self.runtime) || self.runtime != 'custom' || has(self.image)",
            message="runtime: custom needs an image",
            field=".image",
            reason="FieldValueRequired",
            holds=lambda it: it.runtime != "custom" or it.image is not None,
        ),
        Rule(
            cel="(has(self.runtime) && self.runtime == 'custom') || ((!has(self.command) || "
            "size(self.command) == 0)"
            " && (!has(self.args) || size(self.args) == 0) && (!has(self.port) || self.port == 8080))",
            message="command, args and port are for runtime: custom only; leave them out",
            reason="FieldValueForbidden",
            holds=lambda it: it.runtime == "custom" or (not it.command and not it.args and it.port == 8080),
        ),
        Rule(
            cel="!has(self.grpcPort) || self.grpcPort == 0 || (has(self.runtime) && "
            "self.runtime == 'custom' && self.grpcPort != (has(self.port) ? self.port : 8080))",
            message="grpcPort must be 0 with runtime: noria, and another than port with custom",
            field=".grpcPort",
            reason="FieldValueInvalid",
            holds=lambda it: not it.grpc_port or (it.runtime == "custom" and it.grpc_port != it.port),
        ),
    )
