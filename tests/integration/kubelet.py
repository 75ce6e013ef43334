"""The kubelet, played by the test: pods run, become ready or end with a termination message.

Pods that serve need a node, since EndpointSlices leave out pods without one. Nobody misses its heartbeat: the
control plane without nodes runs no node-lifecycle controller.
"""

from __future__ import annotations

from dataclasses import replace

from noria_operator.kube import requests
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import NODE, POD, Json, Kind

BINDING = Kind("", "v1", "bindings", "Binding")

_STARTED = "2026-01-01T00:00:00Z"


async def pods_of(client: Client, namespace: str, job: str) -> list[Json]:
    """The pods that the Job controller made for this Job."""
    return await client.list(POD, namespace, labels={"batch.kubernetes.io/job-name": job})


async def finish(client: Client, pod: Json, *, message: str = "", exit_code: int = 0) -> None:
    """Let the pod's containers end with this exit code, the first one with this termination message."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    ended = [
        {
            "name": name,
            "image": "none",
            "imageID": "none",
            "ready": False,
            "restartCount": 0,
            "state": {
                "terminated": {
                    "exitCode": exit_code,
                    "reason": "Completed" if exit_code == 0 else "Error",
                    "message": message if index == 0 else "",
                    "startedAt": _STARTED,
                    "finishedAt": _STARTED,
                }
            },
        }
        for index, name in enumerate(names)
    ]
    phase = "Succeeded" if exit_code == 0 else "Failed"
    await _status(client, pod, {"phase": phase, "startTime": _STARTED, "containerStatuses": ended})


async def add_node(client: Client, name: str) -> None:
    """A node to run pods on."""
    await client.create(NODE, "", {"metadata": {"name": name}})


async def remove(client: Client, pod: Json) -> None:
    """Let a pod that is to go be gone: its containers have ended."""
    meta = pod["metadata"]
    request = requests.delete(POD, meta["namespace"], meta["name"], uid=meta["uid"], propagation="Background")
    await client.send(replace(request, body={**(request.body or {}), "gracePeriodSeconds": 0}))


async def make_ready(client: Client, pod: Json, *, node: str, ip: str) -> None:
    """Let the pod run on the node and pass its readiness probe."""
    meta = pod["metadata"]
    if not pod["spec"].get("nodeName"):
        place = {"metadata": {"name": meta["name"]}, "target": {"kind": "Node", "name": node}}
        await client.create(BINDING, meta["namespace"], place)
    running = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _STARTED}},
        }
        for container in pod["spec"]["containers"]
    ]
    true = [
        {"type": name, "status": "True", "lastTransitionTime": _STARTED}
        for name in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    status = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": _STARTED,
        "conditions": true,
        "containerStatuses": running,
    }
    await _status(client, pod, status)


async def _status(client: Client, pod: Json, status: Json) -> None:
    meta = pod["metadata"]
    await client.apply_status(POD, meta["namespace"], meta["name"], status)
