"""The command line: `kubectl noria status|why|promote|abort|retry|pause|resume|retrain`."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Sequence

from noria_operator.api import names
from noria_operator.cli import text
from noria_operator.cli.cluster import Cluster, CommandError, Objects, command, find

_MEANINGS = {
    "promote": "give the challenger all traffic now, without waiting for evidence",
    "abort": "take all traffic from the challenger and reject its version",
    "retry": "roll a rejected version out again",
    "pause": "hold the rollout where it is",
    "resume": "go on with a paused rollout",
    "retrain": "start a training run now (cooldown does not hold it)",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 1 when something cannot be done."""
    options = parser().parse_args(arguments)
    try:
        lines = run(options, Cluster(options.namespace, options.context))
    except CommandError as error:
        sys.exit(f"error: {error}")
    print("\n".join(lines))


def parser() -> argparse.ArgumentParser:
    """The options, with help that says what each command does."""
    made = argparse.ArgumentParser(prog="kubectl noria", description="What the wheel is doing, and why.")
    made.add_argument("-n", "--namespace", help="namespace; default: that of the kubeconfig's context")
    made.add_argument("--context", help="context of the kubeconfig; default: the current one")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", help="all ModelDeployments and ContinuousTrainings in one view")
    why = commands.add_parser("why", help="why an object is in the state that it is in")
    why.add_argument("name", help="NAME, or KIND/NAME such as tj/flight-delay-x7k2p")
    for verb, meaning in _MEANINGS.items():
        given = commands.add_parser(verb, help=meaning)
        given.add_argument("name", help=f"name of the {_kind(verb)}")
        given.add_argument(
            "--wait", type=float, default=10.0, help="seconds to wait for the operator's answer"
        )
    return made


def run(options: argparse.Namespace, objects: Objects) -> list[str]:
    """Do what the options say; the lines to print."""
    if options.command == "status":
        deployments = text.deployments(objects.list(names.MODEL_DEPLOYMENT))
        return [*deployments, "", *text.trainings(objects.list(names.CONTINUOUS_TRAINING))]
    if options.command == "why":
        return text.why(find(objects, options.name))
    verb, kind = options.command, _kind(options.command)
    mark = uuid.uuid4().hex[:12]
    if not command(objects, kind, options.name, verb, mark=mark, wait=options.wait):
        raise CommandError(
            f"the operator did not acknowledge {verb!r} within {options.wait:g} s; "
            "it acts on it as soon as it runs (is it? `kubectl get lease -A`)"
        )
    return [f"{kind} {options.name}: {verb} acknowledged", *text.why(find(objects, f"{kind}/{options.name}"))]


def _kind(verb: str) -> str:
    return names.CONTINUOUS_TRAINING if verb in names.TRAINING_COMMANDS else names.MODEL_DEPLOYMENT
