"""The command line: `kubectl noria status|why|history|report|simulate|promote|abort|undo|retry|pause|resume|
restart|retrain`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from noria_operator.api import names
from noria_operator.api.types import parse_duration
from noria_operator.cli import text
from noria_operator.cli.cluster import Cluster, CommandError, Json, Objects, command, find

LOOK_SECONDS = 1.0
"""Between two looks of `status --watch`."""
_APART = {"report": "noria_operator.cli.report.command:run", "simulate": "noria_operator.cli.simulate:run"}
"""What runs a command for which more has to be loaded than for all others, which do not wait for it."""
_APPROVALS = frozenset({"promote", "promote-full", "resume"})
"""What is meant for the version that a person looked at, and for no other that comes meanwhile."""
_MEANINGS = {
    "promote": "go on to the next step now, or with --full give the challenger all traffic",
    "abort": "take all traffic from the challenger and reject its version",
    "undo": "go back to the last good version, or to that of --to, as it was",
    "retry": "roll a rejected version out again",
    "pause": "hold the rollout where it is",
    "resume": "go on with a paused rollout",
    "restart": "replace the champion's pods one by one, with the installation's image of now",
    "retrain": "start a training run now (cooldown does not hold it)",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 1 when something cannot be done."""
    options = parser().parse_args(arguments)
    try:
        offline = options.command == "simulate" and options.file is not None
        objects = None if offline else Cluster(options.namespace, options.context)
        for line in offline_run(options) if objects is None else run(options, objects):
            print(line, flush=True)
    except CommandError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        # Who reads has seen enough; nothing may be left that is written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


def _place(default: str | None) -> argparse.ArgumentParser:
    """The options that say where the objects are."""
    made = argparse.ArgumentParser(add_help=False, argument_default=default)
    made.add_argument("-n", "--namespace", help="namespace; default: that of the kubeconfig's context")
    made.add_argument("--context", help="context of the kubeconfig; default: the current one")
    return made


class _Command(argparse.ArgumentParser):
    """One command; what is not said after it stays as it was said before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parents=[_place(argparse.SUPPRESS)], **options)


def parser() -> argparse.ArgumentParser:
    """The options, with help that says what each command does."""
    made = argparse.ArgumentParser(
        prog="kubectl noria",
        parents=[_place(None)],
        description="What deployments and retraining loops are doing, and why.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Command)
    status = commands.add_parser("status", help="all ModelDeployments and ContinuousTrainings in one view")
    status.add_argument("-w", "--watch", action="store_true", help="go on with what changes, until Ctrl-C")
    why = commands.add_parser("why", help="why an object is in the state that it is in")
    why.add_argument("name", help="NAME, or KIND/NAME such as tj/flight-delay-x7k2p")
    history = commands.add_parser("history", help="which versions served, and what happened to them and why")
    history.add_argument("name", help="name of the ModelDeployment")
    paper = commands.add_parser("report", help="what changed, how sure, and why: one HTML file")
    paper.add_argument("name", help="NAME, or KIND/NAME such as mv/flight-delay-4, tj/…, md/… or ct/…")
    paper.add_argument("-o", "--output", type=Path, help="the file; default: NAME.html")
    trial = commands.add_parser(
        "simulate", help="what a retraining policy would have done over a recorded history"
    )
    trial.add_argument("name", nargs="?", help="name of the ContinuousTraining; not with --file")
    trial.add_argument(
        "-f", "--file", type=Path, help="a YAML file with the policy instead: needs no cluster"
    )
    trial.add_argument(
        "--history", type=Path,
        help="CSV of single predictions, which the cluster keeps none of: record them with payloadLog, and "
        "noria-server history makes the file; or write it: time, score or prediction, label; perhaps "
        "predicted, version and features",
    )  # fmt: skip
    trial.add_argument(
        "--reference", action="append", default=[], metavar="[VERSION=]FILE",
        help="reference.json of a bundle, or its folder: for triggers on what the model sees",
    )  # fmt: skip
    trial.add_argument(
        "--training-time", type=parse_duration, default=timedelta(hours=1), help="of a run; default: 1h"
    )
    trial.add_argument(
        "--every", type=parse_duration, default=timedelta(minutes=15), help="between two looks; default: 15m"
    )
    for verb, meaning in _MEANINGS.items():
        given = commands.add_parser(verb, help=meaning)
        given.add_argument("name", help=f"name of the {_kind(verb)}")
        given.add_argument("--id", help="for the history, such as your name and a ticket; new each time")
        given.add_argument(
            "--wait", type=float, default=10.0, help="seconds to wait for the operator's answer"
        )
        if verb == "promote":
            given.add_argument("--full", action="store_true", help="past all steps, pauses and evidence")
            given.add_argument(
                "--version",
                help="the version that is meant; nothing happens if another is on trial; default: the one "
                "that is, but for experiments and an --id with an @",
            )
        if verb == "undo":
            given.add_argument("--to", metavar="VERSION", help="a version that served before")
    return made


def run(options: argparse.Namespace, objects: Objects) -> Iterable[str]:
    """Do what the options say; the lines to print."""
    if options.command == "status":

        def look() -> list[str]:
            deployments = objects.list(names.MODEL_DEPLOYMENT)
            trainings = objects.list(names.CONTINUOUS_TRAINING)
            if not deployments and not trainings:
                return [text.NOTHING]
            return [*text.deployments(deployments), "", *text.trainings(trainings)]

        return changes(look) if options.watch else look()
    if options.command == "why":
        return text.why(find(objects, options.name))
    if options.command == "history":
        return text.history(find(objects, f"{names.MODEL_DEPLOYMENT}/{options.name}"))
    if options.command in _APART:
        return _apart(options, objects)
    verb, kind = options.command, _kind(options.command)
    if verb == "promote" and options.full:
        verb = "promote-full"
    mark = options.id or uuid.uuid4().hex[:12]
    if verb == "undo" and "@" in mark and not options.to:
        raise CommandError("--id: undo goes to the version before an @; name that with --to, or leave @ out")
    before = objects.get(kind, options.name) or {}
    named = {"undo": "to", "promote": "version", "promote-full": "version"}.get(verb, "")
    version = getattr(options, named) if named else None
    if not version and verb in _APPROVALS and "@" not in mark:
        version = _on_trial(before)
    mark = f"{version}@{mark}" if version else mark
    if not command(objects, kind, options.name, verb, mark=mark, wait=options.wait):
        status = find(objects, f"{kind}/{options.name}").get("status", {})
        if held := text.held(status):
            raise CommandError(f"{verb} is asked for, and waits {held}")
        raise CommandError(
            f"the operator did not acknowledge {verb!r} within {options.wait:g} s; "
            "it acts on it as soon as it runs (is it? `kubectl get lease -A`)"
        )
    return _obeyed(objects, kind, before, verb, mark=mark)


def _on_trial(obj: Json) -> str:
    """The revision that an approval is for; empty where there is none, or where it has to be told which."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    several = status.get("others") or (spec.get("strategy") or {}).get("experiment")
    return "" if several else str((status.get("candidate") or {}).get("name", ""))


def _obeyed(objects: Objects, kind: str, before: Json, verb: str, *, mark: str) -> Iterator[str]:
    """What became of a command; `before` is the object before it was given."""
    name = before["metadata"]["name"]
    yield f"{kind} {name}: {verb} acknowledged"
    found = find(objects, f"{kind}/{name}")
    yield from text.why(found)
    given = f"{names.command_annotation(verb)} {mark[: names.COMMAND_LIMIT]}"
    if why := text.refusal(before, found, given):
        raise CommandError(f"{verb} is refused: {why}")


def offline_run(options: argparse.Namespace) -> Iterable[str]:
    """What needs no cluster: a policy from a file over a recorded history."""
    return _apart(options, None)


def _apart(options: argparse.Namespace, objects: Objects | None) -> Iterable[str]:
    made: Callable[[argparse.Namespace, Objects | None], Iterable[str]] = resolve_name(
        _APART[options.command]
    )
    return made(options, objects)


def changes(look: Callable[[], list[str]], sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """What `look` sees, and then, without end, the lines that were not there the last time, however wide its
    columns were.
    """
    before: set[str] = set()
    while True:
        now = [(" ".join(line.split()), line) for line in look()]
        yield from (line for words, line in now if words not in before)
        before = {words for words, _ in now}
        sleep(LOOK_SECONDS)


def _kind(verb: str) -> str:
    return names.CONTINUOUS_TRAINING if verb in names.TRAINING_COMMANDS else names.MODEL_DEPLOYMENT
