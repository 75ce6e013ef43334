"""Embeddings are counted by their length and by projections that are the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from noria_operator.domain.drift import columns
from noria_operator.domain.drift.columns import distance
from noria_serving import contract, reference
from noria_serving.bundle import save
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.state import State
from noria_serving.counters.vectors import ROWS, SECONDS, Vectors
from noria_serving.errors import NoriaError
from noria_serving.model.loaded import load
from noria_serving.projection import NORM, Projected, Projection, of
from noria_serving.signature import Signature, Tensor

RNG = np.random.default_rng(11)
WIDTH = 96
GOLDEN = [-1, 1, 1, -1, -1, 1, -1, -1, -1, 1, 1, -1, 1, -1, -1, 1]


def shape(width: int = WIDTH + 2, name: str = "input-0") -> Signature:
    return Signature((Tensor(name, "FP32", (-1, width)),), (Tensor("probabilities", "FP32", (-1, 2)),))


def rows(count: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Two plain features, then an embedding."""
    plain = RNG.normal(size=(count, 2))
    return np.hstack([plain, scale * RNG.normal(size=(count, WIDTH)) + shift]).astype(np.float32)


def known(given: np.ndarray) -> reference.Reference:
    document = reference.build(
        shape(), {"input-0": given}, np.full(len(given), 0.5, np.float32),
        embeddings={"text": range(2, WIDTH + 2)},
    )  # fmt: skip
    return reference.parse(json.loads(json.dumps(document)))


def test_signs_are_made_from_integers_and_do_not_change() -> None:
    signs = Projection(16, 7, 0).signs * 4
    assert signs.tolist() == GOLDEN
    assert Projection(16, 7, 1).signs.tolist() != Projection(16, 7, 0).signs.tolist()
    assert Projection(16, 8, 0).signs.tolist() != Projection(16, 7, 0).signs.tolist()
    gram = np.array([one.signs for one in of(4096, 3) if one.index != NORM])
    assert np.abs(gram @ gram.T - np.eye(len(gram))).max() < 0.08


def test_the_length_is_exact_and_projections_keep_lengths_on_average() -> None:
    vectors = RNG.normal(size=(WIDTH, 2000))
    found = Projected(of(WIDTH, 5))(vectors)
    np.testing.assert_allclose(found[0], np.linalg.norm(vectors, axis=0))
    assert float((found[1:] ** 2).mean()) == pytest.approx(1.0, rel=0.1)


def test_features_beside_an_embedding_keep_their_bins() -> None:
    found = known(rows(500))
    assert [one.name for one in found.features][:3] == ["text[norm]", "text[0]", "text[1]"]
    assert [one.name for one in found.features][-2:] == ["x0", "x1"]
    assert len(found.features) == 9 + 2


@pytest.mark.parametrize("batches", [[1] * 50, [50], [1, 20, 1, 28]])
def test_what_is_counted_does_not_depend_on_batches(batches: list[int]) -> None:
    given = rows(50)
    given[3, 10] = np.nan
    bins = known(rows(500))
    recorder = Recorder(bins)
    at = 0
    for count in batches:
        part = np.ascontiguousarray(given[at : at + count])
        recorder.answered({"input-0": part}, np.full(count, 0.5, np.float32))
        at += count
    recorder.fold()
    counts = recorder.state.as_json(recorder.state.vector)["features"]
    for one in bins.features:
        missing = 1 if one.projection is not None else 0
        assert counts[one.name]["missing"] == missing, one.name
        assert sum(counts[one.name]["bins"]) == 50 - missing
    values = np.linalg.norm(np.delete(given, 3, axis=0)[:, 2:], axis=1)
    edges = next(one for one in bins.features if one.name == "text[norm]").edges
    expected = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    assert counts["text[norm]"]["bins"] == expected.tolist()


def test_narrower_rows_than_those_of_training_are_no_vectors() -> None:
    recorder = Recorder(known(rows(500)))
    for given in (rows(4), rows(4)[:, :-1], rows(4)):
        recorder.answered({"input-0": np.ascontiguousarray(given)}, np.full(4, 0.5, np.float32))
    recorder.fold()
    counts = recorder.state.as_json(recorder.state.vector)["features"]
    assert sum(counts["text[norm]"]["bins"]) == 8
    assert sum(counts["x0"]["bins"]) == 12


def test_after_a_pause_all_rows_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    recorder, score = Recorder(known(rows(500))), np.full(300, 0.5, np.float32)
    recorder.answered({"input-0": rows(300)}, score)
    recorder.fold()
    now[0] = SECONDS
    recorder.fold()
    recorder.answered({"input-0": rows(300)[:20]}, score[:20])
    recorder.fold()
    counts = recorder.state.as_json(recorder.state.vector)["features"]
    assert sum(counts["text[norm]"]["bins"]) == ROWS + 20


def test_so_many_rows_are_counted_in_an_interval_and_no_more() -> None:
    bins, now = known(rows(500)), [0.0]
    state = State(bins)
    vectors = Vectors([*zip(state.features, bins.features, strict=True)], lambda: now[0])

    def counted() -> int:
        vectors.fold(state.vector)
        return int(sum(state.as_json(state.vector)["features"]["text[norm]"]["bins"]))

    for expected in (100, 200, ROWS, ROWS):
        vectors.keep({"input-0": rows(100)})
        assert counted() == expected
    now[0] = SECONDS
    assert counted() == ROWS
    vectors.keep({"input-0": rows(100)})
    assert counted() == ROWS + 100


@pytest.mark.parametrize(("shift", "scale", "moved"), [(0.0, 1.0, False), (0.3, 1.0, True), (0.0, 1.3, True)])
def test_an_embedding_that_moves_drifts_and_one_that_stays_does_not(
    shift: float, scale: float, moved: bool
) -> None:
    bins = known(rows(4000))
    state, given = State(bins), rows(2000, shift, scale)
    starts = [*zip(state.features, bins.features, strict=True)]
    for part in range(0, 2000, ROWS):
        vectors = Vectors(starts, lambda: 0.0)
        vectors.keep({"input-0": given[part : part + ROWS]})
        vectors.fold(state.vector)
    counts = state.as_json(state.vector)["features"]
    told = columns.parse(reference.document(bins))
    worst = max(distance("psi", one, counts[one.name]["bins"]) for one in told.columns if "text" in one.name)
    assert (worst > 0.2) is moved


def test_a_model_of_embeddings_is_saved_loaded_and_counted(tmp_path: Path) -> None:
    given = rows(200)
    labels = (given[:, 5] > 0).astype(int)
    model = LogisticRegression().fit(given, labels)
    bundle = save(model, given, labels, tmp_path, embeddings={"text": range(2, WIDTH + 2)})
    assert bundle.reference["features"] == 11
    assert {one.kind for one in load(str(tmp_path)).reference.features} == {"numeric", "projection"}
    document = json.loads((tmp_path / contract.REFERENCE).read_bytes())
    assert document["features"][0]["projection"]["width"] == WIDTH


@pytest.mark.parametrize("columns_", [range(0), range(2, 200), range(-1, 5), range(0, 10, 2)])
def test_columns_that_are_no_part_of_x_are_refused(columns_: range) -> None:
    with pytest.raises(NoriaError, match="must be a range of the 98 columns"):
        reference.build(
            shape(), {"input-0": rows(10)}, np.zeros(10, np.float32), embeddings={"text": columns_}
        )


def test_embeddings_that_overlap_are_refused() -> None:
    both = {"one": range(0, 10), "other": range(9, 20)}
    with pytest.raises(NoriaError, match="overlaps another"):
        reference.build(shape(), {"input-0": rows(10)}, np.zeros(10, np.float32), embeddings=both)


def test_a_tensor_called_embedding_is_one() -> None:
    given = rows(50)[:, 2:]
    document = reference.build(
        shape(WIDTH, "text_embedding"), {"text_embedding": given}, np.zeros(50, np.float32)
    )
    assert [one["name"] for one in document["features"]][:2] == ["text_embedding[norm]", "text_embedding[0]"]
