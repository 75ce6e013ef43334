"""Which programs are built from which Go modules, with what their own builds set.

A module is a directory under `go/`, whose go.mod and go.sum pin it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from tools.cluster.layout import GO_MODULES

VERSION = "k8s.io/component-base/version"
STRIP = "-s -w"
Joined = tuple[str, tuple[str, ...]]
"""Path of a Go module, and patterns of YAML files in it."""
KWOK_STAGES: Joined = (
    "sigs.k8s.io/kwok",
    tuple(
        f"kustomize/stage/{each}"
        for each in ("node/fast/node-initialize.yaml", "node/heartbeat-with-lease/*.yaml", "pod/fast/*.yaml")
    ),
)
"""KWOK has no built-in behaviour: these are the stages that its own source ships."""
GATEWAY_API: Joined = (
    "github.com/projectcontour/contour",
    ("examples/gateway/00-crds.yaml", "examples/contour/01-crds.yaml"),
)
"""The kinds of the Gateway API, as the gateway that we test with knows them, and that gateway's own."""
ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
ENVOY_GATEWAY_CRDS: Joined = (
    ENVOY_GATEWAY,
    tuple(
        f"charts/gateway-helm/charts/crds/crds/{each}"
        for each in ("gatewayapi-crds.yaml", "generated/*.yaml")
    ),
)
"""The kinds of the Gateway API, as Envoy Gateway knows them, and its own."""
ARGO_CRDS: Joined = ("github.com/argoproj/argo-rollouts", ("manifests/crds/*-crd.yaml",))
"""The kinds of Argo Rollouts, of exactly the controller's version."""

PROMETHEUS_OPERATOR: Joined = (
    "github.com/prometheus-operator/prometheus-operator",
    ("example/prometheus-operator-crd/*.yaml",),
)
"""The kinds of the Prometheus operator, of exactly its version."""
KEDA_CRDS: Joined = ("github.com/kedacore/keda/v2", ("config/crd/bases/*.yaml",))
"""The kinds of KEDA, of exactly its version."""


@dataclass(frozen=True)
class Module:
    """A directory under `go/` with the programs that its `tool` lines name."""

    name: str
    programs: tuple[str, ...]
    minutes: str
    ldflags: str = STRIP
    tags: str = ""
    """Build tags that the program's own build sets."""
    renamed: dict[str, str] = field(default_factory=dict)
    joined: dict[str, Joined] = field(default_factory=dict)
    """Files made of what a Go module ships beside its code."""
    packed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Archives of charts: path of a Go module, and a folder in it."""
    absent: tuple[str, str] | None = None
    """A Go module and a file to embed that it does not ship, since another build makes it: a page in its
    place says so."""
    on_demand: bool = False
    """Built by the test or benchmark that needs it, never by set-up."""

    @property
    def executables(self) -> tuple[str, ...]:
        """What of `programs` can be run."""
        return tuple(each for each in self.programs if each not in self.joined | self.packed)

    @property
    def key(self) -> str:
        """Key of everything that decides what is built."""
        digest = hashlib.sha256((self.ldflags + self.tags).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((GO_MODULES / self.name / name).read_bytes())
        return digest.hexdigest()


MODULES = {
    module.name: module
    for module in (
        Module(
            "kubernetes",
            (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            ),
            "5 minutes",
            f"{STRIP} -X {VERSION}.gitVersion=v1.34.4 -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor=34",
        ),
        Module("etcd", ("etcd",), "1 minute", renamed={"server": "etcd"}),
        Module("coredns", ("coredns",), "2 minutes"),
        Module("local-path", ("local-path-provisioner",), "1 minute"),
        Module("helm", ("helm",), "2 minutes"),
        Module("kwok", ("kwok", "kwok-stages.yaml"), "2 minutes", joined={"kwok-stages.yaml": KWOK_STAGES}),
        Module(
            "contour",
            ("contour", "gateway-api.yaml"),
            "2 minutes",
            joined={"gateway-api.yaml": GATEWAY_API},
            on_demand=True,
        ),
        Module(
            "envoy-gateway",
            ("envoy-gateway", "envoy-gateway-crds.yaml", "envoy-gateway-chart.tgz"),
            "4 minutes",
            joined={"envoy-gateway-crds.yaml": ENVOY_GATEWAY_CRDS},
            packed={"envoy-gateway-chart.tgz": (ENVOY_GATEWAY, "charts/gateway-helm")},
            on_demand=True,
        ),
        Module("fake-gcs-server", ("fake-gcs-server",), "2 minutes", on_demand=True),
        Module(
            "argo-rollouts",
            ("rollouts-controller", "argo-rollouts-crds.yaml"),
            "3 minutes",
            joined={"argo-rollouts-crds.yaml": ARGO_CRDS},
            on_demand=True,
        ),
        Module("prometheus", ("prometheus", "promtool"), "5 minutes", on_demand=True),
        Module(
            "alertmanager",
            ("alertmanager",),
            "2 minutes",
            absent=("github.com/prometheus/alertmanager", "ui/app/dist/index.html"),
            on_demand=True,
        ),
        Module("thanos", ("thanos",), "5 minutes", tags="slicelabels", on_demand=True),
        Module(
            "prometheus-operator",
            ("prometheus-operator", "prometheus-operator-crds.yaml"),
            "3 minutes",
            renamed={"operator": "prometheus-operator"},
            joined={"prometheus-operator-crds.yaml": PROMETHEUS_OPERATOR},
            on_demand=True,
        ),
        Module("mimir", ("mimir",), "8 minutes", tags="netgo,stringlabels", on_demand=True),
        Module("versitygw", ("versitygw",), "2 minutes", on_demand=True),
        Module("metrics-server", ("metrics-server",), "2 minutes", on_demand=True),
        Module(
            "keda",
            ("keda-operator", "keda-adapter", "keda-crds.yaml"),
            "10 minutes",
            renamed={"operator": "keda-operator", "adapter": "keda-adapter"},
            joined={"keda-crds.yaml": KEDA_CRDS},
            on_demand=True,
        ),
    )
}
