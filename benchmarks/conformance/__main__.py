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
from collections.abc import Callable
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
LANES = {
    servers.NORIA_OF_THIS_CHECKOUT: servers.noria_not_ready,
    servers.MLSERVER: servers.mlserver_not_ready,
    servers.KSERVE: servers.kserve_not_ready,
}
"""Each server, and how it is started with a model that is not ready."""
Fuzzed = dict[str, fuzz.Outcome]
"""By the document."""
BACKEND = "sklearn"
OURS = servers.NORIA_OF_THIS_CHECKOUT.title


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
        documents = document.mended(model=served.name, version=servers.VERSION)

        def fuzzed(target: Target) -> Fuzzed:
            return {
                name: fuzz.run(content, target.http, cases=options.cases, seed=options.seed)
                for name, content in documents.items()
            }

        found = {lane.title: _visit(lane, served, folder / lane.name, fuzzed) for lane in LANES}
    text = markdown(found, probes.EVERY, _about(options.cases, options.seed))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    if wrong := faults(found[OURS], probes.EVERY):
        sys.exit("\n".join([f"{OURS}:", *wrong]))


def _visit(
    lane: servers.Server, served: models.Served, home: Path, fuzzed: Callable[[Target], Fuzzed]
) -> Found:
    """Start one server, ask it everything, end it; and once more with a model that is not ready."""
    sys.stderr.write(f"{lane.title}\n")
    early = home.with_name(f"{home.name}-not-ready")  # not within: MLServer serves all that is below
    for folder in (home, early):
        folder.mkdir()
    with running(LANES[lane](served, BACKEND, early), early / "log") as process:
        not_ready = probes.answers(servers.target(process, served, label=lane.label), [probes.NOT_READY])
    with running(lane.start(served, BACKEND, home), home / "log") as process:
        target = servers.target(process, served, label=lane.label)
        answers = probes.answers(target, probes.PROBES)
        reports = {suite.name: suite.run(target) for suite in SUITES}
        return Found(reports, answers | not_ready, fuzzed(target))


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
