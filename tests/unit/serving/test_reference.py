import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from noria_serving import reference
from noria_serving.counters.binning import Numbers, Texts
from noria_serving.errors import NoriaError, Reason


def even(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


GOLDEN_REFERENCE, GOLDEN_CURRENT = norm.ppf(even(5000)), 0.3 + 1.2 * norm.ppf(even(2000))


def psi(left: np.ndarray, right: np.ndarray) -> float:
    p, q = (left + 0.5) / (left + 0.5).sum(), (right + 0.5) / (right + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def counts_of(bins: reference.Bins, values: np.ndarray) -> np.ndarray:
    """The bins, then missing, unseen, below and above."""
    vector = np.zeros(bins.size + 4, dtype=np.int64)
    if values.dtype == object:
        Texts(0, bins).add(values, vector)
    else:
        Numbers([[(0, bins)]]).add(values[np.newaxis].copy(), vector)
    return vector


@pytest.mark.parametrize(("bins", "expected"), [(5, 0.08794), (10, 0.10980), (20, 0.12259), (30, 0.12717)])
def test_quantile_bins_give_the_published_distance_on_the_golden_data(bins: int, expected: float) -> None:
    edges = reference.numeric_edges(GOLDEN_REFERENCE, bins=bins)
    counts = [
        np.bincount(np.searchsorted(edges, values), minlength=bins)
        for values in (GOLDEN_REFERENCE, GOLDEN_CURRENT)
    ]
    assert psi(*counts) == pytest.approx(expected, abs=6e-6)


def test_one_outlier_does_not_move_the_distance() -> None:
    bins = reference.numeric("x", GOLDEN_REFERENCE)
    spoiled = GOLDEN_CURRENT.copy()
    spoiled[-1] = 1e4
    counted = [counts_of(bins, values) for values in (GOLDEN_CURRENT, spoiled)]
    np.testing.assert_array_equal(counted[0][: bins.size], counted[1][: bins.size])
    assert counted[1][-1] == counted[0][-1]


def test_an_atom_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.linspace(-5, -1, 100), np.zeros(300), np.linspace(1, 5, 100)])
    bins = reference.numeric("x", values)
    assert 300 in bins.counts
    assert counts_of(bins, np.zeros(7))[bins.counts.index(300)] == 7


@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=200))
def test_every_bin_of_a_reference_holds_something_and_all_values_are_in_one(values: list[float]) -> None:
    bins = reference.numeric("x", np.array(values))
    assert all(count > 0 for count in bins.counts)
    assert sum(bins.counts) == len(values)
    assert bins.size <= 2 * reference.BINS


def test_a_constant_column_is_one_bin() -> None:
    assert reference.numeric("x", np.full(50, 3.0)).counts == (50,)


def test_missing_values_are_counted_beside_the_bins() -> None:
    bins = reference.numeric("x", np.array([1.0, np.nan, 2.0, np.nan]))
    assert (bins.missing, sum(bins.counts)) == (2, 2)


def test_categories_beyond_the_twentieth_are_other_and_new_ones_are_unseen() -> None:
    column = np.array([f"c{i:02}" for i in range(30) for _ in range(40 - i)] + [""], dtype=object)
    bins = reference.category("c", column)
    counted = counts_of(bins, np.array(["c00", "c29", "never", "", "c00"], dtype=object))
    assert (len(bins.values), bins.missing) == (20, 1)
    assert counted[0] == 2
    assert counted[20] == 1
    assert counted[bins.size : bins.size + 2].tolist() == [1, 1]


def test_a_category_that_is_called_other_has_a_label_of_its_own() -> None:
    column = np.array(["other", "a", "a", "other_"] + [f"c{number}" for number in range(30)], dtype=object)
    bins = reference.category("c", column)
    assert "other" in reference.category("c", column[:3]).values
    for one in (bins, reference.category("c", column[:4])):
        assert len(set(one.labels())) == one.size


def test_a_reference_document_reads_back_as_written(frame_bundle: object) -> None:
    document = json.loads((frame_bundle.path / "reference.json").read_text())
    parsed = reference.parse(document)
    assert [bins.name for bins in parsed.features] == ["distance", "hour", "carrier"]
    assert parsed.prediction.name == "__prediction__"
    assert parsed.features[0].chi2_critical > 20
    assert "calibration" not in reference.document(parsed)
    labels = {"negatives": [5, 2, 0], "positives": [0, 1, 4]}
    assert reference.document(reference.parse(document | {"calibration": labels}))["calibration"] == labels
    for wrong in ({}, {**labels, "positives": [1]}, {**labels, "positives": [0, 1, -4]}):
        with pytest.raises(NoriaError, match="malformed"):
            reference.parse(document | {"calibration": wrong})


def test_a_malformed_reference_is_refused() -> None:
    for document in ({}, [], {"schema": reference.SCHEMA, "features": [{}], "samples": 1, "prediction": {}}):
        with pytest.raises(NoriaError) as caught:
            reference.parse(document)
        assert caught.value.reason is Reason.MANIFEST_INVALID
