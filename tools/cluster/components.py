"""The command lines of the control plane: what is run, with which flags and why.

In: where the control plane listens (`Endpoints`) and its directory. Out: `Component`s, ready to be spawned.
The same flags serve the control plane alone (integration tests, no root) and the whole cluster.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.layout import binary

AUDIT_POLICY = Path(__file__).with_name("audit-policy.yaml")
AUDIT_MEGABYTES = 32
"""Size at which the audit log becomes the one old file and the next begins."""
KWOK_WORKERS = 64
"""Pods whose states are written at the same time."""


@dataclass(frozen=True)
class Component:
    """A program of the cluster: its name (also that of its log) and its command line."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Endpoints:
    """Where a control plane listens, and the address ranges that it hands out."""

    address: str
    bind: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    service_cidr: str
    pod_cidr: str

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{self.api_port}"

    @property
    def first_service(self) -> str:
        """Address of the Service `kubernetes.default`: the first one of the range."""
        return self.service_cidr.rsplit(".", 1)[0] + ".1"

    @property
    def api_names(self) -> str:
        """Subject alternative names of the API server's certificate."""
        addresses = dict.fromkeys(["127.0.0.1", self.address, self.first_service])
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        return ",".join([*(f"IP:{a}" for a in addresses), *(f"DNS:{n}" for n in names)])


def etcd(directory: Path, at: Endpoints) -> Component:
    """The store. It never syncs to disk: its data live no longer than the cluster. Ten thousand rollouts
    write more than its usual 2 GiB between two compactions.
    """
    client, peer = f"http://127.0.0.1:{at.etcd_port}", f"http://127.0.0.1:{at.etcd_peer_port}"
    return Component(
        "etcd",
        (
            str(binary("etcd")),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--auto-compaction-retention=5m",
            f"--quota-backend-bytes={8 * 2**30}",
            "--log-level=warn",
        ),
    )


def audit_log(directory: Path) -> Path:
    """Where the API server of a cluster in `directory` writes down what Noria's operator asked it for."""
    return directory / "log" / "audit.log"


def auditing(directory: Path) -> tuple[str, ...]:
    """Flags of an API server that writes that down, which costs something with each of these requests."""
    return (
        f"--audit-policy-file={AUDIT_POLICY}",
        f"--audit-log-path={audit_log(directory)}",
        f"--audit-log-maxsize={AUDIT_MEGABYTES}",
        "--audit-log-maxbackup=1",  # 0 would keep all
    )


def api_server(
    directory: Path, pki: Path, at: Endpoints, *, authorization: str, audit: Sequence[str] = ()
) -> Component:
    """The API server: RBAC always, requests of nobody refused, aggregation on (metrics-server can join).

    Without flags of `auditing` requests of all accounts cost the same, as comparisons of controllers need it.
    """
    requestheader = (
        f"--requestheader-client-ca-file={pki / 'front-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki / 'front.crt'}",
        f"--proxy-client-key-file={pki / 'front.key'}",
        "--enable-aggregator-routing=true",
    )
    kubelets = (
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
    )
    return Component(
        "kube-apiserver",
        (
            str(binary("kube-apiserver")),
            f"--etcd-servers=http://127.0.0.1:{at.etcd_port}",
            f"--advertise-address={at.address}",
            f"--bind-address={at.bind}",
            f"--secure-port={at.api_port}",
            f"--service-cluster-ip-range={at.service_cidr}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--authorization-mode={authorization}",
            "--enable-admission-plugins=NodeRestriction",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--profiling=false",
            *audit,
            *kubelets,
            *requestheader,
        ),
    )


def controller_manager(directory: Path, pki: Path, at: Endpoints, *, nodes: bool) -> Component:
    """The controllers, each with its own service account; the autoscaler decides within seconds."""
    flags = [
        f"--kubeconfig={directory / 'controller-manager.conf'}",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--horizontal-pod-autoscaler-downscale-stabilization=20s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=5s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
    ]
    if nodes:
        flags += [f"--cluster-cidr={at.pod_cidr}", "--node-cidr-mask-size=24", "--allocate-node-cidrs=true"]
    else:
        # Nodes that a test makes have no kubelet: after a minute without its heartbeat, this controller would
        # race the test for the readiness of every new pod.
        flags += ["--controllers=*,-node-lifecycle-controller"]
    return Component("kube-controller-manager", (str(binary("kube-controller-manager")), *flags))


def scheduler(directory: Path) -> Component:
    """The scheduler, alone and therefore without leader election."""
    return Component(
        "kube-scheduler",
        (
            str(binary("kube-scheduler")),
            f"--kubeconfig={directory / 'scheduler.conf'}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ),
    )


def kwok(directory: Path) -> Component:
    """KWOK, the kubelet of nodes labelled `type=kwok`: pods run and finish without containers.

    With its four workers it falls behind thousands of pods: its watch is closed, it lists them all anew, and
    falls behind further.
    """
    # Who states one of these has to state all that have a default.
    options = {
        "cidr": "10.0.0.1/24",
        "nodeIP": "10.0.0.1",
        "nodeLeaseParallelism": 4,
        "nodePlayStageParallelism": 4,
        "podPlayStageParallelism": KWOK_WORKERS,
    }
    config = {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options}
    (directory / "kwok.json").write_text(json.dumps(config))
    return Component(
        "kwok",
        (
            str(binary("kwok")),
            f"--kubeconfig={directory / 'admin.conf'}",
            f"--config={binary('kwok-stages.yaml')}",
            f"--config={directory / 'kwok.json'}",
            "--manage-nodes-with-label-selector=type=kwok",
            "--node-lease-duration-seconds=40",
            "--server-address=",
        ),
    )
