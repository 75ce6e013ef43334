"""The cluster under the demo: what the demo may remove from it, and where its programs come from."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from examples.flights.demo import cluster
from examples.flights.demo.say import DemoError

DELETE = "kubectl delete namespace flights"


class Answers:
    """What kubectl and Helm answer, and the commands that they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: str) -> None:
        self.answers = answers
        self.commands: list[str] = []
        monkeypatch.setattr(cluster, "tool", lambda name: name)
        monkeypatch.setattr(cluster, "run", self.run)

    def run(self, command: list[str], **_: Any) -> str:
        line = " ".join(command)
        self.commands.append(line)
        found = (answer for start, answer in self.answers.items() if line.startswith(start.replace("_", " ")))
        return next(found, "")


OURS = json.dumps([{"revision": 1, "description": cluster.DESCRIPTION}])
THEIRS = json.dumps([{"revision": 4, "description": "Upgrade complete"}])


@pytest.mark.parametrize(
    ("kind", "answers", "refused", "removed"),
    [
        ("given", {}, "", False),
        ("given", {"kubectl_get_namespace_flights": "namespace/flights"}, "namespace flights", False),
        ("given", {"kubectl_get_namespace": "namespace/flights"}, "", True),
        ("local", {"kubectl_get_namespace_flights": "namespace/flights"}, "", True),
        ("given", {"helm_list": "noria", "helm_history": THEIRS}, "helm uninstall noria", False),
        ("given", {"helm_list": "noria", "helm_history": OURS}, "", False),
        ("local", {"helm_list": "noria", "helm_history": THEIRS}, "", False),
    ],
)
def test_a_cluster_that_is_not_ours_keeps_what_the_demo_did_not_put_there(
    monkeypatch: pytest.MonkeyPatch, kind: str, answers: dict[str, str], refused: str, removed: bool
) -> None:
    found = Answers(monkeypatch, **answers)
    ran = cluster.Cluster()
    ran.kind = kind
    with pytest.raises(DemoError, match=refused) if refused else nullcontext():
        ran.claim()
    assert any(line.startswith(DELETE) for line in found.commands) == removed


@pytest.mark.parametrize("refused", [True, False])
def test_cleaning_up_after_a_refusal_removes_nothing(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    there = {"kubectl_get_namespace_flights": "namespace/flights"} if refused else {}
    found = Answers(monkeypatch, **there)
    ran = cluster.Cluster()
    ran.kind, ran.started = "given", True
    with suppress(DemoError):
        ran.claim()
    ran.down()
    removing = [line for line in found.commands if "delete" in line or "uninstall" in line]
    assert bool(removing) != refused


def test_programs_come_from_the_cache_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helm").touch()
    assert cluster.tool("helm") == str(tmp_path / "bin" / "helm")
