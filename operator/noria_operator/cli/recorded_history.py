"""A recorded history: a CSV of predictions, with what the model was given and the outcomes that became known.

In: the file, and the frozen bins of the versions in it (reference.json, alone or in a bundle's folder). Out:
rows that are placed in those bins. Columns: `time` (RFC 3339: when the label was known; of a row without one,
when it was predicted), `score` (0 to 1, of two classes), `prediction` (of a regression) or both (of several
classes: the predicted one and its score), `label` (0 or 1, a class, a number of a regression; empty: none
came), and perhaps `predicted` (when, if not at `time`) and `version`. All other columns are features, by the
names that the bins have. Whatever cannot be used is refused with its line.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from noria_operator.cli.cluster import CommandError
from noria_operator.domain.costs import spelled
from noria_operator.domain.recorded import Model, Predicted
from noria_operator.domain.recorded_bins import NOWHERE, Bins
from noria_operator.domain.tasks import BINARY, MULTICLASS, REGRESSION
from noria_serving.contract import (
    CONFUSION_CLASSES,
    HISTORY_COLUMNS,
    HISTORY_PREDICTIONS,
    REFERENCE,
    REFERENCE_SCHEMA,
    usual_range,
)

Json = dict[str, Any]

TASKS: Final = {
    ("score",): BINARY,
    ("prediction",): REGRESSION,
    HISTORY_PREDICTIONS: MULTICLASS,
}
"""What a model predicts, by the columns that have it."""
UNNAMED: Final = "recorded"
"""The version of rows that name none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prediction: when it was made, what it was, and its label with the time at which that was known."""

    predicted: datetime
    row: Predicted
    known: datetime
    label: float | None


@dataclass(frozen=True, slots=True)
class History:
    """Rows by the time of their predictions; `notes` say what cannot be told of them."""

    rows: Sequence[Row]
    model: Model
    notes: Sequence[str] = ()


@dataclass
class References:
    """Frozen bins by version, and those of versions that are not named."""

    documents: Mapping[str, Json]
    default: Json | None
    recorded: Sequence[str]
    named: bool
    """Whether rows say which of several classes was predicted."""
    bins: dict[str, Bins] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)

    def of(self, version: str) -> Bins | None:
        """The bins of a version; raises CommandError for a document that cannot be used."""
        document = self.documents.get(version, self.default)
        if document is None:
            self.without.add(version)
        elif version not in self.bins:
            try:
                self.bins[version] = Bins(document, self.recorded, named=self.named)
            except (KeyError, TypeError, ValueError) as error:
                raise CommandError(f"the reference of {version} is malformed: {error}") from error
        return self.bins.get(version)

    def classes(self, recorded: Iterable[str]) -> tuple[str, ...]:
        """Those of the rows, and with them those that versions know besides, while they are few."""
        documents = [self.documents.get(version) or self.default or {} for version in self.bins]
        every = dict.fromkeys(
            [*recorded, *(spelled(name) for one in documents for name in one.get("called", ()))]
        )
        return tuple(every if len(every) <= CONFUSION_CLASSES else recorded)

    def notes(self) -> Iterator[str]:
        """What cannot be watched."""
        left_out = sorted({name for one in self.bins.values() for name in one.left_out})
        if left_out:
            more = f" and {len(left_out) - 10} more" if len(left_out) > 10 else ""
            yield f"not watched, as the history has no such columns: {', '.join(left_out[:10])}{more}"
        if self.bins and self.without:
            yield f"without frozen bins, so little is said of it: {', '.join(sorted(self.without))}"


def read(path: Path, references: Sequence[str] = ()) -> History:
    """The history in a CSV; `references` are `FILE`, for all versions, or `VERSION=FILE`."""
    if path.is_dir():
        raise CommandError(
            f"{path} is a folder: if it holds a payload log, `noria-server history {path} --output rows.csv` "
            "makes the file"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.DictReader(stream)
            columns = list(lines.fieldnames or ())
            task = _task(path, columns)
            features = [name for name in columns if name not in HISTORY_COLUMNS]
            frozen = _references(references, features, named=task == MULTICLASS)
            classes: dict[str, int] = {}
            rows = [_row(f"{path} line {lines.line_num}", line, task, frozen, classes) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    if not rows:
        raise CommandError(f"{path} has no rows")
    values = sorted(one.row.value for one in rows)
    spread = values[-1] - values[0] or abs(values[-1])
    low, high = usual_range(values)
    rows.sort(key=lambda one: one.predicted)
    model = Model(task, frozen.bins, spread, frozen.classes(classes), high - low)
    return History(rows, model, list(frozen.notes()))


def _task(path: Path, columns: Sequence[str]) -> str:
    missing = [name for name in ("time", "label") if name not in columns]
    told = tuple(name for name in HISTORY_PREDICTIONS if name in columns)
    if not told:
        missing.append(
            "score (of two classes: 0 to 1), prediction (of a regression), or both (of several classes: the "
            "predicted one and its score)"
        )
    if missing:
        raise CommandError(f"{path} has no column {', '.join(missing)}")
    return TASKS[told]


def _references(asked: Sequence[str], recorded: Sequence[str], *, named: bool) -> References:
    found: dict[str, Json] = {}
    for one in asked:
        version, given, file = one.rpartition("=")
        if given and (not version or version in found):
            raise CommandError(f"--reference {one}: say VERSION=FILE, each version once")
        if not given and "" in found:
            raise CommandError("--reference: one FILE for all versions; say VERSION=FILE for the others")
        found[version] = _document(Path(file))
    default = found.pop("", None)
    return References(found, default, recorded, named)


def _document(path: Path) -> Json:
    """reference.json, or that of a bundle's folder."""
    file = path / REFERENCE if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read the reference {file}: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != REFERENCE_SCHEMA:
        raise CommandError(f"{file} is no reference: give the reference.json of a bundle, or its folder")
    return document


def _row(place: str, line: dict[str, str], task: str, references: References, classes: dict[str, int]) -> Row:
    """`classes` are numbered as they come."""
    if None in line or None in line.values():
        raise CommandError(f"{place}: it has not as many values as there are columns")
    try:
        known = _time(line["time"])
        predicted = _time(line["predicted"]) if line.get("predicted") else known
        value = float(line["prediction" if task == REGRESSION else "score"])
        called, label, name = 0, None, ""
        if task == MULTICLASS:
            name = _class(line["prediction"])
            called = classes.setdefault(name, len(classes))
            if line["label"]:
                label = float(classes.setdefault(spelled(line["label"]), len(classes)))
        elif line["label"]:
            label = float(line["label"])
        made = Predicted(line.get("version") or UNNAMED, value, called=called)
        bins = references.of(made.version)
        cells = bins.cells(line, value, name) if bins else NOWHERE
    except (ValueError, TypeError) as error:
        raise CommandError(f"{place}: {error}") from error
    if task == BINARY and not (0 <= value <= 1 and label in (None, 0, 1)):
        raise CommandError(
            f"{place}: score must be from 0 to 1, label 0 or 1 (of several classes, give the predicted one "
            "as prediction)"
        )
    if task == MULTICLASS and not 0 <= value <= 1:
        raise CommandError(f"{place}: score must be from 0 to 1")
    if not math.isfinite(value) or not math.isfinite(label or 0):
        raise CommandError(f"{place}: prediction and label must be finite")
    if known < predicted:
        raise CommandError(f"{place}: the label was known before the prediction was made")
    return Row(predicted, replace(made, cells=cells), known, label)


def _class(name: str) -> str:
    if not name:
        raise ValueError("prediction is empty, and score is that of a class")
    return spelled(name)


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
