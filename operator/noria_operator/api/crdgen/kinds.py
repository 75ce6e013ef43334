"""The four CRDs: what stands around their schemas.

Comes in: the models and this table of columns, selectable fields and subresources. Goes out: CRD objects.
Invariant: an object without a status of its own never reads as ready (a status default says Unknown).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.crdgen.structural import structural_schema
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.trainingjob import TrainingJob

Json = dict[str, Any]

API_VERSION_TEXT: Final = "Version of the API that the object is written in: noria.dev/v1alpha1."
KIND_TEXT: Final = "Kind of the object."


def column(name: str, path: str, *, type_: str = "string", wide: bool = False, text: str = "") -> Json:
    """A printer column; `wide` ones show with -o wide only."""
    result: Json = {"name": name, "type": type_, "jsonPath": path}
    return result | ({"priority": 1} if wide else {}) | ({"description": text} if text else {})


READY: Final = column("Ready", '.status.conditions[?(@.type=="Ready")].status')
REASON: Final = column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True)
MESSAGE: Final = column("Message", ".status.message", wide=True)
AGE: Final = column("Age", ".metadata.creationTimestamp", type_="date")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One kind."""

    model: type[BaseModel]
    columns: tuple[Json, ...]
    selectable: tuple[str, ...]
    phase: str | None = "Pending"
    scale: Json | None = None
    kind: str = field(default="")
    borrowed: tuple[str, ...] = ()
    """Paths below which another kind's fields stand, which that kind's CRD describes in whole."""

    @property
    def plural(self) -> str:
        """Name of the resource, for example trainingjobs."""
        return names.PLURALS[self.model.__name__]


DEFINITIONS: Final = (
    Definition(
        model=TrainingJob,
        columns=(
            column("Model", ".spec.model"),
            column("Phase", ".status.phase"),
            column("Gate", ".status.gates[0].detail", text="How the first gate went."),
            column("Version", ".status.modelVersion", text="ModelVersion that was made."),
            AGE,
            column("Trigger", ".status.trigger.name", wide=True),
            column("Attempts", ".status.attempts", type_="integer", wide=True),
            REASON,
            MESSAGE,
        ),
        selectable=(".spec.model", ".spec.deployment", ".status.phase"),
    ),
    Definition(
        model=ModelVersion,
        columns=(
            column("Model", ".spec.model"),
            column("Stage", ".status.phase"),
            column("Served-By", ".status.servedBy[*]", text="The first ModelDeployment that serves it."),
            column("Format", ".spec.artifact.format"),
            AGE,
            column("Digest", ".spec.artifact.digest", wide=True),
            column("Aliases", ".spec.aliases", wide=True),
            REASON,
            MESSAGE,
        ),
        selectable=(".spec.model", ".status.phase"),
    ),
    Definition(
        model=ModelDeployment,
        columns=(
            column("Model", ".spec.model"),
            column("Stable", ".status.stable.version"),
            column("Canary", ".status.candidate.version"),
            column("Steps-Done", ".status.step.index", type_="integer"),
            column(
                "Weight", ".status.traffic[1].weight", type_="integer", text="Share of the canary in percent."
            ),
            column("Phase", ".status.phase"),
            READY,
            AGE,
            column(
                "Mirror",
                ".status.traffic[1].mirror",
                type_="integer",
                text="Percent of requests whose copies the canary gets.",
                wide=True,
            ),
            column(
                "Match",
                ".status.traffic[1].match[0].name",
                text="The first header that leads requests to the canary.",
                wide=True,
            ),
            REASON,
            column("URL", ".status.url", wide=True),
            MESSAGE,
        ),
        selectable=(".spec.model", ".status.phase"),
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    ),
    Definition(
        model=ContinuousTraining,
        columns=(
            column("Deployment", ".spec.deployment"),
            column("Last-Trigger", ".status.lastTrigger.name"),
            column("Last-Run", ".status.lastTrigger.at", type_="date"),
            column("Active", ".status.active"),
            column("Blocked-By", ".status.blockedBy"),
            column("Next-Eligible", ".status.nextEligibleTime"),
            READY,
            AGE,
            REASON,
            MESSAGE,
        ),
        selectable=(".spec.deployment",),
        phase=None,
        borrowed=("spec.template.spec", "status"),
    ),
)


def crd(definition: Definition) -> Json:
    """The CustomResourceDefinition of one kind."""
    kind, plural = definition.model.__name__, definition.plural
    subresources: Json = {"status": {}} | ({"scale": definition.scale} if definition.scale else {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [names.SHORT_NAMES[kind]],
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": list(definition.columns),
                    "selectableFields": [{"jsonPath": path} for path in definition.selectable],
                    "subresources": subresources,
                    "schema": {"openAPIV3Schema": root_schema(definition)},
                }
            ],
        },
    }


def root_schema(definition: Definition) -> Json:
    """The schema of the whole object, with the metadata that the API server knows by itself."""
    # Metadata is the API server's own: only its type may be stated, so the walk must not look inside.
    schema = structural_schema(definition.model)
    schema["properties"] |= {
        "apiVersion": {"type": "string", "description": API_VERSION_TEXT},
        "kind": {"type": "string", "description": KIND_TEXT},
        # The name is stated so that rules may point at it.
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
    }
    schema["required"] = [name for name in schema["required"] if name != "metadata"]
    schema["properties"]["status"]["default"] = status_default(definition)
    return schema


def status_default(definition: Definition) -> Json:
    """What an object says before the operator saw it: `kubectl wait` and `helm --wait` must wait."""
    waiting = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for the operator",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    return ({"phase": definition.phase} if definition.phase else {}) | {"conditions": [waiting]}
