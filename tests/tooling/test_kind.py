"""The way over kind, command by command, with programs on PATH that write down how they were called.

No Docker runs here: that kind does what these commands ask of it is not tested.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from tools.cluster import commands, images, kind, local
from tools.cluster.builder import Docker
from tools.cluster.errors import ClusterError
from tools.cluster.slots import REGISTRY

KIND = """
case "$1 $2" in
  "get clusters") cat "$FAKE/clusters" ;;
  "create cluster") cat >"$FAKE/config"; echo "$4" >"$FAKE/clusters"; echo "kubeconfig" >"$8" ;;
  "delete cluster") : >"$FAKE/clusters" ;;
esac
"""
DOCKER = """
case "$*" in
  *State.Running*) [ -e "$FAKE/registry" ] && echo true ;;
  *NetworkSettings.Ports*)
    [ -e "$FAKE/registry" ] && echo '{"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}' ;;
  "run --detach"*) touch "$FAKE/registry" ;;
  "rm --force"*) rm -f "$FAKE/registry" ;;
  "exec --interactive"*) cat >"$FAKE/hosts.toml" ;;
  *readyz) [ ! -e "$FAKE/starting" ] ;;
  "image inspect --format"*)
    echo '["127.0.0.1:1/noria/operator@sha256:old", "'"${5%:*}"'@sha256:new"]' ;;
  "image inspect"*) exit 1 ;;
esac
"""


class Machine:
    """What the two programs were asked, and what they know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        (folder / "clusters").touch()

    def install(self, name: str, script: str) -> None:
        program = self.bin / name
        program.write_text(f'#!/bin/sh\nFAKE={self.folder}\necho "{name} $*" >>"$FAKE/calls"\n{script}\n')
        program.chmod(0o755)

    def calls(self, beginning: str) -> list[str]:
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(beginning)]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with neither program."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{machine.bin}:/bin:/usr/bin")
    for name in ("NORIA_KUBECONFIG", "NORIA_CLUSTER_KIND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NORIA_CLUSTER", "tests")
    return machine


@pytest.fixture
def machine(bare: Machine) -> Machine:
    """One with kind and a Docker that answers."""
    bare.install("kind", KIND)
    bare.install("docker", DOCKER)
    return bare


NOTHING = argparse.Namespace(control_plane=None, json=True)


BOTH = {"kind": KIND, "docker": DOCKER}


@pytest.mark.parametrize(
    ("programs", "environment", "expected"),
    [
        (BOTH, {}, "kind"),
        ({"kind": KIND, "docker": "exit 1"}, {}, "local"),
        ({"docker": DOCKER}, {}, "local"),
        ({"kind": KIND}, {}, "local"),
        ({}, {}, "local"),
        (BOTH, {"NORIA_CLUSTER_KIND": "local"}, "local"),
        ({}, {"NORIA_CLUSTER_KIND": "kind"}, "kind"),
        (BOTH, {"NORIA_KUBECONFIG": "/mine"}, "given"),
        (BOTH, {"NORIA_KUBECONFIG": "/mine", "NORIA_CLUSTER_KIND": "kind"}, "given"),
    ],
)
def test_the_order_of_preference(
    bare: Machine,
    monkeypatch: pytest.MonkeyPatch,
    programs: dict[str, str],
    environment: dict[str, str],
    expected: str,
) -> None:
    for name, script in programs.items():
        bare.install(name, script)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert commands.chosen() == expected


def test_a_choice_that_is_neither_is_refused(bare: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_CLUSTER_KIND", "minikube")
    with pytest.raises(ClusterError, match="use local or kind"):
        commands.chosen()


@pytest.fixture
def mine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kubeconfig of a cluster of the user's."""
    path = machine.folder / "mine.conf"
    path.write_text("kubeconfig")
    monkeypatch.setenv("NORIA_KUBECONFIG", str(path))
    return path


def test_a_given_cluster_is_asked_whether_it_is_ready_and_nothing_else(
    machine: Machine, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install("kubectl", "")
    for command in (commands.check, commands.up, commands.status, commands.down):
        assert not command(NOTHING)
    assert str(mine) in capsys.readouterr().out
    asked = f"kubectl --kubeconfig {mine} get --raw /readyz --request-timeout=10s"
    assert machine.calls("") == [asked] * 3


def test_a_given_cluster_that_does_not_answer_is_not_called_ready(machine: Machine, mine: Path) -> None:
    machine.install("kubectl", "echo refused >&2; exit 1")
    assert commands.status(NOTHING) == 3
    for command in (commands.check, commands.up):
        with pytest.raises(ClusterError, match=f"{mine}.* is not ready: refused"):
            command(NOTHING)


def test_without_kubectl_a_given_cluster_is_used_unasked_and_not_called_ready(
    machine: Machine, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    assert not commands.check(NOTHING)
    assert not commands.up(NOTHING)
    assert commands.status(NOTHING) == 3
    assert str(mine) in capsys.readouterr().out
    assert mine.read_text() == "kubeconfig"
    assert machine.calls("") == []
    with pytest.raises(ClusterError, match="NORIA_IMAGES"):
        images.ensure("given")


def test_a_given_kubeconfig_that_is_not_there_is_an_error(
    bare: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_KUBECONFIG", "/nowhere")
    with pytest.raises(ClusterError, match="names /nowhere, which is not a file"):
        commands.check(NOTHING)


def test_up_makes_a_cluster_whose_node_knows_the_registry_by_its_usual_name(machine: Machine) -> None:
    path = kind.up()
    assert path.read_text() == "kubeconfig\n"
    assert machine.calls("kind create") == [
        f"kind create cluster --name {kind.name()} --image {kind.NODE_IMAGE} --kubeconfig {path} "
        "--config - --wait 120s"
    ]
    assert 'config_path = "/etc/containerd/certs.d"' in (machine.folder / "config").read_text()
    registry = f"{kind.name()}-registry"
    assert machine.calls("docker run") == [
        f"docker run --detach --name {registry} --network kind --publish 127.0.0.1::5000 "
        f"{kind.REGISTRY_IMAGE}"
    ]
    (told,) = machine.calls("docker exec --interactive")
    assert f"cat > /etc/containerd/certs.d/{REGISTRY}/hosts.toml" in told
    assert f'[host."http://{registry}:5000"]' in (machine.folder / "hosts.toml").read_text()
    assert kind.push_address() == "127.0.0.1:32768"


def test_up_again_creates_nothing(machine: Machine) -> None:
    kind.up()
    kind.up()
    assert len(machine.calls("kind create")) == 1
    assert len(machine.calls("docker run")) == 1
    assert machine.calls("docker start") == [f"docker start {kind.name()}-control-plane"]


def test_a_cluster_whose_creation_was_killed_is_made_again(machine: Machine) -> None:
    (machine.folder / "clusters").write_text(f"{kind.name()}\n")
    assert kind.status() is None
    kind.up()
    assert [call.split()[1] for call in machine.calls("kind ") if "get" not in call] == ["delete", "create"]
    assert kind.status() is not None


def test_a_cluster_that_was_deleted_by_hand_is_made_again(machine: Machine) -> None:
    kind.up()
    (machine.folder / "clusters").write_text("")
    assert kind.status() is None
    kind.up()
    assert len(machine.calls("kind create")) == 2


def test_a_registry_that_stopped_is_started_again(machine: Machine) -> None:
    kind.up()
    (machine.folder / "registry").unlink()
    with pytest.raises(ClusterError, match="registry is not running"):
        kind.push_address()
    kind.up()
    assert kind.push_address() == "127.0.0.1:32768"


def test_a_cluster_that_does_not_become_ready_is_an_error_that_says_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind.up()
    (machine.folder / "starting").touch()
    monkeypatch.setattr(kind, "READY_SECONDS", 0.05)
    with pytest.raises(ClusterError, match="make cluster-down cluster"):
        kind.up()
    assert commands.status(NOTHING) == 3
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["ready"]) == ("kind", False)


def test_down_removes_the_cluster_its_registry_and_its_kubeconfig(machine: Machine) -> None:
    path = kind.up()
    for _ in range(2):
        kind.down()
    assert not path.exists()
    assert not (machine.folder / "registry").exists()
    assert kind.status() is None
    assert machine.calls("docker rm")[-1] == f"docker rm --force --volumes {kind.name()}-registry"


@pytest.mark.parametrize(
    ("programs", "complaint"), [("docker", "kind is not installed"), ("kind", "docker is not installed")]
)
def test_kind_by_hand_without_its_programs_names_the_missing_one(
    bare: Machine, monkeypatch: pytest.MonkeyPatch, programs: str, complaint: str
) -> None:
    bare.install(programs, "")
    monkeypatch.setenv("NORIA_CLUSTER_KIND", "kind")
    for command in (commands.check, commands.up, commands.down):
        with pytest.raises(ClusterError, match=complaint):
            command(NOTHING)


def test_images_have_the_names_that_they_have_everywhere(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.up()
    made = images.ensure("kind")
    assert made == {image.target: f"{REGISTRY}/noria/{image.target}@sha256:new" for image in images.IMAGES}
    built = machine.calls("docker build")
    assert [call.split("--target ")[1].split()[0] for call in built] == list(made)
    assert all("BASE=" not in call for call in built)
    pushed = machine.calls("docker push")
    assert all(call.startswith("docker push --quiet 127.0.0.1:32768/noria/") for call in pushed)
    assert len(pushed) == len(made)
    untagged = [call for call in machine.calls("docker image rm") if "127.0.0.1:32768" in call]
    assert len(untagged) == len(made)


def test_a_pushed_image_has_the_digest_of_this_registry_not_of_another(machine: Machine) -> None:
    digest = Docker().push("localhost/a:1", "noria/operator:1", registry="127.0.0.1:32768", enter=())
    assert digest == "sha256:new"
    machine.install("docker", 'case "$*" in "image inspect"*) echo "[]" ;; esac')
    with pytest.raises(ClusterError, match=r"no digest of 127\.0\.0\.1:9/noria/operator:1"):
        Docker().push("localhost/a:1", "noria/operator:1", registry="127.0.0.1:9", enter=())


def test_without_root_the_local_cluster_is_refused_with_what_to_use_instead(
    bare: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in (commands.check, commands.up):
        with pytest.raises(ClusterError, match=r"needs root(?s:.*)NORIA_KUBECONFIG(?s:.*)kind"):
            command(NOTHING)
    assert not (bare.folder / "cache" / "bin").exists()
    assert local.status().kubeconfig is None
