"""`python -m benchmarks.conformance`: clients, edge cases and schemathesis on Noria, MLServer and KServe's
SDK in turn, with one scikit-learn model; writes docs/benchmarks/conformance.md. Ends with 1 if Noria did
anything wrong.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tools import clients
from tools.cluster.layout import CHECKOUT

from benchmarks.conformance import document, fuzz, probes
from benchmarks.conformance.page import Found, faults, markdown
from benchmarks.conformance.suites import SUITES, Target
from benchmarks.peers import models, servers
from benchmarks.peers.process import running

PAGE = CHECKOUT / "docs" / "benchmarks" / "conformance.md"
LANES = (servers.NORIA_OF_THIS_CHECKOUT, servers.MLSERVER, servers.KSERVE)
BACKEND = "sklearn"
OURS = LANES[0].title


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=25, help="requests an operation and phase of schemathesis"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="noria-conformance-") as name:
        folder = Path(name)
        served = models.small(folder)
        found = {
            lane.title: _visit(lane, served, folder / lane.name, cases=options.cases, seed=options.seed)
            for lane in LANES
        }
    text = markdown(found, probes.PROBES, _about(options.cases, options.seed))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    if wrong := faults(found[OURS], probes.PROBES):
        sys.exit("\n".join([f"{OURS}:", *wrong]))


def _visit(lane: servers.Server, served: models.Served, home: Path, *, cases: int, seed: int) -> Found:
    """Start one server, ask it everything, end it."""
    sys.stderr.write(f"{lane.title}\n")
    home.mkdir()
    with running(lane.start(served, BACKEND, home), home / "log") as process:
        target = servers.target(process, served, label=lane.label)
        answers = probes.answers(target)
        reports = {suite.name: suite.run(target) for suite in SUITES}
        return Found(reports, answers, _fuzz(target, cases, seed))


def _fuzz(target: Target, cases: int, seed: int) -> fuzz.Outcome:
    public = document.corrected(document.public(), model=target.model, version=target.version)
    return fuzz.run(public, target.http, cases=cases, seed=seed)


def _about(cases: int, seed: int) -> str:
    pins = {name: _pinned("clients", name) for name in ("tritonclient", "kserve", "schemathesis")}
    pins["mlserver"] = _pinned("peer-mlserver", "mlserver")
    versions = ", ".join(f"{name} {version}" for name, version in pins.items())
    return f"""\
`make conformance` wrote this page on {datetime.now(UTC):%d %B %Y}, with Python {platform.python_version()},
{versions}; schemathesis with up to
{cases} requests an operation and phase, seed {seed}. Each server serves the same scikit-learn model (iris),
is started as its documentation shows, and is asked alone. The command fails where Noria is not right, and so
does `make test-extended`, by `tests/clients`."""


def _pinned(environment: str, package: str) -> str:
    text = clients.requirements(environment).read_text(encoding="utf-8")
    found = re.search(rf"^{package}(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    return found[1] if found else "of an unknown version"


if __name__ == "__main__":
    main()
