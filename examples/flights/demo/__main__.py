"""`python -m examples.flights.demo`: run the demo, print the table, write the report and the picture, clean
up.

KEEP=1 leaves everything running to look around. Exit status 0 only when every claim held.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from examples.flights.demo import monitoring
from examples.flights.demo.checks import Claim, judge
from examples.flights.demo.cluster import ROOT, Cluster, install
from examples.flights.demo.say import DemoError, Steps, elapsed, say
from examples.flights.demo.story import Story
from kubernetes import config

BUILD = ROOT / "build" / "demo"


def main() -> int:
    """The exit status."""
    keep = os.environ.get("KEEP") == "1"
    cluster, steps = Cluster(), Steps()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = False
    try:
        good = play(cluster, steps)
    except DemoError as error:
        say(f"the demo stopped: {error}")
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        if keep:
            say("everything is left running", command=f"export KUBECONFIG={os.environ.get('KUBECONFIG', '')}")
        else:
            say("cleaning up (KEEP=1 leaves it running)")
            cluster.down()
    return 0 if good else 1


def play(cluster: Cluster, steps: Steps) -> bool:
    """Everything up to the table; whether all claims held."""
    with steps.step("start a Kubernetes cluster"):
        kubeconfig = cluster.up()
        config.load_kube_config(str(kubeconfig))
        say("the cluster is ready", command=f"export KUBECONFIG={kubeconfig}")
    cluster.claim()
    with steps.step("build the images that changed"):
        images = cluster.images()
    with steps.step("install Noria with Helm"):
        install(images)
        say("Noria is installed", command="helm -n noria-system status noria")
    watched = None
    if os.environ.get("MONITORING") == "1":
        with steps.step("start Prometheus and Alertmanager"):
            watched = monitoring.Monitoring(images, cluster.kind)
            watched.up()
    report = Story(images, steps).tell()
    if watched is not None:
        with steps.step("what Prometheus saw"):
            report["monitoring"] = watched.report(BUILD / "dashboards")
    report["seconds"]["total"] = round(elapsed(), 1)
    claims = judge(report)
    report["claims"] = [vars(claim) for claim in claims]
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    from examples.flights.demo.picture import draw  # noqa: PLC0415  matplotlib takes a second to import

    draw(report, BUILD / "flights.png")
    sys.stdout.write(table(report, claims))
    return all(claim.holds for claim in claims)


def table(report: dict[str, Any], claims: list[Claim]) -> str:
    """What the demo ends with."""
    lines = ["", "month   flights   late    with Noria   never retrained"]
    lines += [
        f"{month:>5} {row['flights']:>9} {row['late']:>6.1%}"
        f" {_score(row['served']):>13} {_score(row['never_retrained']):>17}"
        for month, row in report["quality"].items()
    ]
    lines += ["", "version answered failed  became"]
    names = {name["name"].rsplit("-", 1)[1]: name for name in report["versions"]}
    for number, seen in report["requests"]["by_version"].items():
        about = names.get(number, {})
        fate = "rejected" if about.get("rejected") else "served"
        lines.append(f"{number:>7} {seen['answered']:>8} {seen['failed']:>6}  {fate}")
    lines.append("")
    lines += [f"{'ok  ' if claim.holds else 'FAIL'} {claim.text} ({claim.detail})" for claim in claims]
    lines += [
        "",
        f"{report['settings']['note']} ({report['settings']['sample']})",
        f"report: {BUILD / 'report.json'}",
        f"picture: {BUILD / 'flights.png'}",
        f"{elapsed():.0f} s",
        "",
    ]
    return "\n".join(lines)


def _score(value: float | None) -> str:
    """A month without an outcome of each class has no AUC."""
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
