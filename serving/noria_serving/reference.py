"""The frozen bins of a version: made once where the model is trained, counted against wherever it is served.

In: the training rows as arrays and the model's scores on them. Out: reference.json. Invariant: every replica
and every restart counts in the same bins, so counts can be added up and subtracted.

Numeric: at most 10 bins at the reference's quantiles; a value on an edge goes to the lower bin, the end bins
are open, equal edges are merged, and a value that alone makes up a quantile (an atom such as 0) gets a bin of
its own. Categories: the 20 most frequent ones, `other` for the rest of the known ones. Missing values are
counted beside, infinite ones in the end bins.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import calibration, projection, residuals, slices
from noria_serving.calibration import Calibration
from noria_serving.contract import CONFUSION_CLASSES, KNOWN_CATEGORIES, REFERENCE_SCHEMA, usual_range
from noria_serving.errors import NoriaError, Reason
from noria_serving.projection import Projection
from noria_serving.quality import spelling
from noria_serving.residuals import Residuals
from noria_serving.signature import Signature

SCHEMA: Final = REFERENCE_SCHEMA
BINS: Final = 10
TOP_CATEGORIES: Final = 20
MAX_FEATURES: Final = 10_000
FALSE_ALARM: Final = 0.01
"""Per data set and window: the noise floor of each of F features is taken at 1 - FALSE_ALARM / F."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Bins:
    """One feature's (or the prediction's) frozen bins."""

    name: str
    input: str
    column: int
    kind: str
    """`numeric`, `category`, or `projection`: a number that is made of `projection.width` columns from
    `column` on.
    """
    edges: tuple[float, ...]
    values: tuple[str, ...]
    known: tuple[str, ...]
    """Categories that were seen but have no bin of their own: they count as `other`."""
    low: float
    high: float
    counts: tuple[int, ...]
    missing: int
    chi2_critical: float
    projection: Projection | None = None
    infinite: int = 0
    """Numbers in the end bins that are infinite, and so beyond any `low` and `high`."""
    usual: tuple[float, float] | None = None
    """Within which predictions of a regression usually lie; None in bundles of earlier releases."""

    @property
    def size(self) -> int:
        return len(self.values) + 1 if self.kind == "category" else len(self.edges) + 1

    @property
    def complete(self) -> bool:
        """Whether all categories that were seen are named, so that any other one is new."""
        return len(self.known) < KNOWN_CATEGORIES

    def labels(self) -> list[str]:
        """Names of the bins for people and for Prometheus; a category may be called `other`, too."""
        if self.kind != "category":
            return [str(i) for i in range(self.size)]
        rest = "other"
        while rest in self.values:
            rest += "_"
        return [*self.values, rest]


@dataclass(frozen=True)
class Reference:
    samples: int
    features: tuple[Bins, ...]
    prediction: Bins
    residuals: Residuals | None = None
    """Of a regression; None in bundles of earlier releases."""
    slices: tuple[slices.Slicing, ...] = ()
    """Columns by which rows are told apart; none unless asked for."""
    called: Mapping[str, int] = field(default_factory=dict)
    """Rows by predicted class, where `prediction` is of the scores of several, a few."""
    calibration: Calibration | None = None
    """Of a classifier that was saved with labels of held-out rows."""


def numeric_edges(values: NDArray[np.float64], *, bins: int = BINS) -> NDArray[np.float64]:
    """Inner edges at the quantiles of finite `values` (linear interpolation), without empty bins."""
    if not len(values):
        return np.empty(0)
    quantiles = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    edges, times = np.unique(quantiles, return_counts=True)
    atoms = edges[times > 1]
    edges = np.unique(np.concatenate([edges, np.nextafter(atoms, -np.inf)]))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    if not counts[-1]:
        edges, counts = edges[:-1], counts[:-1]
    return edges[counts[: len(edges)] > 0]


def numeric(name: str, column: Array, *, source: tuple[str, int] = ("", 0)) -> Bins:
    """Bins of a column of numbers or booleans."""
    values = column.astype(np.float64)
    present = values[~np.isnan(values)]
    finite = present[np.isfinite(present)]
    edges = numeric_edges(finite)
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return Bins(
        name, *source, "numeric", tuple(map(float, edges)), (), (), low, high,
        tuple(map(int, counts)), len(values) - len(present), 0.0, infinite=len(present) - len(finite),
    )  # fmt: skip


def usual(prediction: Array) -> list[float]:
    """Within which predictions of a regression usually lie; nothing of none that is finite."""
    finite = np.sort(prediction[np.isfinite(prediction)].astype(np.float64))
    return [*usual_range(finite.data)] if len(finite) else []


def category(name: str, column: Array, *, source: tuple[str, int] = ("", 0)) -> Bins:
    """Bins of a column of strings; the empty string is a missing value."""
    tally = Counter(str(value) for value in column)
    missing = tally.pop("", 0)
    ranked = sorted(tally, key=lambda value: (-tally[value], value))
    top, rest = ranked[:TOP_CATEGORIES], ranked[TOP_CATEGORIES:]
    counts = [*(tally[value] for value in top), sum(tally[value] for value in rest)]
    known = tuple(sorted(rest[:KNOWN_CATEGORIES]))
    return Bins(name, *source, "category", (), tuple(top), known, 0.0, 0.0, tuple(counts), missing, 0.0)


def called(name: str, places: Array, classes: Sequence[Any]) -> Bins:
    """Bins of predicted classes, of which `places` are positions: those that were never predicted have their
    own, too, as none of them is ever new.
    """
    tally = np.bincount(places, minlength=len(classes)).tolist()
    ranked = sorted(range(len(classes)), key=lambda place: (-tally[place], place))
    top, rest = ranked[:TOP_CATEGORIES], ranked[TOP_CATEGORIES:]
    counts = (*(tally[place] for place in top), sum(tally[place] for place in rest))
    values = tuple(spelling(classes[place]) for place in top)
    known = tuple(sorted(spelling(classes[place]) for place in rest[:KNOWN_CATEGORIES]))
    return Bins(name, "", 0, "category", (), values, known, 0.0, 0.0, counts, 0, 0.0)


def by_class(places: Array, classes: Sequence[Any]) -> dict[str, int]:
    """Rows by predicted class, of which `places` are positions."""
    tally = np.bincount(places, minlength=len(classes)).tolist()
    return dict(zip(map(spelling, classes), tally, strict=True))


def build(
    signature: Signature,
    inputs: Mapping[str, Array],
    prediction: Array,
    *,
    names: Sequence[str] | None = None,
    embeddings: Mapping[str, range] | None = None,
    apart: Sequence[slices.Asked] = (),
    classes: Sequence[Any] = (),
) -> dict[str, Any]:
    """reference.json from the rows as the model takes them. `names`: of the columns of a matrix.
    `embeddings`: columns of a matrix that are one vector each, by its name; a tensor with `embedding` in its
    name is one, too. `apart`: columns by which rows are told apart; those that the model does not take (and
    embeddings) are left out. `classes`: of a model that gives labels alone, whose predictions are positions
    among these.
    """
    features: list[Bins] = []
    for tensor in signature.inputs:
        array = inputs[tensor.name].reshape(len(inputs[tensor.name]), -1)
        vectors = projection.vectors(tensor, array, embeddings or {})
        for name, columns in vectors.items():
            features += projected(name, array[:, columns.start : columns.stop], (tensor.name, columns.start))
        inside = {column for columns in vectors.values() for column in columns}
        for index in range(array.shape[1]):
            if index in inside:
                continue
            name = tensor.name if array.shape[1] == 1 else (names[index] if names else f"x{index}")
            features.append(_column(name, array[:, index], (tensor.name, index)))
    predicted = called("__prediction__", prediction, classes) if classes else None
    return document(_of_bins(features, prediction, inputs, apart, predicted))


def of_columns(
    columns: Mapping[str, Array],
    prediction: Array,
    *,
    apart: Sequence[slices.Asked] = (),
    labels: Array | None = None,
    called: Array | None = None,
    scored: bool = False,
) -> dict[str, Any]:
    """reference.json of rows that stand for training where there is no bundle: columns of numbers or texts as
    they are, and what was predicted, of rows that the model did not learn from. `labels`: of a regression; of
    two classes 0 or 1; or of several, of which `called` are the predicted ones. Of both `prediction` is
    `scored`.
    """
    features = [_column(name, values, (name, 0)) for name, values in columns.items()]
    made = _of_bins(features, prediction, columns, apart)
    if called is not None:
        made = replace(made, called=_named(called, called if labels is None else labels))
    if scored and labels is not None:
        found = calibration.of_rows(prediction, called, labels)
        made = replace(made, calibration=found if found.samples else None)
    elif labels is not None:
        errors = residuals.measured(made.prediction.edges, prediction, labels, of=residuals.HELD_OUT)
        made = replace(made, residuals=errors)
    return document(made)


def _named(called: Array, labels: Array) -> dict[str, int]:
    """Rows by predicted class; labels name those that were never predicted, too. None of more than a few."""
    tally, known = Counter(map(spelling, called.tolist())), labels
    if labels.dtype.kind == "f":  # of numbers, those that are missing
        known = labels[~np.isnan(labels)]
    names = sorted({*tally, *map(spelling, known.tolist())} - {""})
    return {name: tally[name] for name in names} if len(names) <= CONFUSION_CLASSES else {}


def _column(name: str, values: Array, source: tuple[str, int]) -> Bins:
    return (category if values.dtype.kind in "OUS" else numeric)(name, values, source=source)


def _of_bins(
    features: Sequence[Bins],
    prediction: Array,
    inputs: Mapping[str, Array],
    apart: Sequence[slices.Asked],
    predicted: Bins | None = None,
) -> Reference:
    if len(features) > MAX_FEATURES:
        raise NoriaError(Reason.TOO_LARGE, f"{len(features)} features; at most {MAX_FEATURES} can be counted")
    made = tuple(_with_floor(bins, len(features)) for bins in features)
    known = {bins.name: bins for bins in made if bins.kind != "projection"}
    split = tuple(_frozen(wish, known[wish.feature], inputs) for wish in apart if wish.feature in known)
    told = _with_floor(predicted or _column("__prediction__", prediction, ("", 0)), 1)
    return Reference(len(prediction), made, told, slices=split)


def _frozen(wish: slices.Asked, bins: Bins, inputs: Mapping[str, Array]) -> slices.Slicing:
    array = inputs[bins.input]
    return slices.freeze(
        wish, array.reshape(len(array), -1)[:, bins.column], source=(bins.input, bins.column)
    )


def projected(name: str, vectors: Array, source: tuple[str, int]) -> list[Bins]:
    """Bins of an embedding: of its length and of its projections. The seed is made of the name, so that
    versions of a model are counted alike.
    """
    seed = zlib.crc32(name.encode())
    every = projection.of(vectors.shape[1], seed)
    numbers = projection.Projected(every)(vectors.astype(np.float64).T)
    made = []
    for one, values in zip(every, numbers, strict=True):
        label = "norm" if one.index == projection.NORM else str(one.index)
        bins = numeric(f"{name}[{label}]", values, source=source)
        made.append(replace(bins, kind="projection", projection=one))
    return made


def document(reference: Reference) -> dict[str, Any]:
    """reference.json of bins: what `parse` reads."""
    errors = {"errors": reference.residuals.as_json()} if reference.residuals else {}
    return {
        "schema": SCHEMA,
        "samples": reference.samples,
        "features": [_document(bins) for bins in reference.features],
        "prediction": _document(reference.prediction),
        **errors,
        **({"slices": [one.document() for one in reference.slices]} if reference.slices else {}),
        **({"called": dict(reference.called)} if reference.called else {}),
        **({"calibration": reference.calibration.as_json()} if reference.calibration else {}),
    }


def _with_floor(bins: Bins, features: int) -> Bins:
    """The same bins with the noise floor of one of so many features."""
    return replace(
        bins, chi2_critical=round(chi2_quantile(1 - FALSE_ALARM / max(1, features), bins.size - 1), 6)
    )


def _document(bins: Bins) -> dict[str, Any]:
    shared = {"name": bins.name, "input": bins.input, "column": bins.column, "kind": bins.kind}
    tail = {"counts": list(bins.counts), "missing": bins.missing, "chi2_critical": bins.chi2_critical}
    if bins.projection is not None:
        shared["projection"] = bins.projection.as_json()
    if bins.infinite:
        tail["infinite"] = bins.infinite
    if bins.usual is not None:
        tail["usual"] = list(bins.usual)
    if bins.kind != "category":
        return {**shared, "edges": list(bins.edges), "low": bins.low, "high": bins.high, **tail}
    return {**shared, "values": list(bins.values), "known": list(bins.known), **tail}


def chi2_quantile(probability: float, freedom: int) -> float:
    """Quantile of the chi-squared distribution (monitoring's noise floor is this times 1/n + 1/m)."""
    from scipy.stats import chi2  # noqa: PLC0415  slow to import and only needed where a bundle is made

    return float(chi2.ppf(probability, freedom)) if freedom > 0 else 0.0


def parse(document: object) -> Reference:
    """Read reference.json; anything malformed is `ManifestInvalid`."""
    try:
        if not isinstance(document, dict) or document["schema"] != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA!r}")  # noqa: TRY301  one place turns every fault into a reason
        if len(document["features"]) > MAX_FEATURES:
            raise ValueError(f"more than {MAX_FEATURES} features")  # noqa: TRY301
        features = tuple(_bins(entry) for entry in document["features"])
        prediction, errors = _bins(document["prediction"]), document.get("errors")
        split = slices.parse(document.get("slices", ()))
        known = None if errors is None else residuals.parse(errors, prediction.size)
        by_name = {str(name): int(rows) for name, rows in document.get("called", {}).items()}
        labels = document.get("calibration")
        by_score = None if labels is None else calibration.parse(labels)
        return Reference(int(document["samples"]), features, prediction, known, split, by_name, by_score)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoriaError(Reason.MANIFEST_INVALID, f"reference.json is malformed: {error}") from error


def _bins(entry: Mapping[str, Any]) -> Bins:
    kind = entry["kind"]
    if kind not in ("numeric", "category", "projection"):
        raise ValueError(f"unknown kind {kind!r}")
    edges = tuple(float(edge) for edge in entry.get("edges", ()))
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"edges of {entry['name']!r} must grow")
    bins = Bins(
        str(entry["name"]), str(entry["input"]), int(entry["column"]), kind, edges,
        tuple(map(str, entry.get("values", ()))), tuple(map(str, entry.get("known", ()))),
        float(entry.get("low", 0.0)), float(entry.get("high", 0.0)),
        tuple(int(count) for count in entry["counts"]), int(entry["missing"]), float(entry["chi2_critical"]),
        projection.parse(entry["projection"]) if kind == "projection" else None,
        int(entry.get("infinite", 0)),
    )  # fmt: skip
    if "usual" in entry:
        bins = replace(bins, usual=_range(*map(float, entry["usual"])))
    if len(bins.counts) != bins.size:
        raise ValueError(f"{bins.name!r} has {bins.size} bins but {len(bins.counts)} counts")
    return bins


def _range(low: float, high: float) -> tuple[float, float]:
    if not (low <= high and np.isfinite([low, high]).all()):
        raise ValueError(f"{low} to {high} is no range")
    return low, high
