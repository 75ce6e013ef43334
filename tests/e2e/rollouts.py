"""A ModelDeployment called tiny amid its rollouts: commands to it, weights in force, what its status was.

Comes in: a namespace of the cluster. Goes out: its status once something holds, or all that it ever was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kube import Json, Kube

LEAST = 200.0
"""Requests a second that a rollout has to live with."""
RATE = 1.025 * LEAST
"""What is sent for it, as a busy machine is late now and then."""
LONGEST = 3600.0
"""Seconds for which a deployment is watched at most."""


def address(kube: Kube) -> str:
    """Where the deployment answers requests."""
    return f"http://{kube.cluster_ip('tiny')}/v2/models/tiny/infer"


def champions(kube: Kube, md: Json) -> list[Json]:
    """The pods of its champion."""
    revision = md["status"]["stable"]["revision"]
    return kube.list("Pod", f"{md['status']['selector']},noria.dev/revision={revision}")


def say(kube: Kube, command: str, id_: str) -> None:
    """Annotate it with a command."""
    kube.annotate("ModelDeployment", "tiny", {f"noria.dev/{command}": id_})


def weights(md: Json) -> dict[str, int]:
    """The weights that are in force, as far as the router can tell; empty while they are on their way."""
    traffic = md["status"].get("traffic", [])
    settled = all(one["verified"] or one.get("assumed") for one in traffic)
    return {each["version"]: each["weight"] for each in traffic if settled}


def at(kube: Kube, **wanted: int) -> Json:
    """Wait until these weights (`tiny_2=20`) are in force and everybody else has none."""
    exact = {name.replace("_", "-"): weight for name, weight in wanted.items()}

    def holds(md: Json) -> bool:
        return {name: weight for name, weight in weights(md).items() if weight} == exact

    return kube.until("ModelDeployment", "tiny", holds, timeout=180)


@contextmanager
def every_status(kube: Kube, name: str = "tiny") -> Iterator[list[Json]]:
    """All statuses that a watcher of a deployment sees while the block lasts; fails where it saw them not to
    the end.
    """
    seen: list[Json] = []
    done, last = threading.Event(), threading.Event()

    def look(md: Json) -> bool:
        seen.append(md.get("status", {}))
        return done.is_set()

    def watch() -> None:
        kube.at(kube.namespace).until("ModelDeployment", name, look, timeout=LONGEST)
        last.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield seen
    finally:
        done.set()
        kube.annotate("ModelDeployment", name, {"e2e/last": "look"})
    assert last.wait(timeout=30), f"the watch of {name} ended before"
