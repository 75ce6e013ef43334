"""The pod fields that users may set: named, bounded fields instead of an embedded PodTemplateSpec.

Comes in: what TrainingJob.spec and ModelDeployment.spec.server say. Goes out: typed fields that the domain
copies into pods. Invariant: nothing here can weaken a pod's security (no hostPath, host namespaces,
privileges or capabilities) or name an object of another namespace.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from noria_operator.api.schema import PRESERVE, ListMap, Rule, Spec
from noria_operator.api.types import (
    QUALIFIED_KEYS,
    Argument,
    DnsLabel,
    LabelValue,
    ObjectName,
    QualifiedName,
    Quantity,
)

RESERVED_ENV_PREFIXES: Final = ("NORIA_", "PARAM_", "KUBERNETES_")
RESERVED_ENV_NAMES: Final = ("PATH", "LD_PRELOAD", "PYTHONPATH")


class EnvVar(Spec):
    """One environment variable with a literal value."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="Name of the variable, for example OMP_NUM_THREADS.",
        ),
        Rule(
            cel="!self.matches('^(NORIA_|PARAM_|KUBERNETES_)') && "
            "!(self in ['PATH', 'LD_PRELOAD', 'PYTHONPATH'])",
            message="is reserved: choose a name other than PATH, LD_PRELOAD, PYTHONPATH and without the "
            "prefixes "
            "NORIA_, PARAM_ and KUBERNETES_",
            holds=lambda name: not name.startswith(RESERVED_ENV_PREFIXES) and name not in RESERVED_ENV_NAMES,
            reason="FieldValueForbidden",
        ),
    ]
    value: Argument = Field(
        default="", description="Value of the variable. Secrets belong in envFrom. Default: empty."
    )


class LocalReference(Spec):
    """An object of the same namespace."""

    name: ObjectName = Field(description="Name of the object, in the same namespace.")


class EnvSource(Spec):
    """All keys of a Secret or of a ConfigMap as environment variables."""

    rules: ClassVar = (
        Rule(
            cel="has(self.secretRef) != has(self.configMapRef)",
            message="set exactly one of secretRef and configMapRef",
            holds=lambda it: (it.secret_ref is None) != (it.config_map_ref is None),
        ),
    )
    secret_ref: LocalReference | None = Field(default=None, description="A Secret of the same namespace.")
    config_map_ref: LocalReference | None = Field(
        default=None, description="A ConfigMap of the same namespace."
    )


Quantities = Annotated[dict[str, Quantity], Field(max_length=16), QUALIFIED_KEYS]


class Resources(Spec):
    """Compute resources of the container, as in core/v1."""

    requests: Quantities = Field(
        default_factory=dict,
        description="What the scheduler reserves, for example {cpu: 500m, memory: 1Gi}. Default: nothing.",
    )
    limits: Quantities = Field(
        default_factory=dict,
        description="The most it may use, for example {memory: 2Gi, nvidia.com/gpu: 1}. Default: no limit.",
    )


class Toleration(Spec):
    """A taint that the pod tolerates, as in core/v1."""

    key: QualifiedName | None = Field(default=None, description="Key of the taint. Absent: every taint.")
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists or Equal. Default: Equal."
    )
    value: LabelValue = Field(default="", description="Value of the taint, with Equal. Default: empty.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="NoSchedule, PreferNoSchedule or NoExecute. Absent: every effect."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds that the pod stays after a NoExecute taint; 0: none. Absent: for ever.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="an empty key needs operator: Exists",
            holds=lambda it: it.key is not None or it.operator == "Exists",
            reason="FieldValueRequired",
        ),
        Rule(
            cel="!has(self.value) || self.value == '' || !has(self.operator) || self.operator == 'Equal'",
            message="value goes with operator: Equal only; leave it out",
            holds=lambda it: it.value == "" or it.operator == "Equal",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds goes with effect: NoExecute only",
            holds=lambda it: it.toleration_seconds is None or it.effect == "NoExecute",
        ),
    )


class TopologySpread(Spec):
    """How pods are spread over zones or nodes; the selector is Noria's."""

    max_skew: int = Field(
        ge=1, le=1000, description="By how many pods two domains may differ at most, for example 1."
    )
    topology_key: QualifiedName = Field(
        description="Node label that names the domain, for example topology.kubernetes.io/zone."
    )
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        default="ScheduleAnyway", description="DoNotSchedule or ScheduleAnyway. Default: ScheduleAnyway."
    )


class Affinity(Spec):
    """Node and pod affinity; each part has the shape of core/v1 and is checked when the pod is made."""

    node_affinity: dict[str, Any] | None = Field(
        default=None, description="As pod.spec.affinity.nodeAffinity.", json_schema_extra=PRESERVE
    )
    pod_affinity: dict[str, Any] | None = Field(
        default=None, description="As pod.spec.affinity.podAffinity.", json_schema_extra=PRESERVE
    )
    pod_anti_affinity: dict[str, Any] | None = Field(
        default=None, description="As pod.spec.affinity.podAntiAffinity.", json_schema_extra=PRESERVE
    )


class PodFields(Spec):
    """What a user may say about the pods that run their image."""

    env: Annotated[list[EnvVar], Field(max_length=64), ListMap("name")] = Field(
        default_factory=list,
        description="Environment variables with literal values; Noria's own names are reserved.",
    )
    env_from: Annotated[list[EnvSource], Field(max_length=16)] = Field(
        default_factory=list,
        description="Secrets and ConfigMaps whose keys become environment variables.",
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="CPU, memory and devices, for example {requests: {cpu: 500m}}.",
    )
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32), QUALIFIED_KEYS] = Field(
        default_factory=dict, description="Labels that a node must have, for example {disktype: ssd}."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(
        default_factory=list, description="Taints that the pods tolerate."
    )
    affinity: Affinity | None = Field(
        default=None, description="Which nodes and pods to be near to or far from."
    )
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=8)] = Field(
        default_factory=list, description="How the pods are spread over zones or nodes."
    )
    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list, description="Secrets of the same namespace with registry credentials."
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount of the pods, which the author must be allowed to use. Absent: the "
        "default, whose token is not mounted.",
    )
    priority_class_name: DnsLabel | None = Field(
        default=None, description="PriorityClass of the pods. Absent: the cluster's default."
    )
