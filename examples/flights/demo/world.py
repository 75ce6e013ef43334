"""What the cluster says, kept current by watches, so that the demo waits for facts and never for time.

In: watch events of Noria's kinds and of Jobs and pods in one namespace. Out: the newest objects, a timeline
of weights, and sentences for the narrator. Invariant: `until` looks again after every event and gives up with
a message that names what was waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from examples.flights.demo.narrate import changes
from examples.flights.demo.say import DemoError, elapsed, say
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

Json = dict[str, Any]
T = TypeVar("T")
GROUP: Final = "noria.dev"
VERSION: Final = "v1alpha1"
PLURALS: Final = {
    "TrainingJob": "trainingjobs",
    "ModelVersion": "modelversions",
    "ModelDeployment": "modeldeployments",
    "ContinuousTraining": "continuoustrainings",
}
WATCH_SECONDS: Final = 600
RETRY_SECONDS: Final = 0.5


@dataclass
class Weights:
    """The split of traffic that a status reported: `at` seconds of the demo, `wall` seconds since the
    epoch.
    """

    at: float
    wall: float
    weights: dict[str, int]
    verified: bool


@dataclass
class World:
    """The newest objects by (kind, name)."""

    namespace: str
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    timeline: list[Weights] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def watch(self) -> None:
        """Start watching, in threads that end with the process."""
        for kind in (*PLURALS, "Job", "Pod"):
            threading.Thread(target=self._follow, args=(kind,), daemon=True, name=f"watch {kind}").start()

    def get(self, kind: str, name: str) -> Json | None:
        """One object, None before it exists."""
        with self.changed:
            return self.objects.get((kind, name))

    def all(self, kind: str) -> list[Json]:
        """All objects of a kind, oldest first."""
        with self.changed:
            found = [obj for (its, _), obj in self.objects.items() if its == kind]
        return sorted(found, key=lambda obj: str(obj["metadata"]["creationTimestamp"]))

    def until(self, what: str, predicate: Callable[[], T | None], *, seconds: float) -> T:
        """Wait for a truthy answer; `predicate` may raise DemoError when waiting is useless."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (answer := predicate()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DemoError(f"{what}: not within {seconds:.0f} s")
                self.changed.wait(min(left, 1.0))
        return answer

    def observe(self, kind: str, event: str, obj: Json) -> None:
        """Take in one event and tell what it means."""
        key = (kind, str(obj["metadata"]["name"]))
        with self.changed:
            before = self.objects.get(key)
            if event == "DELETED":
                self.objects.pop(key, None)
            else:
                self.objects[key] = obj
                if kind == "ModelDeployment":
                    self._weigh(obj)
            self.changed.notify_all()
        if event != "DELETED":
            for line in changes(kind, before, obj):
                say(line.text, command=line.command)

    def _weigh(self, obj: Json) -> None:
        traffic = obj.get("status", {}).get("traffic", [])
        weights = {str(share["version"]): int(share["weight"]) for share in traffic}
        verified = bool(traffic) and all(share["verified"] for share in traffic)
        last = self.timeline[-1] if self.timeline else None
        if weights and (last is None or (last.weights, last.verified) != (weights, verified)):
            self.timeline.append(Weights(elapsed(), time.time(), weights, verified))

    def _follow(self, kind: str) -> None:
        while True:
            try:
                for event, obj in _events(kind, self.namespace):
                    self.observe(kind, event, obj)
            except (ApiException, HTTPError, OSError):  # the CRD may not be there yet, a watch may be cut
                time.sleep(RETRY_SECONDS)


def _events(kind: str, namespace: str) -> Iterator[tuple[str, Json]]:
    """What there is, then what changes, until the watch ends."""
    api = client.ApiClient()
    call: Any
    arguments: list[str] = [namespace]
    if kind in PLURALS:
        call = client.CustomObjectsApi(api).list_namespaced_custom_object
        arguments = [GROUP, VERSION, namespace, PLURALS[kind]]
    elif kind == "Job":
        call = client.BatchV1Api(api).list_namespaced_job
    else:
        call = client.CoreV1Api(api).list_namespaced_pod
    for event in watch.Watch().stream(call, *arguments, timeout_seconds=WATCH_SECONDS):
        yield event["type"], event["raw_object"]
