"""`python -m noria_serving.check`: what rows for training look like beside those that the champion learned.

In: $NORIA_CHECK_DATA (with _SELECT), perhaps $NORIA_CHECK_TIME (a column), and $NORIA_CHAMPION (with
_DIGEST), of whose bundle only signature and frozen bins are read; perhaps $NORIA_CHECK_SERVED: what it was
asked, by feature, in these bins. Out at $NORIA_RESULT: `{"schema", "rows", "features", "duplicates",
"newest", "absent", "dirty", "skewed", "served"}`: of the columns that stand out most, as many as fit.
Invariant: counts only, in the champion's own bins; what is too much the operator decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import contract, reference, result, rows, signature, signing
from noria_serving.artifact import Artifact, open_source
from noria_serving.counters.binning import Numbers, Texts
from noria_serving.data import parse_select
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main
from noria_serving.projection import mixed
from noria_serving.quality import numbered
from noria_serving.reference import Bins
from noria_serving.signature import DATATYPES, MATRIX

SHOWN: Final = 20
"""Columns of each kind that are told at most."""
THOUSANDTHS: Final = 1e11
"""A time that is a larger number than this counts thousandths: of seconds, or of thousandths again."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """Rows of one feature: values of another type are `wrong`, in no bin and not missing."""

    bins: Bins
    counts: NDArray[np.int64]
    wrong: int

    @property
    def rows(self) -> int:
        """All of them."""
        size = self.bins.size
        return int(self.counts[: size + 2].sum()) + self.wrong

    def dirt(self) -> dict[str, Any]:
        """Counts beside the bins, and the reference's."""
        missing, unseen, low, high = map(int, self.counts[self.bins.size :])
        return {
            "name": self.bins.name, "rows": self.rows, "missing": missing, "unseen": unseen,
            "outside": low + high, "wrong": self.wrong,
            "known": [self.bins.missing, sum(self.bins.counts)],
            "beyond": self.bins.infinite,
        }  # fmt: skip

    def worst(self) -> float:
        """The largest share by which it stands out."""
        told = self.dirt()
        missing, samples = told["known"]
        found = [told["missing"] - self.rows * missing / max(1, missing + samples)]
        found.append(told["outside"] - self.rows * told["beyond"] / max(1, missing + samples))
        found += [told["unseen"], told["wrong"]]
        return float(max(found)) / max(1, self.rows)

    def skew(self, others: Sequence[int]) -> dict[str, Any]:
        """Population stability index against other counts in the same bins, in nats, half a count in each."""
        p, q = (
            (np.asarray(counts) + 0.5) / (sum(counts) + 0.5 * self.bins.size)
            for counts in (others, self.counts[: self.bins.size])
        )
        psi = float(((p - q) * np.log(p / q)).sum())
        present = int(self.counts[: self.bins.size].sum())
        return {
            "name": self.bins.name, "psi": round(psi, 6), "bins": self.bins.size, "rows": present,
            "known": sum(others),
        }  # fmt: skip


def check(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    location, column = env.get("NORIA_CHECK_DATA", ""), env.get("NORIA_CHECK_TIME", "")
    if not location:
        raise NoriaError(Reason.CONFIGURATION, "set NORIA_CHECK_DATA")
    known, kinds = _learned(env)
    texts = [bins.name for bins in known if bins.kind == "category"]
    given = rows.read(location, parse_select(env.get("NORIA_CHECK_DATA_SELECT")), texts=texts)
    served = json.loads(env.get("NORIA_CHECK_SERVED", "{}"))
    # The numbers of an embedding have no bins of their own.
    wanted = [(bins, _name(bins, given)) for bins in known if bins.projection is None]
    found = [
        counted(bins, given.columns[name], kinds.get(bins.input, "FP64"))
        for bins, name in wanted
        if name is not None
    ]
    absent = [bins.name for bins, name in wanted if name is None]
    absent += [column] if column and column not in given.columns else []
    document = {
        "schema": contract.CHECK_SCHEMA,
        "rows": given.count,
        "features": len(wanted),
        "duplicates": given.count - distinct(given),
        "newest": newest(given.columns[column]) if column in given.columns else None,
        "absent": absent[:SHOWN],
        "dirty": [one.dirt() for one in sorted(found, key=Column.worst, reverse=True)[:SHOWN]],
        "skewed": _farthest(one.skew(one.bins.counts) for one in found),
        "served": _farthest(
            one.skew(counts)
            for one in found
            if len(counts := served.get(one.bins.name, ())) == one.bins.size  # else of other bins
        ),
    }
    return _fitted(document)


def _farthest(skews: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(skews, key=lambda one: -float(one["psi"]))[:SHOWN]


def _learned(env: Mapping[str, str]) -> tuple[Sequence[Bins], Mapping[str, str]]:
    """The champion's features, and the datatype of each of its inputs."""
    location = env.get("NORIA_CHAMPION", "")
    if not location:
        return (), {}
    digest = env.get("NORIA_CHAMPION_DIGEST") or None
    artifact = Artifact(open_source(location), digest=digest, trust=signing.read(env))
    shape = signature.parse(artifact.document(contract.SIGNATURE))
    known = reference.parse(artifact.document(contract.REFERENCE))
    return known.features, {tensor.name: tensor.datatype for tensor in shape.inputs}


def _name(bins: Bins, given: rows.Rows) -> str | None:
    """The column of the rows that is this feature; None where there is none. Those of a matrix have numbers,
    too.
    """
    alone = bins.name == bins.input != MATRIX
    names = (bins.name,) if alone else (bins.name, f"x{bins.column}")
    return next((name for name in names if name in given.columns), None)


def counted(bins: Bins, values: Array, datatype: str = "FP64") -> Column:
    """A column of the rows in the bins of a feature, as the model takes it: single precision moves numbers
    over the bounds that were made of it.
    """
    counts, wrong = np.zeros(bins.size + len(contract.BESIDE), dtype=np.int64), 0
    if bins.kind == "numeric":
        numbers, wrong = _numbers(values)
        if datatype in ("FP16", "FP32"):
            with np.errstate(over="ignore"):
                numbers = numbers.astype(DATATYPES[datatype]).astype(np.float32)
        Numbers([[(0, bins)]]).add(numbers[np.newaxis], counts)
        counts[bins.size] -= wrong
    else:
        texts = values if values.dtype.kind == "O" else rows.texts_of(values)
        Texts(0, bins).add(texts, counts)
    return Column(bins, counts, wrong)


def _numbers(values: Array) -> tuple[NDArray[np.float64], int]:
    """The values as numbers (an array of its own), and how many of them are none; NaN stands for those."""
    if values.dtype.kind != "O":
        return values.astype(np.float64), 0
    texts, places = numbered(values)
    parsed = np.array([_number(text) for text in texts], np.float64)
    wrong = np.isnan(parsed) & np.array([text.strip().lower() not in ("", "nan") for text in texts], bool)
    return parsed[places], int(np.count_nonzero(wrong[places]))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def distinct(given: rows.Rows) -> int:
    """How many rows differ in some column. Rows are told apart by 64 bits of a mix of their values, so that
    two of 10 million that differ count as one with a probability of 3 in a million.
    """
    told = np.zeros(given.count, dtype=np.uint64)
    for name in sorted(given.columns):
        _, places = numbered(given.columns[name])
        told = mixed(told + places.astype(np.uint64) + np.uint64(1))
    return len(np.unique(told))


def newest(values: Array) -> float | None:
    """The latest time of a column as Unix seconds; numbers may count milli-, micro- or nanoseconds, texts are
    ISO 8601, without a zone in UTC. None: none.
    """
    if values.dtype.kind == "O":
        last = max((str(value) for value in values), default="")
        if not last:
            return None
        try:
            moment = datetime.fromisoformat(last)
        except ValueError as error:
            text = f"the time {last!r:.60} is not of ISO 8601; name a column of times"
            raise NoriaError(Reason.DATA_INVALID, text) from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    numbers = values.astype(np.float64)
    present = numbers[np.isfinite(numbers)]
    if not len(present):
        return None
    last_number = float(present.max())
    while last_number > THOUSANDTHS:
        last_number /= 1000
    return last_number


def _fitted(document: dict[str, Any]) -> dict[str, Any]:
    """Within the limit of a result: the columns that stand out least go first."""
    while len(result.canonical(document)) > contract.RESULT_LIMIT:
        longest = max(("skewed", "served", "dirty", "absent"), key=lambda name: len(document[name]))
        if not document[longest]:
            break
        document = {**document, longest: document[longest][:-1]}
    return document


if __name__ == "__main__":
    main(contract.CHECK_SCHEMA, check)
