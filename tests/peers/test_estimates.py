"""Our estimates without labels are NannyML's on its own data, chunk by chunk; the digits themselves are held
in tests/unit/domain/test_estimated.py, without the package.
"""

from __future__ import annotations

from collections import Counter

import pytest
from tests.peers.running import told

from noria_operator.domain import quality
from noria_operator.domain.estimated import calibration_error, expected, isotonic, itself
from noria_operator.domain.quality import Rows

CHUNK = 5000

pytestmark = pytest.mark.extended


def labelled(scores: list[float], labels: list[int]) -> Rows:
    found = Counter(zip(scores, labels, strict=True))
    return [(score, float(found[score, 0]), float(found[score, 1])) for score in sorted(set(scores))]


def test_estimates_are_nannymls() -> None:
    said = told("peer-nannyml", "nannyml_cbpe.py", "")
    known = labelled(*said["known"])
    calibration = isotonic(known)
    assert said["calibrated"]
    assert calibration_error(known, calibration) < calibration_error(known, itself)
    ours: dict[str, list[float | None]] = {"roc_auc": [], "accuracy": [], "f1": []}
    for start in range(0, len(said["scores"]), CHUNK):
        chunk = slice(start, start + CHUNK)
        counted = Counter(zip(said["scores"][chunk], said["called"][chunk], strict=True))
        scores = [(score, float(count)) for (score, _), count in counted.items()]
        ours["roc_auc"].append(quality.auc(expected(scores, calibration)))
        # Some of its scores below one half are called positive: rows are told apart by what they are called.
        rows = [
            (0.75 if called else 0.25, *expected([(score, float(count))], calibration)[0][1:])
            for (score, called), count in counted.items()
        ]
        ours["accuracy"].append(quality.accuracy(rows))
        ours["f1"].append(quality.f1(rows))
    for metric, values in ours.items():
        assert values == pytest.approx(said["estimates"][metric], abs=1e-6), metric
