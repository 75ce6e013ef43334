"""The node: configuration and command lines of its runtime, kubelet, proxy, DNS, storage and registry.

In: a slot. Out: files under its run directory and `Component`s that read them. Flags that differ from the
defaults say why; most make one machine hold several clusters without their meeting.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from tools.cluster import toolbox
from tools.cluster.components import Component
from tools.cluster.layout import binary, cache
from tools.cluster.process import write_atomically
from tools.cluster.slots import NODE, REGISTRY, Slot

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
STORAGE_NAMESPACE = "local-path-storage"


def write_files(slot: Slot) -> None:
    """Write every configuration file of the node."""
    run = slot.run
    write_atomically(run / "containerd.toml", _containerd(slot))
    write_atomically(run / "cleaner.toml", _containerd(slot, cri=False))
    _json(run / "cni" / "10-bridge.conflist", _network(slot))
    _json(run / "kubelet.json", _kubelet(slot))
    _json(run / "proxy.json", _proxy(slot))
    _json(run / "registry.json", _registry())
    _json(run / "storage.json", _storage(slot))
    _json(run / "helper-pod.json", _helper_pod())
    write_atomically(run / "Corefile", _corefile(slot))
    write_atomically(run / "resolv.conf", f"nameserver {slot.node_address}\n")


def containerd(slot: Slot, *, config: str = "containerd.toml") -> Component:
    """The container runtime; its images stay in the slot's directory between runs."""
    return Component("containerd", ("containerd", f"--config={slot.run / config}"))


def registry(slot: Slot) -> Component:
    """An OCI registry on the node's loopback, where containerd takes plain HTTP for granted."""
    return Component("registry", ("docker-registry", "serve", str(slot.run / "registry.json")))


def kubelet(slot: Slot) -> Component:
    """The kubelet of the only node."""
    return Component(
        "kubelet",
        (
            str(binary("kubelet")),
            f"--config={slot.run / 'kubelet.json'}",
            f"--kubeconfig={slot.run / 'node.conf'}",
            f"--hostname-override={NODE}",
            f"--node-ip={slot.node_address}",
            f"--root-dir={slot.run / 'kubelet'}",
            f"--cert-dir={slot.run / 'kubelet' / 'pki'}",
            "--register-node=true",
        ),
    )


def proxy(slot: Slot) -> Component:
    """kube-proxy, on the iptables of the cluster's own network namespace."""
    return Component("kube-proxy", (str(binary("kube-proxy")), f"--config={slot.run / 'proxy.json'}"))


def dns(slot: Slot) -> Component:
    """CoreDNS on the node's address."""
    return Component("coredns", (str(binary("coredns")), "-conf", str(slot.run / "Corefile")))


def storage(slot: Slot) -> Component:
    """The provisioner of the default StorageClass: directories of the node, made by short helper pods."""
    return Component(
        "local-path-provisioner",
        (
            str(binary("local-path-provisioner")),
            "start",
            f"--kubeconfig={slot.run / 'storage.conf'}",
            f"--config={slot.run / 'storage.json'}",
            f"--helper-pod-file={slot.run / 'helper-pod.json'}",
            f"--helper-image={toolbox.image()}",
            f"--namespace={STORAGE_NAMESPACE}",
            "--configmap-name=local-path-config",
            "--service-account-name=default",
        ),
    )


def _json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1))


def _containerd(slot: Slot, *, cri: bool = True) -> str:
    """Without `restrict_oom_score_adj` no pod starts where CAP_SYS_RESOURCE is missing."""
    plugins = textwrap.dedent(
        f"""
        [plugins."io.containerd.grpc.v1.cri"]
          restrict_oom_score_adj = true
          netns_mounts_under_state_dir = true
          sandbox_image = "{toolbox.image()}"
          max_concurrent_downloads = 6
          [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "/usr/lib/cni"
            conf_dir = "{slot.run / "cni"}"
        """
    )
    head = textwrap.dedent(
        f"""
        version = 2
        root = "{slot.directory / "containerd"}"
        state = "/run/containerd/state"
        disabled_plugins = [{"" if cri else '"io.containerd.grpc.v1.cri"'}]
        [grpc]
          address = "{CONTAINERD_SOCKET}"
        [plugins."io.containerd.internal.v1.opt"]
          path = "{slot.run / "opt"}"
        """
    )
    return head + (plugins if cri else "")


def _network(slot: Slot) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": str(slot.run / "ipam"),
        "ranges": [[{"subnet": slot.endpoints.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": slot.name, "plugins": [{**bridge, "ipam": ipam}, portmap]}


def _kubelet(slot: Slot) -> dict[str, Any]:
    """Two kubelets on one cgroup root would kill each other's pods.

    No image is ever collected: the pause image would go first, and containerd 1.6 cannot pin it.
    """
    pki = slot.directory / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{slot.name}",
        "clusterDNS": [slot.node_address],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "tlsCertFile": str(pki / "node.crt"),
        "tlsPrivateKeyFile": str(pki / "node.key"),
        "resolvConf": str(slot.run / "resolv.conf"),
        "podLogsDir": str(slot.run / "podlogs"),
        "volumePluginDir": str(slot.run / "volumeplugins"),
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "shutdownGracePeriod": "0s",
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
    }


def _proxy(slot: Slot) -> dict[str, Any]:
    """Connection tracking limits belong to the machine: they stay as they are."""
    untouched = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(slot.run / "proxy.conf")},
        "clusterCIDR": slot.endpoints.pod_cidr,
        "mode": "iptables",
        "hostnameOverride": NODE,
        "conntrack": untouched,
        "iptables": {"minSyncPeriod": "100ms"},
    }


def _registry() -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "warn"},
        # No cache of descriptors: what is taken out of the directory because it is damaged must be gone.
        "storage": {"filesystem": {"rootdirectory": str(cache() / "registry")}},
        "http": {"addr": REGISTRY},
    }


def _storage(slot: Slot) -> dict[str, Any]:
    paths = {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(slot.run / "volumes")]}
    return {"nodePathMap": [paths]}


def _helper_pod() -> dict[str, Any]:
    container = {"name": "helper-pod", "image": toolbox.image(), "imagePullPolicy": "IfNotPresent"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {"priorityClassName": "system-node-critical", "containers": [container]},
    }


def _corefile(slot: Slot) -> str:
    """Names outside the cluster fail at once instead of waiting for a server that cannot be reached."""
    return textwrap.dedent(
        f"""
        cluster.local in-addr.arpa ip6.arpa {{
          bind {slot.node_address}
          errors
          ready {slot.node_address}:8181
          kubernetes cluster.local in-addr.arpa ip6.arpa {{
            kubeconfig {slot.run / "dns.conf"} noria
            pods insecure
            ttl 5
          }}
          cache 5
        }}
        . {{
          bind {slot.node_address}
          errors
          template ANY ANY {{
            rcode NXDOMAIN
          }}
        }}
        """
    ).lstrip()
