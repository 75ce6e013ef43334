"""The demo from beginning to end, each part waiting for a fact that the cluster shows.

In: a cluster with Noria. Out: the report. Invariant: no part sleeps for a guess; a part that can no longer
succeed stops the demo with what happened and the command that shows more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from examples.flights.demo import record
from examples.flights.demo.cluster import NAMESPACE, apply, kubectl
from examples.flights.demo.say import DemoError, Steps, say
from examples.flights.demo.traffic import CANARY, FULL, Traffic, number
from examples.flights.demo.world import Json, World

DEPLOYMENT: Final = "flight-delay"
FIRST: Final = "flight-delay-first"
REFUSED: Final = "flight-delay-simplified"
SABOTAGED: Final = "flight-delay-clairvoyant"
BAD_FROM: Final = "2013-11-15"
"""From this simulated date on the bad versions come."""
SETTLE, TRAIN, SERVE, REPLAY = 120.0, 240.0, 300.0, 1200.0
"""Seconds that a part may take before the demo gives up."""


class Story:
    """The parts, in order."""

    def __init__(self, images: Mapping[str, str], steps: Steps) -> None:
        self.values = {"FLIGHTS_IMAGE": images["example-flights"]}
        self.steps = steps
        self.world = World(NAMESPACE)
        self.traffic = Traffic(self.world, DEPLOYMENT)

    def tell(self) -> Json:
        """Everything; gives the report."""
        try:
            return self._tell()
        finally:
            self.traffic.stop()

    def _tell(self) -> Json:
        with self.steps.step("namespace, volumes, January and February"):
            self._seed()
        with self.steps.step("train and serve the first version"):
            self._first()
        with self.steps.step("replay March to November, retraining when quality falls"):
            self._replay()
        with self.steps.step("a bad version that a gate refuses"):
            self._refused()
        with self.steps.step("a bad version that fails in production"):
            bad = self._sabotaged()
        with self.steps.step("replay to the end of the year"):
            self.traffic.go_on(FULL)
            self.world.until("the end of the replay", lambda: self.traffic.stats.get("done"), seconds=REPLAY)
        report = self._report(bad)
        self.traffic.release()
        return report

    def _seed(self) -> None:
        apply("00-namespace.yaml", self.values)
        self.world.watch()
        apply("10-seed.yaml", self.values)
        self.world.until("the Job seed", self._seeded, seconds=SETTLE)

    def _seeded(self) -> bool:
        status = (self.world.get("Job", "seed") or {}).get("status", {})
        if any(one["type"] == "Failed" and one["status"] == "True" for one in status.get("conditions", [])):
            raise DemoError(f"the Job seed failed: kubectl -n {NAMESPACE} logs job/seed")
        return bool(status.get("succeeded"))

    def _first(self) -> None:
        apply("20-first-training.yaml", self.values)
        apply("30-deployment.yaml", self.values)
        made = self.world.until(FIRST, lambda: self._trained(FIRST), seconds=TRAIN)
        self.world.until(f"{made} to serve", lambda: self._serves(made), seconds=SERVE)
        uri = str((self.world.get("ModelVersion", made) or {})["spec"]["artifact"]["uri"])
        self.values["FIRST_BUNDLE"] = uri.removeprefix("pvc://models/")

    def _replay(self) -> None:
        apply("50-replay.yaml", self.values)
        apply("40-continuous-training.yaml", self.values)
        self.world.until("the replayer", self._replayer_ready, seconds=SETTLE)
        self.traffic.start()
        self.world.until(
            "the replay to reach November", lambda: self.traffic.date >= BAD_FROM, seconds=REPLAY
        )
        command = (
            "patch", "continuoustraining", DEPLOYMENT, "--type=merge", "--patch", '{"spec":{"suspend":true}}',
        )  # fmt: skip
        kubectl("-n", NAMESPACE, *command)
        self.traffic.spare()
        say("the ContinuousTraining is suspended, so that the next versions are ours alone")
        self.world.until("the last retraining to settle", self._quiet, seconds=TRAIN + SERVE)

    def _refused(self) -> None:
        apply("60-bad-gate.yaml", self.values)
        self.world.until(REFUSED, lambda: self._phase(REFUSED) in ("Failed", "Succeeded"), seconds=TRAIN)

    def _sabotaged(self) -> str:
        # Its table ends with the lake. Were a day to land between its training and its evaluation, the
        # evaluation would find out what only production shall: the clock stands until the gate passed it.
        self.traffic.hold()
        apply("70-bad-requests.yaml", self.values)
        made = self.world.until(SABOTAGED, lambda: self._trained(SABOTAGED), seconds=TRAIN)
        self.traffic.go_on(CANARY)
        say("the clock goes on: the first flight of a new day meets the canary")
        self.world.until(f"{made} to be rolled back", lambda: self._rolled_back(made), seconds=SERVE)
        return made

    def _trained(self, name: str) -> str | None:
        job = self.world.get("TrainingJob", name)
        status = (job or {}).get("status", {})
        if status.get("phase") == "Failed":
            raise DemoError(
                f"{name} failed: {status.get('message')}; kubectl -n {NAMESPACE} describe tj {name}"
            )
        return status.get("modelVersion") if status.get("phase") == "Succeeded" else None

    def _phase(self, name: str) -> str:
        return str(((self.world.get("TrainingJob", name) or {}).get("status") or {}).get("phase", ""))

    def _status(self) -> Json:
        return dict((self.world.get("ModelDeployment", DEPLOYMENT) or {}).get("status") or {})

    def _serves(self, version: str) -> bool:
        status = self._status()
        return (status.get("stable") or {}).get("version") == version and status.get("phase") == "Healthy"

    def _replayer_ready(self) -> bool:
        for pod in self.world.all("Pod"):
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "flights-replay":
                status = pod.get("status", {})
                if status.get("phase") == "Failed":
                    raise DemoError(f"the replayer failed: kubectl -n {NAMESPACE} logs job/replay")
                return any(
                    one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])
                )
        return False

    def _quiet(self) -> bool:
        jobs = [job.get("status", {}) for job in self.world.all("TrainingJob")]
        if any(job.get("phase") not in ("Succeeded", "Failed") for job in jobs):
            return False
        newest = max((number(job.get("modelVersion")) for job in jobs), default=0)
        status = self._status()
        settled = [(status.get("stable") or {}).get("version")]
        settled += [one["version"] for one in status.get("rejected") or []]
        return not status.get("candidate") and newest in {number(version) for version in settled}

    def _rolled_back(self, version: str) -> bool:
        status = self._status()
        if (status.get("stable") or {}).get("version") == version:
            raise DemoError(f"{version} was promoted although its requests fail")
        rejected = any(one["version"] == version for one in status.get("rejected") or [])
        traffic = status.get("traffic") or []
        return rejected and all(
            t["verified"] and (t["version"] != version or not t["weight"]) for t in traffic
        )

    def _report(self, bad: str) -> Json:
        replay = self.traffic.report()
        deployment = self.world.get("ModelDeployment", DEPLOYMENT) or {}
        continuous = self.world.get("ContinuousTraining", DEPLOYMENT) or {}
        timeline: list[dict[str, Any]] = [asdict(entry) for entry in self.world.timeline]
        return {
            "settings": record.settings(deployment, continuous),
            "versions": record.versions(self.world.all("ModelVersion"), deployment),
            "trainings": record.trainings(self.world.all("TrainingJob")),
            "triggers": (continuous.get("status") or {}).get("triggers", []),
            "verdicts": (deployment.get("status") or {}).get("history", []),
            "weights": timeline,
            "abort": record.abort(timeline, deployment, bad, replay["versions"]),
            "bad": {"gate": REFUSED, "version": bad, "version_number": str(number(bad))},
            "quality": replay["quality"],
            "autumn": record.autumn(replay["quality"]),
            "shares": replay["shares"],
            "requests": record.requests(replay),
            "seconds": self.steps.seconds,
        }
