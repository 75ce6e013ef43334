"""The only module that the operator and the model server share: names, paths and shapes on the wire.

What stands here is a promise between processes of different age (an older server speaks to a newer operator),
so it may grow but never change meaning. Standard library only: the operator's image holds no numpy, the
server's no Kopf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from math import frexp, log
from typing import Any, Final

# -- bundle: a directory -------------------------------------------------------------------------------------
MANIFEST: Final = "noria.json"
"""Lists format, task and the sha256 of every other file; the sha256 of its bytes is the bundle's digest."""
SIGNATURE: Final = "signature.json"
REFERENCE: Final = "reference.json"
GOLDEN: Final = "golden.json"
METRICS: Final = "metrics.json"
ENCODING: Final = "encoding.json"
"""Optional: categories of text columns, for formats that take numbers only."""
MODEL_SIGNATURE: Final = "model.sig"
"""Optional: a signature over all other files (see signing.py). In no manifest and not part of the digest."""
BUNDLE_SCHEMA: Final = "noria.bundle/v1"
CODE_FORMATS: Final = ("pickle", "python", "torch")
"""Formats that run code of whoever wrote the bundle; all others are data."""
LABELS_ONLY: Final = "labelsOnly"
"""In the manifest of a classifier that gives no probabilities: true."""
OF_PROBABILITIES: Final = ("auc", "logloss", "brier", "calibration", "ece", "average_precision")
"""Metrics that a model which gives labels alone has none of."""
NO_PROBABILITIES: Final = "gives labels alone, no probabilities"
"""What is said of such a model wherever something needs these."""

# -- what a Job of ours or of the user's says when it ends (termination message, at most RESULT_LIMIT bytes) -
RESULT_SCHEMA: Final = "noria.result/v1"
EVALUATION_SCHEMA: Final = "noria.evaluation/v1"
SELECTION_SCHEMA: Final = "noria.selection/v1"
CHECK_SCHEMA: Final = "noria.check/v1"
FINGERPRINT_SCHEMA: Final = "noria.fingerprint/v1"
VERIFICATION_SCHEMA: Final = "noria.verification/v1"
RESULT_LIMIT: Final = 4096

# -- exit codes of a training container ----------------------------------------------------------------------
EXIT_DO_NOT_RETRY: Final = 42

# -- environment of a training container ---------------------------------------------------------------------
ENV_PARAMS: Final = "NORIA_PARAMS"
ENV_PARAM_PREFIX: Final = "PARAM_"
ENV_DATA_PREFIX: Final = "NORIA_DATA_"
ENV_OUTPUT: Final = "NORIA_OUTPUT"
ENV_OUTPUT_URI: Final = "NORIA_OUTPUT_URI"
ENV_SEED: Final = "NORIA_SEED"
ENV_TRIGGER: Final = "NORIA_TRIGGER"
ENV_SELECTIONS: Final = "NORIA_SELECTIONS"
ENV_LOCATION: Final = "NORIA_LOCATION"
ENV_DVC_FILE: Final = "NORIA_DVC_FILE"
ENV_SLICES: Final = "NORIA_SLICES"
"""A JSON list of `{"feature", "bounds"?, "values"?}`: columns by which rows are told apart."""
ENV_SLICE_METRICS: Final = "NORIA_SLICE_METRICS"
"""Of the evaluation: comma list of metrics by slice."""
ENV_RESULT: Final = "NORIA_RESULT"

# -- environment of every pod that opens locations -----------------------------------------------------------
ENV_CREDENTIALS: Final = "NORIA_CREDENTIALS"
"""A JSON object `{location: directory}`; each file of the directory is a variable (see credentials.py)."""

ENV_PRIVATE_HOSTS: Final = "NORIA_PRIVATE_HOSTS"
"""Comma list of hosts and networks off the public internet that models may be fetched from."""
ENV_TRUSTED_KEYS: Final = "NORIA_TRUSTED_KEYS"
"""Public keys in PEM, one after another, with which models may be signed."""
ENV_REQUIRE_SIGNATURE: Final = "NORIA_REQUIRE_SIGNATURE"
"""`1`: a model that is not signed is refused."""

# -- environment of the model server -------------------------------------------------------------------------
ENV_NAMESPACE: Final = "NORIA_NAMESPACE"
ENV_DEPLOYMENT: Final = "NORIA_DEPLOYMENT"
ENV_MODEL: Final = "NORIA_MODEL"
ENV_VERSION: Final = "NORIA_VERSION"
ENV_BUNDLE: Final = "NORIA_BUNDLE"
ENV_DIGEST: Final = "NORIA_DIGEST"
ENV_FEEDBACK_KEYS: Final = "NORIA_FEEDBACK_KEYS"
ENV_PAYLOAD_LOG: Final = "NORIA_PAYLOAD_LOG"
"""A JSON object: `uri`, and perhaps `sample`, `redact` and `every` (seconds)."""
ENV_DRAIN_SECONDS: Final = "NORIA_DRAIN_SECONDS"
ENV_FINISH_SECONDS: Final = "NORIA_FINISH_SECONDS"
"""What is in flight may take so long after the drain; FINISH_SECONDS where it is absent."""
FINISH_SECONDS: Final = 20
ENV_WARM_UP_ROWS: Final = "NORIA_WARM_UP_ROWS"
"""Comma list of batch sizes that are predicted before the model is ready."""
ENV_WARM_UP_CALLS: Final = "NORIA_WARM_UP_CALLS"
ENV_ALLOW_CODE: Final = "NORIA_ALLOW_CODE"
"""`1` where the administrator lets models of the namespace run code of their own (CODE_FORMATS)."""

VERSION: Final = "0.1.0"
"""Of the distribution."""

# -- ports ---------------------------------------------------------------------------------------------------
SERVER_PORT: Final = 8080
"""Inference, health and feedback; reached through the router."""
COUNTERS_PORT: Final = 8081
"""`/metrics` for Prometheus and `/counters` for the operator; never routed."""
GRPC_PORT: Final = 8082
"""The Open Inference Protocol over gRPC."""
ENV_GRPC_PORT: Final = "NORIA_GRPC_PORT"
"""Another port, or NO_GRPC."""
NO_GRPC: Final = "off"

# -- inference -----------------------------------------------------------------------------------------------
VERSION_HEADER: Final = "Noria-Version"
"""On every answer to an inference request, good or bad: the name of the version that it was meant for."""

# -- counters ------------------------------------------------------------------------------------------------
COUNTERS_PATH: Final = "/counters"
COUNTERS_SCHEMA: Final = "noria.counters/v1"
LABELS_PLACE: Final = "/labels"
"""Where a version gives labels alone, this follows its task in the place that tells it."""
COUNTS_PATH: Final = "/metrics/counts"
"""The same counts for Prometheus: every number of `places`, where it is chosen as the operator's source."""
COUNTS_METRIC: Final = "model_counts_total"
"""Labels `place`, `index` and `of`, the row's length; the first number of each row, and all above zero."""
STARTED_METRIC: Final = "model_counts_started_timestamp_seconds"
"""Since when they are counted: another value is another process, whose counts began at zero."""
REFERENCE_PATH: Final = "/reference"
"""Of the counters' port: reference.json of the served version, with its name."""
REFERENCE_SCHEMA: Final = "noria.reference/v1"
ANSWERS_PATH: Final = "/answers"
"""Of the counters' port: the newest answers by request, so that those of two versions to a request and its
copy can be compared. Nothing is kept unless somebody asks."""
ANSWERS_SCHEMA: Final = "noria.answers/v1"
REQUEST_ID_HEADER: Final = "x-request-id"
"""Names a request; routers give it to those that have none, and copies of a request have the same."""
BESIDE: Final = ("missing", "unseen", "low", "high")
"""Per feature, after its bins. `low` and `high` are also in the end bins; `missing` and `unseen` are in none.
"""
ERRORS: Final = ("count", "over", "under", "squared", "clipped")
"""Of labelled rows of a regression: how many; sums of errors of predictions above and below the label (both
positive: their sum is the absolute error, their difference the bias); of squares; rows beyond LARGEST_ERROR.
"""
SCORE_BINS: Final = 200
"""Feedback on a score in [0, 1] is counted in this many bins of equal width, the same for every version."""
CALIBRATION_BINS: Final = 10
"""Of equal width, in which mean scores are compared with shares of positives; a score on an edge is above."""
CONFUSION_CLASSES: Final = 20
"""Of a classifier with at most so many classes, labels are counted by true and predicted class as well, and
predictions by class."""
KNOWN_CATEGORIES: Final = 2000
"""Of a column, so many categories without a bin of their own are named in the frozen bins. Where there are as
many, more may have been seen, and none is told from a new one: all others count as `other`."""
GRID_BINS: Final = 128
"""Predictions are counted in bins that versions have in common, too: so many, or up to twice as many, make up
the range in which a version's predictions usually lie."""
USUAL_SHARES: Final = (0.1, 0.01)
"""Of numbers, on each side, those beyond what `usual_range` goes by; the second where the first leaves one
value."""
USUAL_ROOM: Final = 3
"""How many times the distance of these ends it takes in on both sides."""
ERROR_UNITS: Final = 2**16
"""Errors of a regression are counted in whole units, which are powers of two: so many of them, or up to twice
as many, make up the reference's range."""
USUAL_UNITS: Final = 2**8
"""So many at least make up the range in which predictions usually lie, however far outliers are. More would
cut off errors of the few rows whose scale is some hundred times that of the others."""
LARGEST_ERROR: Final = 2**20
"""In units: a larger one counts as this, and as `clipped`."""
SLICINGS: Final = 4
"""Columns by which rows may be told apart."""
SLICE_MOST_VALUES: Final = 8
"""Values or bounds of such a column that have groups of their own."""
SLICE_GROUPS: Final = 16
"""A group is a number below this: in a token it takes four bits."""
SLICE_SCORE_BINS: Final = 40
"""Labelled scores of a group are counted in so many bins of equal width, of five of SCORE_BINS each."""
LOSS_UNITS: Final = 2**16
"""Log loss is added up in so many parts of a nat."""
SQUARE_UNITS: Final = (2 * SCORE_BINS) ** 2
"""Squares of a score less its label are added up in so many parts: then they are whole numbers."""
SLICE_SCORES: Final = 2 * SLICE_SCORE_BINS + CALIBRATION_BINS + 2
"""Counts of a group's labelled scores: negatives and positives by bin; in each of CALIBRATION_BINS the sum of
scores, each the middle of one of SCORE_BINS, in halves of a bin; sums of log loss and of squares."""
CLASS_SUMS: Final = ("loss", "loss_squared", "brier", "brier_squared")
"""Of labelled rows of several classes: sums of log loss, of the Brier score and of their squares, each row's
as a whole number of LOSS_UNITS parts. In `class_scores` they come after negatives and positives by bin
(SLICE_SCORE_BINS of them) of each class against all others."""
DELAY_BOUNDS: Final = (1, 60, 600, 3600, 21_600, 86_400, 259_200, 604_800, 1_209_600, 2_592_000, 7_776_000)
"""Seconds from prediction to label: 1 s, 1 min, 10 min, 1 h, 6 h, 1 d, 3 d, 7 d, 14 d, 30 d, 90 d."""

# -- feedback ------------------------------------------------------------------------------------------------
FEEDBACK_PARAMETER: Final = "feedback_token"
FEEDBACK_HEADER: Final = "Noria-Feedback"
FEEDBACK_KEYS_FILE: Final = "keys.json"
"""In a Secret: `{"active": "<kid>", "keys": {"<kid>": "<base64 of 32 bytes>"}, "from": <Unix time>}`. Each
period has one; they are mounted side by side, as `<period>.json`."""
FEEDBACK_MAX_ROWS: Final = 64

# -- a recorded history --------------------------------------------------------------------------------------
HISTORY_PREDICTIONS: Final = ("score", "prediction")
"""Columns of which it has one, of a model of two classes or a regression; or both, of several classes: the
predicted one and its score."""
HISTORY_COLUMNS: Final = (*HISTORY_PREDICTIONS, "time", "predicted", "label", "version")
"""All others are features."""


# -- why requests are refused --------------------------------------------------------------------------------
class Why(StrEnum):
    """Why inference requests are refused (4xx), in words that no client chooses."""

    UNANSWERED = "unanswered"
    """429, and those whose client went away: no fault of the request's."""
    FORM = "form"
    INPUTS = "inputs"
    DATATYPE = "datatype"
    SHAPE = "shape"
    VALUE = "value"
    STRANGE = "strange"


WHY_IN_WORDS: Final[Mapping[str, str]] = {
    Why.FORM: "the request cannot be read, or is too large",
    Why.INPUTS: "inputs are missing or unknown",
    Why.DATATYPE: "an input has another datatype",
    Why.SHAPE: "an input has another shape",
    Why.VALUE: "a value has no place in its datatype",
    Why.STRANGE: "the model has no answer to values that training never saw",
}
"""Of refusals that are the client's fault, as whoever sends the requests sees it."""


# -- what the numbers of `/counters` are called --------------------------------------------------------------
_PLAIN: Final = (
    "predictions",
    "feedback",
    "scores",
    "confusion",
    "class_scores",
    "slice_labels",
    "slice_scores",
    "label_delay",
)
_OF_VERSION: Final = (
    "requests",
    "refused",
    "malformed",
    "duplicates",
    "features",
    "prediction",
    "called",
    "slices",
)
"""Of the version that is served, in whose bins features are counted and whose signature decides which
requests are refused: counts of two versions are never added up."""
FAMILIES: Final = (*_PLAIN, *_OF_VERSION, "task", "classes", "outputs", "errors", "slice_errors")
"""What places begin with."""


def partition_age(value: str) -> tuple[bool, int, str]:
    """Where a value of a partition key stands, oldest first: whole numbers as such, then everything else as
    text (ISO dates). It does not depend on which others there are.
    """
    whole = re.fullmatch(r"-?\d+", value) is not None
    return not whole, int(value) if whole else 0, value


def usual_range(ordered: Sequence[float]) -> tuple[float, float]:
    """Within which numbers, of which there are some in growing order, usually lie: what is beyond their
    quantiles has room as far as it is not far out, so that outliers move no end.
    """
    low, high = ordered[0], ordered[-1]
    for share in USUAL_SHARES:
        place = round(share * (len(ordered) - 1))
        first, last = ordered[place], ordered[-1 - place]
        if first < last:
            room = USUAL_ROOM * (last - first)
            return max(low, first - room), min(high, last + room)
    return low, high


def error_exponent(spread: float, usual: float) -> int:
    """The unit of errors, as a power of two, of predictions that are so far apart at most and usually (0: not
    known). It is the finer of two, so that no outlier among predictions hides errors.
    """
    exponent = frexp(spread or 1.0)[1] - ERROR_UNITS.bit_length()
    if usual:
        exponent = min(exponent, frexp(usual)[1] - USUAL_UNITS.bit_length())
    return min(max(exponent, -1000), 900)


@cache
def slice_score(row_bin: int, positive: bool) -> tuple[tuple[int, int], ...]:
    """What a labelled score, in one of SCORE_BINS, adds to the SLICE_SCORES of its group: places, amounts."""
    score = (row_bin + 0.5) / SCORE_BINS
    off = 2 * (SCORE_BINS - row_bin) - 1 if positive else 2 * row_bin + 1
    sums = 2 * SLICE_SCORE_BINS
    return (
        (row_bin * SLICE_SCORE_BINS // SCORE_BINS + positive * SLICE_SCORE_BINS, 1),
        (sums + row_bin * CALIBRATION_BINS // SCORE_BINS, 2 * row_bin + 1),
        (sums + CALIBRATION_BINS, round(-log(score if positive else 1 - score) * LOSS_UNITS)),
        (sums + CALIBRATION_BINS + 1, off * off),
    )


def places(body: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every row of counts in a document of `/counters` by its place, such as `scores/m-3/negatives`. Rows of
    one place may be added up, whichever process counted them: what is counted in bins or units of a version
    has these in its place. Raises AttributeError, KeyError, OverflowError, TypeError or ValueError for what
    is no such document.
    """
    for family in FAMILIES:
        yield from places_of(body, family)


def places_of(body: Mapping[str, Any], family: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Those of `places` that begin with one of FAMILIES."""
    if family in _PLAIN:
        yield from _rows(family, body.get(family, {}))
        return
    version = str(body["version"])
    if family in _OF_VERSION:
        yield from _rows(f"{family}/{version}", body.get(family, {}))
    elif family == "task" and body.get("task"):
        yield f"task/{version}/{body['task']}{LABELS_PLACE if body.get('labels_only') else ''}", ()
    elif family == "classes":
        yield from (
            (f"classes/{version}/{place}/{name}", ()) for place, name in enumerate(body.get(family, ()))
        )
    elif family == "outputs" and (grid := body.get("outputs")):
        place = f"outputs/{version}/{int(grid['exponent'])}/{int(grid['first'])}"
        yield place, tuple(map(int, grid["bins"]))
    elif family in ("errors", "slice_errors"):
        for whose, errors in (body.get(family) or {}).items():
            yield from _rows(f"{family}/{whose}/{float(body['error_units'][whose])!r}", errors)


def _rows(place: str, value: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, int):  # nearly all of them: no generator for each
                yield f"{place}/{name}", (item,)
            elif isinstance(item, list):
                yield f"{place}/{name}", tuple(map(int, item))
            else:
                yield from _rows(f"{place}/{name}", item)
    elif isinstance(value, list):
        yield place, tuple(map(int, value))
    else:
        yield place, (int(value),)
