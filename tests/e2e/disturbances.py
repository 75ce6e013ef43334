"""What goes wrong in a cluster, on purpose: operators that are away or killed, routers that are replaced.

Comes in: the cluster's namespaces. Goes out: nothing, as soon as everything is back. Invariant: each returns
when the cluster says that what it did is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.e2e.kube import Json, Kube
from tools.cluster import slots
from tools.cluster.process import Identity, wait_for

OPERATOR, SYSTEM = "noria-operator", "noria-system"
OPERATORS = "app.kubernetes.io/name=noria"
"""Label of the operator's pods."""
ROUTERS = "noria.dev/router=true"
"""Label of the router's pods."""
PROXY_PORT, PROXY_SECONDS = 10_256, 30.0


def kill_leader(kube: Kube) -> None:
    """Kill the operator's pod that holds the lease, without any grace."""
    system = kube.at(SYSTEM)
    system.delete("Pod", _leader(system), grace=0)


def kill_operators(kube: Kube) -> None:
    """All of them at once and without any grace; their successors take the lease over."""
    system = kube.at(SYSTEM)
    old = _operators(system)
    for pod in old:
        system.delete("Pod", pod["metadata"]["name"], grace=0)
    for pod in old:
        system.until_gone("Pod", pod["metadata"]["name"])
    system.until("Deployment", OPERATOR, lambda it: it["status"].get("readyReplicas") == len(old))


@contextmanager
def operator_away(kube: Kube) -> Iterator[None]:
    """Nobody decides anything meanwhile."""
    system = kube.at(SYSTEM)
    old = _operators(system)
    system.scale("Deployment", OPERATOR, 0)
    for pod in old:
        system.until_gone("Pod", pod["metadata"]["name"])
    try:
        yield
    finally:
        system.scale("Deployment", OPERATOR, len(old))
        system.until("Deployment", OPERATOR, lambda it: it["status"].get("readyReplicas") == len(old))


@contextmanager
def nobody_leads(kube: Kube) -> Iterator[None]:
    """Operators follow meanwhile: they answer routers and write nothing."""
    system = kube.at(SYSTEM)
    leader = _leader(system)
    pod = system.get("Pod", leader)
    assert pod is not None
    held = {"holderIdentity": "e2e", "leaseDurationSeconds": 3600}
    system.merge("Lease", OPERATOR, {"spec": held})
    system.until("Pod", leader, lambda it: _restarts(it) > _restarts(pod))
    system.until(
        "Deployment", OPERATOR, lambda it: it["status"].get("readyReplicas") == it["spec"]["replicas"]
    )
    try:
        yield
    finally:
        system.merge("Lease", OPERATOR, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})


@contextmanager
def no_new_pods(kube: Kube) -> Iterator[None]:
    """A pod that is lost in the namespace has no successor meanwhile."""
    name = "no-new-pods"
    kube.apply({"kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {"pods": "0"}}})
    kube.until("ResourceQuota", name, lambda it: "hard" in it.get("status", {}))
    try:
        yield
    finally:
        kube.delete("ResourceQuota", name)


def replace_routers(kube: Kube) -> None:
    """Delete the pods of Noria's router one by one, each when all of them are ready again."""
    for pod in kube.list("Pod", ROUTERS):
        kube.delete("Pod", pod["metadata"]["name"])
        kube.until_gone("Pod", pod["metadata"]["name"])
        kube.until("Deployment", "noria-router", lambda it: it["status"].get("readyReplicas") == 2)


def restart_proxy() -> None:
    """Kill the kube-proxy of the local cluster's only node; it is started again, and has synced then."""
    slot = slots.mine()
    assert slot is not None, "only processes of the local cluster are ours to kill"
    config = f"--config={slot.run / 'proxy.json'}"
    old = _process(config)
    assert old is not None, config
    old.end()
    assert wait_for(lambda: _process(config) not in (None, old), PROXY_SECONDS)
    url = f"http://{slot.node_address}:{PROXY_PORT}/healthz"
    assert wait_for(lambda: _answers(url), PROXY_SECONDS), url


def _leader(system: Kube) -> str:
    """Name of its pod."""
    lease = system.get("Lease", OPERATOR)
    assert lease is not None
    return str(lease["spec"]["holderIdentity"].split("_")[0])


def _restarts(pod: Json) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))


def _operators(system: Kube) -> list[Json]:
    return system.list("Pod", OPERATORS)


def _process(argument: str) -> Identity | None:
    """The process that was started with this argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            given = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended
            continue
        if argument in given:
            return Identity.of(int(path.parent.name))
    return None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
