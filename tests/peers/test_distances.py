"""Our distances are those of the packages that people know, called here on the same data, where definitions
are the same: given their bins and the way they fill empty ones, all digits to 1e-6 agree. The digits
themselves are held in tests/unit/domain/drift/test_golden_digits.py, without the packages.
"""

from __future__ import annotations

import json
from math import log, sqrt

import numpy as np
import pytest
from scipy import stats
from tests.peers.running import told
from tests.unit.domain.drift.golden import (
    CATEGORIES_CURRENT,
    CATEGORIES_REFERENCE,
    CURRENT,
    REFERENCE,
    categories,
    each_value,
    filled,
    in_bins,
    rows,
)

from noria_operator.domain.drift import distances

CLOSE = 1e-6

pytestmark = pytest.mark.extended


def figures(environment: str, program: str) -> dict[str, float]:
    """What a package says of the golden data."""
    given = {
        "numbers": [REFERENCE.tolist(), CURRENT.tolist()],
        "categories": [rows(CATEGORIES_REFERENCE), rows(CATEGORIES_CURRENT)],
    }
    return told(environment, program, json.dumps(given))


def test_distances_are_evidentlys() -> None:
    found = figures("peer-evidently", "evidently_figures.py")
    both = np.concatenate([REFERENCE, CURRENT])
    p, q = in_bins(np.histogram_bin_edges(both, "sturges"))
    a, b = categories()
    reference, current, values = each_value()
    ours = {
        "numbers psi": distances.psi(filled(p), filled(q)),
        "numbers jensenshannon": sqrt(distances.jensen_shannon(p, q) * log(2)),
        "numbers hellinger": distances.hellinger(*in_bins(np.histogram_bin_edges(values, "sturges"))),
        "numbers wasserstein": distances.wasserstein(reference, current, values),
        "categories psi": distances.psi(filled(a), filled(b)),
        "categories jensenshannon": sqrt(distances.jensen_shannon(a, b) * log(2)),
        "categories hellinger": distances.hellinger(a, b),
    }
    assert ours == pytest.approx(found, abs=CLOSE)


def test_distances_are_nannymls() -> None:
    found = figures("peer-nannyml", "nannyml_figures.py")
    p, q = in_bins(np.histogram_bin_edges(REFERENCE, "doane"))
    outside = 1 - sum(q)
    p, q = [*p, 0.0], [*q, outside]
    a, b = categories()
    reference, current, values = each_value()
    known = [CATEGORIES_REFERENCE.get(name, 0) for name in CATEGORIES_CURRENT]
    ours = {
        "numbers jensen_shannon": distances.jensen_shannon_distance(p, q),
        "numbers hellinger": distances.hellinger(p, q),
        "numbers kolmogorov_smirnov": distances.kolmogorov_smirnov(reference, current),
        "numbers wasserstein": distances.wasserstein(reference, current, values) * float(np.std(REFERENCE)),
        "categories jensen_shannon": distances.jensen_shannon_distance(a, b),
        "categories hellinger": distances.hellinger(a, b),
        "categories l_infinity": distances.l_infinity(a, b),
        "categories chi2": distances.chi_square(known, list(CATEGORIES_CURRENT.values()))[0],
    }
    assert ours == pytest.approx(found, abs=CLOSE)


def test_distances_are_frouros() -> None:
    found = figures("peer-river", "frouros_figures.py")
    both = np.concatenate([REFERENCE, CURRENT])
    p, q = in_bins(np.linspace(both.min(), both.max(), 11))
    tiny = float(np.finfo(float).tiny)
    ends = np.linspace(both.min(), both.max(), 10)
    # Its own histograms, read between their bins at these ends.
    a, b = (
        np.diff(stats.rv_histogram(np.histogram(each, "auto")).cdf(ends)) for each in (REFERENCE, CURRENT)
    )
    smooth = (a / a.sum()).tolist(), (b / b.sum()).tolist()
    reference, current, values = each_value()
    ours = {
        "PSI": distances.psi([share or tiny for share in p], [share or tiny for share in q]),
        "EMD": distances.wasserstein(reference, current, values) * float(np.std(REFERENCE)),
        "JS": sqrt(distances.jensen_shannon(*smooth) * log(2)),
        "HellingerDistance": distances.hellinger(p, q),
    }
    assert ours == pytest.approx(found, abs=CLOSE)
