"""What each command does, and which cluster it works on.

The choice is made here, in one place: `NORIA_KUBECONFIG` first, then kind where it is installed and Docker
answers, else the local build. `NORIA_CLUSTER_KIND=local` (or `kind`) decides by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tools.cluster import binaries, controlplane, given, images, kind, local
from tools.cluster.errors import ClusterError
from tools.cluster.modules import MODULES
from tools.cluster.progress import say

CHOICE = "NORIA_CLUSTER_KIND"


def define(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    started = add("up", up, "start the cluster unless it runs, and print the path of its kubeconfig")
    stopped = add("down", down, "remove the cluster and everything it left on this machine")
    for command in (started, stopped):
        command.add_argument(
            "--control-plane", type=Path, metavar="DIR", help="only an API server, without root, kept in DIR"
        )
    started.add_argument("--kwok", action="store_true", help="with --control-plane: simulate a node")
    add("check", check, "refuse, with what to use instead, where no cluster can be started")
    shown = add("status", status, "say what runs; exit status 3 when no cluster is ready")
    shown.add_argument("--json", action="store_true", help="for programs")
    built = add("build", build, "build programs from Go modules unless they are whole")
    built.add_argument("modules", nargs="+", choices=sorted(MODULES), metavar="MODULE")
    add("kubeconfig", print_kubeconfig, "print the path of the kubeconfig")
    add("images", print_images, "build and push the images that changed; print their pinned names as JSON")
    loaded = add("load", load, "push an image of the local builder to the cluster and print its pinned name")
    loaded.add_argument("image", help="name in the builder's storage")
    loaded.add_argument("name", help="name in the registry, such as noria/mine:1")
    programmed = add(
        "programs", programs, "push an image of programs from Go modules, and print its pinned name"
    )
    programmed.add_argument("name", help="name in the registry, such as noria/monitoring")
    programmed.add_argument("modules", nargs="+", choices=sorted(MODULES), metavar="MODULE")


def chosen() -> str:
    """Which kind of cluster the commands work on: given, kind or local."""
    if os.environ.get(given.VARIABLE):
        return "given"
    by_hand = os.environ.get(CHOICE, "")
    if by_hand not in {"", "local", "kind"}:
        raise ClusterError(f"{CHOICE} is {by_hand!r}; use local or kind, or leave it unset")
    return by_hand or ("kind" if kind.usable() else "local")


def kubeconfig() -> Path:
    """Kubeconfig of the running cluster."""
    which = chosen()
    if which == "given":
        return given.kubeconfig()
    path_or_none = kind.status() if which == "kind" else local.status().kubeconfig
    if path_or_none is None:
        raise ClusterError("no cluster is running; start one with `make cluster`")
    return path_or_none


def up(arguments: argparse.Namespace) -> None:
    """Start a cluster."""
    if arguments.control_plane:
        _answer(controlplane.start(arguments.control_plane.resolve(), kwok=arguments.kwok))
        return
    which = chosen()
    if which == "given":
        given.check()
        _answer(given.kubeconfig())
    elif which == "kind":
        _answer(kind.up())
    else:
        _answer(local.up())


def down(arguments: argparse.Namespace) -> None:
    """Remove a cluster; one given by NORIA_KUBECONFIG is left alone."""
    if arguments.control_plane:
        controlplane.stop(arguments.control_plane.resolve())
        return
    which = chosen()
    if which == "given":
        say("NORIA_KUBECONFIG is set: that cluster is yours and stays")
    elif which == "kind":
        kind.down()
    else:
        local.down()


def check(_: argparse.Namespace) -> None:
    """Refuse before anything is installed or built; nothing is written."""
    which = chosen()
    if which == "given":
        given.check()
    elif which == "kind":
        kind.check()
    else:
        local.check_rights()


def status(arguments: argparse.Namespace) -> int:
    """Say what runs."""
    which = chosen()
    path: Path | None = None
    if which == "given":
        path, ready = given.kubeconfig(), given.ready()
    elif which == "kind":
        path = kind.status()
        ready = path is not None and kind.ready()
    else:
        state = local.status()
        path, ready = state.kubeconfig, state.ready
    content = {"kind": which, "ready": ready, "kubeconfig": str(path) if path else None}
    if arguments.json:
        _answer(json.dumps(content))
    elif path is None:
        _answer(f"{which}: no cluster is running; start one with `make cluster`")
    else:
        _answer(f"{which}: {'ready' if ready else 'starting or broken'}\nexport KUBECONFIG={path}")
    return 0 if ready else 3


def build(arguments: argparse.Namespace) -> None:
    """Build programs."""
    binaries.ensure(*arguments.modules)


def print_kubeconfig(_: argparse.Namespace) -> None:
    """Print where the kubeconfig is."""
    _answer(kubeconfig())


def print_images(_: argparse.Namespace) -> None:
    """Build, push and print."""
    _answer(json.dumps(images.ensure(chosen()), indent=1))


def load(arguments: argparse.Namespace) -> None:
    """Push one image."""
    _answer(images.load(chosen(), arguments.image, arguments.name))


def programs(arguments: argparse.Namespace) -> None:
    """Make and push an image of programs."""
    _answer(images.programs(chosen(), arguments.name, arguments.modules))


def _answer(what: object) -> None:
    sys.stdout.write(f"{what}\n")
