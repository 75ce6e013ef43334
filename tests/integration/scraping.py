"""Scraping as Prometheus does it: a real one, and as much of it as the examples use.

Comes in: a job as its configuration writes it, or an entry of a PodMonitor. Goes out: where it answers, or
samples.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.ports import free_port

Json = dict[str, Any]
Sample = tuple[str, dict[str, str], float]

_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Prometheus:
    """One that scrapes the jobs every second, reads `rules` and remembers `history` (in the format of
    OpenMetrics); begun again, it goes on with what it knew. `replica` is the name that others know it by,
    `written_to` an entry of `remote_write`; `config` stands for all of these.
    """

    def __init__(
        self,
        folder: Path,
        *jobs: Json,
        rules: Json | None = None,
        history: str = "",
        host: str = "127.0.0.1",
        replica: str = "",
        written_to: Json | None = None,
        config: Json | None = None,
    ) -> None:
        binaries.ensure("prometheus")
        self.url, self.data = f"http://{host}:{free_port(host)}", folder / "data"
        (folder / "rules.json").write_text(json.dumps(rules or {"groups": []}), encoding="utf-8")
        config = config or {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{folder}/rules.json"],
            "scrape_configs": list(jobs),
            "remote_write": [written_to] if written_to else [],
        }
        if replica:
            config["global"] |= {"external_labels": {"replica": replica}}
        (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
        if history:
            (folder / "history").write_text(f"{history}# EOF\n", encoding="utf-8")
            backfill = [str(binary("promtool")), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
            subprocess.run([*backfill, f"{folder}/history", str(self.data)], check=True)
        self._command = [
            str(binary("prometheus")), f"--config.file={folder}/config.yml",
            f"--storage.tsdb.path={self.data}", "--log.level=error",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its address, while it runs."""
        with subprocess.Popen(self._command) as process:
            try:
                until_it_answers(process, f"{self.url}/-/ready")
                yield self.url
            finally:
                process.terminate()


@contextmanager
def prometheus(*jobs: Json, rules: Json | None = None, history: str = "") -> Iterator[str]:
    """The address of one that is gone at the end, with all that it knew."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Prometheus(Path(folder), *jobs, rules=rules, history=history).running() as url,
    ):
        yield url


def as_job(endpoint: Json, target: str, **labels: str) -> Json:
    """What the Prometheus operator makes of one entry of `podMetricsEndpoints` for a pod at `target`."""
    rules = [
        {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value for name, value in rule.items()}
        for rule in endpoint["metricRelabelings"]
    ]
    return {
        "job_name": "pods",
        "metrics_path": endpoint["path"],
        "params": endpoint["params"],
        "static_configs": [{"targets": [target], "labels": labels}],
        "metric_relabel_configs": rules,
    }


async def scrape(address: str, endpoint: Json) -> list[Sample]:
    """What one entry of `podMetricsEndpoints` makes of a pod at `address` (host:port)."""
    query = [(name, value) for name, values in endpoint["params"].items() for value in values]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{endpoint['path']}", params=query) as answer,
    ):
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    found = [match for line in lines if (match := _SAMPLE.fullmatch(line))]
    samples = [(match[1], dict(_LABEL.findall(match[2])), float(match[3])) for match in found]
    kept = [
        (name, relabelled(labels, endpoint["metricRelabelings"]), value) for name, labels, value in samples
    ]
    return [(name, labels, value) for name, labels, value in kept if labels is not None]


def relabelled(labels: dict[str, str], rules: list[Json]) -> dict[str, str] | None:
    """The labels after all rules; None for a sample that is dropped. `keep` and `replace` are known."""
    for rule in rules:
        match = re.fullmatch(rule["regex"], ";".join(labels.get(name, "") for name in rule["sourceLabels"]))
        if rule.get("action", "replace") == "keep":
            if match is None:
                return None
        elif match is not None:
            labels = {**labels, rule["targetLabel"]: match.expand(rule["replacement"].replace("$", "\\"))}
    return labels
