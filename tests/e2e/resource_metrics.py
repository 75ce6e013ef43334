"""What pods use, for autoscalers: the real metrics-server, on the host's address of the cluster's link.

Comes in: a cluster that this checkout runs. Goes out: nothing; while the context lasts the API server answers
for `metrics.k8s.io`. Invariant: the process lives as long as the context, and nothing of it stays.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kube import Json, Kube
from tools.cluster import binaries, slots
from tools.cluster.layout import binary
from tools.ports import free_port

NAME = "metrics-server"
API = "v1beta1.metrics.k8s.io"


@contextmanager
def resource_metrics(kube: Kube) -> Iterator[None]:
    """Metrics of the cluster's pods, at most ten seconds old."""
    slot = slots.mine()
    assert slot is not None, "metrics-server stands beside the local cluster; run without NORIA_KUBECONFIG"
    binaries.ensure(NAME)
    system, port = kube.at("kube-system"), free_port(slot.host_address)
    objects = (_service(), _endpoints(slot.host_address, port), _api())
    who = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    with tempfile.TemporaryDirectory() as certificates:
        command = [
            str(binary(NAME)),
            *(f"--{name}={slot.kubeconfig}" for name in who),
            f"--bind-address={slot.host_address}",
            f"--secure-port={port}",
            f"--cert-dir={certificates}",
            f"--kubelet-certificate-authority={slot.directory / 'pki' / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",  # below the resolution, or it ends at once
        ]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
            try:
                for body in objects:
                    system.apply(body)
                system.until("APIService", API, _available)
                yield
            finally:
                for body in reversed(objects):  # the API first: one that nobody answers breaks discovery
                    system.delete(body["kind"], body["metadata"]["name"])
                process.kill()


def _available(found: Json) -> bool:
    conditions = found.get("status", {}).get("conditions", ())
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


def _service() -> Json:
    """Without a selector: the process is no pod."""
    return {
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"ports": [{"name": "https", "port": 443}]},
    }


def _endpoints(address: str, port: int) -> Json:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "https", "port": port}],
    }


def _api() -> Json:
    return {
        "kind": "APIService",
        "metadata": {"name": API},
        "spec": {
            "service": {"name": NAME, "namespace": "kube-system"},
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
