"""Drives the replayer: fast while nothing is decided, slower while a model is trained, slow enough to judge a
canary.

In: the World and the replayer's pod. Out: its rate, its stats. Invariant: the rate follows from what the
cluster says (`rate_for`), so the simulated clock is slow exactly while training or a canary is under way.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any, Final

from examples.flights.demo.say import DemoError, say
from examples.flights.demo.world import Json, World
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

PORT: Final = 9000
OK: Final = 200
LABEL: Final = "flights-replay"
FINISHED: Final = ("Succeeded", "Failed")
FULL: Final = float(os.environ.get("DEMO_RATE", "160"))
CANARY: Final = float(os.environ.get("DEMO_CANARY_RATE", "80"))
TRAINING: Final = float(os.environ.get("DEMO_TRAINING_RATE", "30"))
LOOK_SECONDS: Final = 0.5


def rate_for(deployment: Json | None, jobs: list[Json]) -> float:
    """Requests a second: a canary first, then training, then full speed."""
    status = (deployment or {}).get("status") or {}
    if status.get("candidate"):
        return CANARY
    stable = (status.get("stable") or {}).get("version")
    for job in jobs:
        training = job.get("status") or {}
        made = training.get("modelVersion")
        if training.get("phase") not in FINISHED:
            return TRAINING
        rejected = [one["version"] for one in status.get("rejected") or []]
        if made and made != stable and made not in rejected and number(made) > number(stable):
            return TRAINING
    return FULL


def number(version: str | None) -> int:
    """flight-delay-4 → 4; 0 without one."""
    return int(version.rsplit("-", 1)[1]) if version else 0


class Traffic(threading.Thread):
    """Follows the World and steers the replayer until it is done."""

    def __init__(self, world: World, deployment: str) -> None:
        super().__init__(daemon=True, name="traffic")
        self.world, self.deployment = world, deployment
        self.stats: Json = {}
        self.limit = FULL
        """Never faster than this; 0 holds the clock."""
        self.sparing = False
        """Whether only a canary moves the clock: what is left of the year is needed for what comes after."""
        self._rate = 0.0
        self._month = ""
        self._ended = threading.Event()

    @property
    def date(self) -> str:
        """The simulated date."""
        return str(self.stats.get("date", ""))

    def run(self) -> None:
        """Look, set the rate, tell each month."""
        while not self._ended.is_set() and not self.stats.get("done"):
            try:
                self._look()
            except (ApiException, HTTPError, OSError, ValueError) as error:
                say(f"the replayer does not answer: {error!s:.200}")
            with self.world.changed:
                self.world.changed.notify_all()
                self.world.changed.wait(LOOK_SECONDS)

    def stop(self) -> None:
        """Stop looking."""
        self._ended.set()

    def hold(self) -> None:
        """Stop the simulated clock, and return once the replayer confirmed it."""
        self.limit = 0.0
        self.world.until("the replay to stand", self._stands, seconds=20)

    def spare(self) -> None:
        """From now on the clock moves for a canary only, and slowly, however long the machine takes."""
        self.sparing, self.limit = True, TRAINING

    def go_on(self, limit: float) -> None:
        """Let the clock move as the cluster says, not faster than the limit."""
        self.sparing, self.limit = False, limit

    def rate(self) -> float:
        """Requests a second that are right now."""
        deployment = self.world.get("ModelDeployment", self.deployment)
        if self.sparing and not ((deployment or {}).get("status") or {}).get("candidate"):
            return 0.0
        return min(self.limit, rate_for(deployment, self.world.all("TrainingJob")))

    def _stands(self) -> bool:
        if self.stats.get("done"):
            raise DemoError(
                "the year was over before the bad version came: this machine needs more time a day; "
                "try DEMO_RATE=80 DEMO_CANARY_RATE=40 DEMO_TRAINING_RATE=15"
            )
        return self.stats.get("rate") == 0

    def report(self) -> Json:
        """All that the replayer knows."""
        return self._call("GET", "report")

    def release(self) -> None:
        """Let the replayer's pod end."""
        self._call("POST", "exit")

    def _look(self) -> None:
        rate = self.rate()
        if rate != self._rate:
            self._call("POST", f"control?rate={rate:g}")
            self._rate = rate
        self.stats = self._call("GET", "stats")
        if self.date[:7] != self._month:
            self._month = self.date[:7]
            latency = self.stats["latency_ms"]
            say(
                f"the replay reached {self._month}: {self.stats['sent']} of {self.stats['of']} flights, "
                f"{self.stats['failed']} failed, p50 {latency['p50']} ms, p99 {latency['p99']} ms",
            )

    def _call(self, method: str, path: str) -> Json:
        pods = f"/api/v1/namespaces/{self.world.namespace}/pods"
        api: Any = client.ApiClient()
        request = api.param_serialize(
            method=method,
            resource_path=f"{pods}/{self._pod()}:{PORT}/proxy/{path}",
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        response = api.call_api(*request, _request_timeout=20)
        content = response.read()
        if response.status != OK:
            raise OSError(f"{method} {path}: {response.status} {content[:200]!r}")
        return dict(json.loads(content))

    def _pod(self) -> str:
        for pod in self.world.all("Pod"):
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == LABEL:
                return str(pod["metadata"]["name"])
        raise OSError("the replayer has no pod")
