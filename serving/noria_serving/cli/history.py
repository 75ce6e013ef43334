"""`noria-server history PLACE`: what a payload log recorded, as a history for `kubectl noria simulate`.

In: where a payload log lies, a directory or a store. Out: CSV with the columns that a simulation reads, a row
for each prediction, with its label where one came. Invariants: what was logged is written as it was, by the
names that the frozen bins have, but for features that are called as a history's own columns are, which are
left out; of several labels of a row the last one counts.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from statistics import fmean
from typing import Any, Final

from noria_serving.cli import output
from noria_serving.contract import HISTORY_COLUMNS
from noria_serving.errors import NoriaError, Reason
from noria_serving.quality import spelling

INPUT: Final = "input."
OUTPUT: Final = "output."
HALF: Final = 0.5
TWO: Final = 2
Kind = tuple[str, tuple[str, ...]]
"""A folder of a log, and what its folders of versions are called."""
PREDICTIONS: Final[Kind] = ("predictions", ("version",))
LABELS: Final[Kind] = ("labels", ("taken_by", "version"))
KNOWN: Final = ("time", "id", "row", "label")
"""Columns of files of labels."""
NUMBERED: Final[Mapping[str | float, int]] = {"0": 0, "1": 1}
"""Labels of two classes that are called otherwise."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "history", help="a payload log as a history to simulate policies on", description=__doc__
    )
    parser.add_argument("place", metavar="PLACE", help="where the log was written: a directory, s3://, …")
    parser.add_argument(
        "--since",
        metavar="DAY",
        type=date.fromisoformat,
        help="as 2026-01-31, in UTC: files from that day on",
    )
    parser.add_argument("--version", default="", help="whose predictions alone are wanted")
    output.add(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the history."""
    since = arguments.since.isoformat() if arguments.since else ""
    lines = list(history(arguments.place, since=since, version=arguments.version))
    with output.opened(arguments.output) as stream:
        csv.writer(stream, lineterminator="\n").writerows(lines)
    return 0


def history(place: str, *, since: str = "", version: str = "") -> Iterator[Sequence[str]]:
    """The head and the rows, in no order; of all files, or of those since a day, or of one version."""
    from noria_serving import rows  # noqa: PLC0415  a server without this command stays light

    root = place.rstrip("/").removeprefix("file://")
    within = _folders(root, PREDICTIONS, since, version) if since or version else []
    logged = rows.read(f"{root}/predictions", within=within).columns
    labels = _labels(root, since)
    keys = [*zip(logged["id"].tolist(), logged["row"].tolist(), strict=True)]
    every = {label for _, label in labels.values()}
    numbers = {label for label in every if isinstance(label, float)}
    if numbers and numbers != every:  # of several models: each has labels of one type
        if not version:
            raise _several(root)
        numbers = set()
    told = _Told.of(logged, {labels[key][1] for key in keys if key in labels} | numbers)
    features = _features(logged)
    yield [
        "time",
        "predicted",
        "version",
        *told.heads,
        "label",
        *(one.removeprefix(INPUT) for one in features),
    ]
    for place_, key in enumerate(keys):
        predicted = str(logged["time"][place_])
        known, label = labels.get(key, (predicted, None))
        known = max(known, predicted)  # other clocks: that of the pod which took the label may be behind
        row = [known, predicted, str(logged["version"][place_]), *told.row(place_), told.label(label)]
        yield [*row, *(_text(logged[name][place_]) for name in features)]


def _several(root: str) -> NoriaError:
    """No one history is made of several models."""
    versions = ", ".join(sorted(_values(f"{root}/{PREDICTIONS[0]}", "version")))
    return NoriaError(
        Reason.DATA_INVALID,
        f"labels under {root} are numbers and texts, so it is a log of several models: take one version by "
        f"--version, of {versions}",
    )


def _features(logged: Iterable[str]) -> list[str]:
    """Columns of features; a word on those that would be taken for something else."""
    every = [name for name in logged if name.startswith(INPUT)]
    taken = {name for name in every if name.removeprefix(INPUT) in HISTORY_COLUMNS}
    if taken:
        names = ", ".join(sorted(name.removeprefix(INPUT) for name in taken))
        sys.stderr.write(f"noria-server: left out, as a history's own columns are called so: {names}\n")
    return [name for name in every if name not in taken]


def _folders(root: str, kind: Kind, since: str, version: str = "") -> list[str]:
    """Those of the days and of the version that are asked for, in the folder of a kind."""
    found = [folder for folder in _versions(root, kind) if not version or folder == f"version={version}"]
    days = [day for folder in found for day in _days(root, kind, folder, since)]
    if not days:
        what = " ".join(filter(None, (version and f"of {version}", since and f"since {since}")))
        raise NoriaError(Reason.NO_ROWS, f"{root}/{kind[0]} has no files {what}")
    return days


def _versions(root: str, kind: Kind) -> list[str]:
    """All folders of versions in the folder of a kind."""
    name, keys = kind
    return [f"{key}={value}" for key in keys for value in _values(f"{root}/{name}", key)]


def _days(root: str, kind: Kind, folder: str, since: str) -> list[str]:
    """The folders of the days that are asked for, in that of a version."""
    days = _values(f"{root}/{kind[0]}/{folder}", "day")
    return [f"{folder}/day={day}" for day in days if day >= since]


def _values(place: str, key: str) -> list[str]:
    """Of all folders KEY=… in a place; none where there is no such place."""
    from noria_serving.data import Select, values_of  # noqa: PLC0415

    try:
        return values_of(place, Select(key, sys.maxsize))
    except NoriaError as error:
        if error.reason in (Reason.NO_ROWS, Reason.NOT_FOUND):
            return []
        raise


def _labels(root: str, since: str) -> dict[tuple[str, int], tuple[str, str | float]]:
    """When the label of a row was known, and what it is; empty where none were logged. What each version took
    is read by itself: labels of another model may be texts where these are numbers.
    """
    from noria_serving import rows  # noqa: PLC0415

    found: dict[tuple[str, int], tuple[str, str | float]] = {}
    for folder in _versions(root, LABELS):
        within = _days(root, LABELS, folder, since) if since else [folder]
        if not within:
            continue
        try:
            logged = rows.read(f"{root}/labels", within=within).columns
        except NoriaError as error:
            if error.reason is Reason.NO_ROWS:
                continue
            raise
        for at, id_, row, label in zip(*(logged[name].tolist() for name in KNOWN), strict=True):
            known = found.get((id_, row))
            if known is None or known[0] <= at:
                found[id_, row] = (at, label)
    return found


@dataclass(frozen=True)
class _Told:
    """What a model said, row by row: a `number`, or `scores` of classes and perhaps the class `called`."""

    number: Any = None
    scores: Sequence[Any] = ()
    called: Any = None
    places: Mapping[str | float, int] = field(default_factory=dict)
    """Which of two classes labels are of."""

    @classmethod
    def of(cls, logged: Mapping[str, Any], labels: Set[str | float]) -> _Told:
        """By its outputs: one with several columns has the scores of classes. A single number is that of a
        regression where labels are numbers, else the score of the second of two classes.
        """
        names = [name for name in logged if name.startswith(OUTPUT)]
        scores = [name for name in names if f"{name.rpartition('.')[0]}.1" in names]
        single = [logged[name] for name in names if name not in scores]
        if len(scores) > TWO and not single:
            raise NoriaError(Reason.DATA_INVALID, "no output says which of the classes was predicted")
        if scores:
            found = [logged[name] for name in scores]
            places = _places(labels, found[1], single) if len(found) == TWO else {}
            return cls(scores=found, called=single[0] if single else None, places=places)
        numeric = any(isinstance(one, float) for one in labels)
        kinds = "fi" if numeric else "f"  # a whole number may be a label alone, which is no score
        if len(single) != 1 or single[0].dtype.kind not in kinds:
            what = ", ".join(names) or "nothing"
            raise NoriaError(
                Reason.DATA_INVALID, f"there is no score and no number among the outputs: {what}"
            )
        if numeric:
            return cls(number=single[0])
        return cls(scores=[1 - single[0], single[0]], places=_places(labels, single[0], ()))

    @property
    def heads(self) -> tuple[str, ...]:
        """The columns of what was said."""
        if self.number is not None:
            return ("prediction",)
        return ("score",) if len(self.scores) == TWO else ("prediction", "score")

    def row(self, place: int) -> list[str]:
        """What was said of a row."""
        if self.number is not None:
            return [_text(self.number[place])]
        if len(self.scores) == TWO:
            return [_text(self.scores[1][place])]
        return [spelling(self.called[place]), _text(max(one[place] for one in self.scores))]

    def label(self, given: str | float | None) -> str:
        """A label as a history has it: 0 or 1 of two classes; empty: none came."""
        if given is None or self.number is not None or len(self.scores) > TWO:
            return "" if given is None else str(given)
        return str(self.places[given])


def _places(labels: Set[str | float], scores: Any, single: Sequence[Any]) -> dict[str | float, int]:
    """Which of two classes each label is of, as servers take them: 0 and 1 are the first and the second where
    neither is called so.
    """
    rows: dict[str, list[float]] = defaultdict(list)
    if single:
        for one, score in zip(single[0].tolist(), scores.tolist(), strict=True):
            rows[spelling(one)].append(score)
    numbers: Mapping[str | float, int] = {} if rows.keys() & NUMBERED.keys() else NUMBERED
    names = labels - numbers.keys()
    known = rows.keys() | names
    if names and not rows:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"labels are called {_listed(names)}, and no output says which class is called so: log one that "
            "does, or give 0 and 1 as labels",
        )
    if len(known) > TWO:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"two classes are called {_listed(known)}: take one version by --version",
        )
    if len(known) == 1 and all(map(_is_number, known)) and (given := labels & numbers.keys()):
        other = int(_negative(rows, given) in known)  # where it stands, if its name is 0 or 1
        if any(numbers[one] != other for one in given):
            raise NoriaError(
                Reason.DATA_INVALID,
                f"of two classes one is called {_listed(known)}, and labels 0 and 1 may be the other's name "
                "or the place of either: take more of the log, with rows of which each was predicted",
            )
    negative = _negative(rows, names) if names else ""
    return {**numbers, **{name: int(name != negative) for name in names}}


def _listed(names: Iterable[str | float]) -> str:
    return ", ".join(sorted(map(repr, names))[:5])


def _is_number(name: str | float) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _negative(rows: Mapping[str, Sequence[float]], names: Set[str | float]) -> str | float:
    """What the first of two classes is called, by scores of rows by predicted class: as rows that score less
    are; where one class alone was predicted, it is the first where most of its rows score below one half, and
    else the other one of `names`, if that is there.
    """
    if len(rows) == TWO:
        return min(rows, key=lambda name: fmean(rows[name]))
    ((name, scores),) = rows.items()
    below, above = sum(score < HALF for score in scores), sum(score > HALF for score in scores)
    if below == above:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"no row tells whether {name!r} is the first of the two classes or the second",
        )
    return name if below > above else next(iter(names - {name}), "")


def _text(value: Any) -> str:
    """As CSV has it; empty: missing."""
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else repr(value.item())
