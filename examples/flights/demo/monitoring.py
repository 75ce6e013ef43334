"""MONITORING=1: Prometheus and Alertmanager beside the demo, and what they saw at its end.

In: the images, a cluster with Noria. Out: where to look, which alerts reached the webhook, which panels of
the dashboards have data, a picture of each. A small regression is served beside the loop, whose model is a
classifier. Invariant: without the wish nothing of it is started.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, Final

from examples.flights.demo.checks import WANTED
from examples.flights.demo.cluster import ROOT, kubectl, run, tool
from examples.flights.demo.say import DemoError, say
from tools.monitoring.live import Prometheus, Span, ask, targets, variables

FOLDER: Final = Path(__file__).resolve().parents[1] / "monitoring"
RULES: Final = ROOT / "charts" / "noria" / "files" / "rules.yaml"
DASHBOARDS: Final = ROOT / "charts" / "noria" / "files" / "dashboards"
NAMESPACE: Final = "flights-monitoring"
ALERT_SECONDS: Final = 90.0
Json = dict[str, Any]


class Monitoring:
    """Prometheus and Alertmanager in the demo's cluster."""

    def __init__(self, images: Mapping[str, str], kind: str) -> None:
        image = images.get("monitoring") or _image(kind)
        self.values = {"MONITORING_IMAGE": image, "FLIGHTS_IMAGE": images["example-flights"]}
        self.since = time.time()

    def up(self) -> None:
        """Start them, and say where to look."""
        text = Template((FOLDER / "manifest.yaml").read_text()).substitute(self.values)
        files = (FOLDER / "prometheus.yml", FOLDER / "alertmanager.yml")
        # A challenger lives for less than a minute here: rules are computed as often as pods are read.
        rules = re.sub(r"interval: \d+[ms]$", "interval: 5s", RULES.read_text(), flags=re.MULTILINE)
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "monitoring", "namespace": NAMESPACE},
            "data": {path.name: path.read_text() for path in files} | {RULES.name: rules},
        }
        kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(config))
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
        regression = Template((FOLDER / "air-time.yaml").read_text()).substitute(self.values)
        kubectl("apply", "--server-side", "-f", "-", stdin=regression)
        kubectl("-n", NAMESPACE, "rollout", "status", "deployment/prometheus", "--timeout=120s")
        forward = f"kubectl -n {NAMESPACE} port-forward svc/prometheus 9090 9093"
        say("Prometheus and Alertmanager run: http://localhost:9090/alerts with", command=forward)
        say(
            "the alerts that reach the webhook:",
            command=f"kubectl -n {NAMESPACE} logs deploy/prometheus -c webhook -f",
        )

    def report(self, pictures: Path) -> Json:
        """What they saw: alerts that were told, panels without data; and a picture of each dashboard."""
        alerts = self._alerts()
        with proxy() as base:
            address = f"{base}/api/v1/namespaces/{NAMESPACE}/services/prometheus:web/proxy"
            empty = self._empty(address)
            minutes = (time.time() - self.since) / 60
            command = [sys.executable, "-m", "tools.monitoring.pictures", address, str(pictures)]
            done = subprocess.run(
                [*command, "--minutes", f"{minutes:.1f}"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            said = (
                done.stderr.strip().splitlines()[-1:]
                if done.returncode
                else [f"a picture of each dashboard: {pictures}"]
            )
            say(" ".join(said))
        return {"alerts": alerts, "empty": empty}

    def _alerts(self) -> list[str]:
        """Names of the alerts that the webhook was told; waits for those that the story must bring."""
        deadline = time.monotonic() + ALERT_SECONDS
        while True:
            path = f"/api/v1/namespaces/{NAMESPACE}/services/prometheus:webhook/proxy/alerts"
            told = json.loads(kubectl("get", "--raw", path))
            names = sorted({str(one["labels"]["alertname"]) for one in told})
            if set(WANTED) <= set(names) or time.monotonic() > deadline:
                return names
            time.sleep(2)

    def _empty(self, address: str) -> list[str]:
        span, prometheus, empty = Span(self.since, time.time()), Prometheus(address), []
        for path in sorted(DASHBOARDS.glob("*.json")):
            dashboard = json.loads(path.read_text())
            for one in targets(dashboard, variables(dashboard, prometheus, span)):
                if not ask(prometheus, one, span):
                    empty.append(f"{path.stem}: {one.panel} {one.ref}")
        return empty


@contextmanager
def proxy() -> Iterator[str]:
    """The address of a `kubectl proxy`, which asks the API server as the user."""
    command = [tool("kubectl"), "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if found is None:
                raise DemoError(f"`kubectl proxy` said {line!r}")
            yield f"http://{found[0]}"
        finally:
            process.terminate()


def _image(kind: str) -> str:
    if kind != "local":
        raise DemoError(
            "MONITORING=1 makes its image on the local cluster only (NORIA_CLUSTER_KIND=local); elsewhere "
            "let NORIA_IMAGES name one as `monitoring`, with /bin/prometheus and /bin/alertmanager"
        )
    command = [
        sys.executable,
        "-m",
        "tools.cluster",
        "programs",
        "noria/monitoring",
        "prometheus",
        "alertmanager",
    ]
    return run(command, quiet=False).strip().splitlines()[-1]
