"""Counters as windows: sums first, resets and departures handled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evidence.sums import add, subtract

from noria_operator.domain.classes import Classes
from noria_operator.domain.fairness import Slicing
from noria_operator.domain.performance import Errors
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import RATED, Labels, rows
from noria_operator.domain.slice_scores import NO_SCORES
from noria_operator.evidence import windows
from noria_operator.evidence.growth import Growth, below
from noria_operator.evidence.windows import PROCESS_LIMIT, Document, Window, labels, outputs, parse
from noria_serving.contract import SLICE_SCORES, places


def body(process: str = "p", *, started: float = 100.0, at: float = 200.0, **counts: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": "noria.counters/v1",
        "version": "m-1",
        "process": process,
        "started": started,
        "at": at,
        "from": started,
        "requests": {"ok": 5, "client_error": 0, "server_error": 1},
        "predictions": 5,
        "scores": {},
    }
    return {**document, **counts}


def document(process: str, count: int, *, started: float = 100.0) -> Document:
    parsed = parse(body(process, started=started, predictions=count))
    assert parsed is not None
    return parsed


def predictions(window: Window) -> int:
    return sum(window.total().get("predictions", ()))


def test_a_document_is_flattened_by_place() -> None:
    parsed = parse(body(scores={"m-1": {"negatives": [1] * 200, "positives": [2] * 200}}))
    assert parsed is not None
    assert parsed.counts["requests/m-1/server_error"] == (1,)
    assert labels(parsed.counts, "m-1").samples == 600
    assert labels(parsed.counts, "m-2").samples == 0


def test_predictions_of_a_version_are_added_up_in_the_bins_that_its_pods_share() -> None:
    grid = {"exponent": -7, "first": 0, "bins": [1, 2, 3]}
    one, other = parse(body(outputs=grid)), parse(body("q", outputs=grid))
    assert one is not None
    assert other is not None
    total = add([one.counts, other.counts])
    assert outputs(total, "m-1") == Outputs(-7, 0, (2, 4, 6))
    assert outputs(total, "m-2") is None
    assert parse(body(outputs={})) is not None, "predictions that are texts"
    strange = parse(body("r", outputs={**grid, "exponent": -6}))
    assert strange is not None
    assert outputs(add([total, strange.counts]), "m-1") is None, "bins of one version differ: no sum is right"


def test_rows_of_all_versions_are_those_in_no_bin_too() -> None:
    window = Window(since=50)
    for version, counts in (("m-1", {"bins": [5, 6], "missing": 2, "low": 3}), ("m-2", {"bins": [7]})):
        parsed = parse(body(version, version=version, prediction=counts))
        assert parsed is not None
        window.take(parsed)
    assert windows.rows(window.total()) == 5 + 6 + 2 + 7
    assert windows.rows({}) == 0


def test_what_is_no_document_is_none() -> None:
    broken: list[Any] = [
        None,
        [],
        {},
        {"schema": "other"},
        body(started="x"),
        body(scores={"m": ["a"]}),
        body(outputs={"bins": []}),
    ]
    broken.append(body(outputs={"bins": []}))
    broken.append({name: value for name, value in body().items() if name != "process"})
    broken.append(body("p" * (PROCESS_LIMIT + 1)))
    deep: Any = 0
    for _ in range(1000):
        deep = {"a": deep}
    broken.append(body(predictions=deep))
    assert [parse(each) for each in broken] == [None] * len(broken)


COUNTED = {
    "feedback": {"matched": 3},
    "scores": {"m-1": {"negatives": [1, 2], "positives": [3, 4]}},
    "features": {"a/b": {"bins": [1, 2], "missing": 0}, "c": {"bins": [], "missing": 1}},
    "prediction": {"bins": [5, 6], "missing": 0},
    "outputs": {"exponent": -7, "first": 0, "bins": [1, 2, 3]},
    "errors": {"m-1": {"count": 2, "over": 1}},
    "error_units": {"m-1": 0.5},
    "task": "binary",
    "slice_labels": {},
}


def test_a_document_that_is_flattened_when_asked_tells_what_a_flat_one_does() -> None:
    asked = body(**COUNTED)
    parsed, flat = parse(asked), dict(places(asked))
    assert parsed is not None
    assert {place: parsed.counts[place] for place in flat} == flat
    assert dict(parsed.counts) == flat
    assert len(parsed.counts) == len(flat)
    assert [place in parsed.counts for place in ("scores", "scores/m-2/negatives", "odd/place", "")] == [
        False
    ] * 4
    assert parsed.counts.get("predictions/m-1") is None
    window = Window(since=50)
    window.take(parsed)
    total = window.total()
    assert dict(total) == flat
    for prefix in ("features/m-1/", "task/m-1/", "errors/m-1/", "outputs/m-1/", "odd/"):
        expected = {place for place in flat if place.startswith(prefix)}
        assert set(below(parsed.counts, prefix)) == set(below(total, prefix)) == expected
        assert set(below(flat, prefix)) == expected


def test_numbers_that_are_not_written_as_whole_ones_are_read_as_before() -> None:
    parsed = parse(
        body(predictions=7.0, feedback={"matched": "3"}, malformed=True, label_delay={"sum": [1.0]})
    )
    assert parsed is not None
    read = [
        parsed.counts[place]
        for place in ("predictions", "feedback/matched", "malformed/m-1", "label_delay/sum")
    ]
    assert read == [(7,), (3,), (1,), (1,)]


@pytest.mark.parametrize(
    "counts",
    [
        {"predictions": None},
        {"requests": {"ok": "many"}},
        {"features": {"a": {"bins": [1, None]}}},
        {"features": {"a": {"bins": [[1]]}}},
        {"feedback": {"matched": 1e400}},
        {"scores": "none"},
        {"errors": {"m-1": {"count": 1}}},
        {"outputs": {"exponent": 1, "first": 0, "bins": ["x"]}},
        {"outputs": [1]},
        {"errors": [1]},
    ],
)
def test_a_document_with_a_count_that_is_none_is_refused_whole_when_it_comes(counts: dict[str, Any]) -> None:
    assert parse(body(**counts)) is None


def test_a_process_that_began_after_the_window_counts_whole() -> None:
    window = Window(since=50)
    assert not window.needs_difference(document("p", 7))
    window.take(document("p", 7))
    window.take(document("p", 9))
    assert predictions(window) == 9


def test_a_process_that_is_older_counts_from_the_window_on() -> None:
    window = Window(since=150)
    assert window.needs_difference(document("p", 100))
    window.take(document("p", 100), document("p", 10))
    assert not window.needs_difference(document("p", 100))
    assert predictions(window) == 10
    window.take(document("p", 130))
    assert predictions(window) == 40


def test_a_window_that_is_filled_adds_nothing_up() -> None:
    class Untouched(dict[str, tuple[int, ...]]):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    window, counts = Window(since=150), Untouched()
    window.take(Document("old", "m-1", 100, 100, 200, counts), Document("old", "m-1", 100, 150, 200, counts))
    window.take(Document("new", "m-1", 160, 160, 200, counts))
    assert set(window.latest) == {"old", "new"}
    assert window.origins == {"old": 150}


def test_a_restarted_server_and_a_pod_that_is_gone_keep_what_they_counted() -> None:
    window = Window(since=50)
    window.take(document("first", 30))
    window.take(document("second", 4))
    assert predictions(window) == 34


def test_blocks_that_appear_later_are_added_at_the_end() -> None:
    assert add([{"a": (1, 2)}, {"a": (1, 2, 3), "b": (4,)}]) == {"a": (2, 4, 3), "b": (4,)}
    assert subtract({"a": (5, 5, 5)}, {"a": (1, 2)}) == {"a": (4, 3, 5)}


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=5))
def test_a_window_is_the_sum_of_growth_however_pods_and_readings_interleave(growth: list[list[int]]) -> None:
    window = Window(since=50)
    for index, steps in enumerate(growth):
        total = 0
        for step in steps:
            total += step
            window.take(document(f"p{index}", total))
    assert predictions(window) == sum(sum(steps) for steps in growth)


def test_errors_of_a_regression_keep_their_unit_and_delays_their_buckets() -> None:
    errors = {"count": 4, "over": 10, "under": 2, "squared": 60, "clipped": 1}
    delays = {"sum": 100, "count": 10, "buckets": [1, 3, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0]}
    told = {"errors": {"fare-1": errors}, "error_units": {"fare-1": 0.25}, "label_delay": delays}
    document = parse(body(**told))
    assert document is not None
    assert windows.errors(document.counts, "fare-1") == Errors(4, 10, 2, 60, 1, 0.25)
    assert windows.errors(document.counts, "fare-2") == Errors()
    both = add([document.counts, document.counts])
    assert windows.errors(both, "fare-1").count == 8
    assert windows.median_delay(both) == timedelta(minutes=10)
    assert windows.longest_delay(both) == timedelta(hours=1)
    assert windows.median_delay({}) is windows.longest_delay({}) is None
    assert windows.median_delay({"label_delay/buckets": (0,) * 11 + (5,)}) is None


def test_labels_are_what_the_version_predicts() -> None:
    scores = {"m-1": {"negatives": [1] * 200, "positives": [2] * 200}}
    several = parse(body(task="multiclass", scores=scores, confusion={"m-1": [5] * 9}))
    assert several is not None
    total = add([several.counts, several.counts])
    found = windows.joined(total, "m-1", "accuracy")
    assert isinstance(found, Classes)
    assert (found.samples, found.right, found.table, found.scores) == (1200, 800, (10,) * 9, None)
    scored = parse(body(task="multiclass", scores=scores, class_scores={"m-1": [7] * 244}))
    assert scored is not None
    assert windows.joined(add([scored.counts] * 2), "m-1", "auc").scores == (14,) * 244
    for told, table in (({"m-1": []}, ()), ({}, None)):
        untabled = parse(body(task="multiclass", scores=scores, confusion=told))
        assert untabled is not None
        assert windows.joined(untabled.counts, "m-1", "f1").table == table, "servers of an earlier release"
    for task, expected in (("regression", Errors), ("binary", Labels), (None, Labels)):
        told = parse(body(task=task, scores=scores))
        assert told is not None
        assert isinstance(windows.joined(told.counts, "m-1", "accuracy"), expected)
    untold = parse(body())
    assert untold is not None
    assert isinstance(windows.joined(untold.counts, "m-1", "rmse"), Errors), "a server of an earlier release"


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ([["b", "a/1", ""]], ("b", "a/1", "")),
        ([["b", "a", "c"], ["b", "a", "c"]], ("b", "a", "c")),
        ([["b", "a", "c"], ["a", "b", "c"]], ()),
        ([["b", "a"]], ()),
        ([["a", "b", "c", "d"]], ()),
        ([[]], ()),
    ],
)
def test_names_of_classes_are_in_the_order_of_their_table(told: list[list[str]], names: Any) -> None:
    parsed = [parse(body(task="multiclass", confusion={"m-1": [5] * 9}, classes=one)) for one in told]
    grown = Growth([(one.counts, one.counts) for one in parsed if one])
    found = windows.joined(grown, "m-1", "expectedCost")
    assert isinstance(found, Classes)
    assert found.names == names


def test_labelled_rows_are_those_of_all_versions_and_not_messages() -> None:
    """One message of feedback may bring the labels of 64 rows."""
    scores = {name: {"negatives": [1] + [0] * 199, "positives": [4] + [0] * 199} for name in ("m-1", "m-2")}
    errors = {"fare-1": {"count": 7, "over": 100, "under": 0, "squared": 900, "clipped": 1}}
    told = parse(body(scores=scores, errors=errors, error_units={"fare-1": 0.25}, feedback={"matched": 3}))
    assert told is not None
    assert windows.labelled(told.counts) == 2 * 5 + 7
    assert windows.labelled({}) == 0


def test_labels_by_slice_are_found_by_the_numbers_of_their_version() -> None:
    slicings = (Slicing("sex", ("f", "m")), Slicing("age", ("..40", "40..")))
    called = {"m-1": {"0": {"0": [1, 2, 3, 4], "1": [5, 0, 0, 5]}, "1": {"1": [6, 2, 3, 9]}}}
    scores = {"m-1": {"negatives": [10] + [0] * 199, "positives": [10] + [0] * 199}}
    told = parse(body(task="binary", slice_labels=called, scores=scores))
    assert told is not None
    found = windows.slice_labels(add([told.counts, told.counts]), "m-1", slicings)
    assert found.counts == {
        "sex=f": (2, 4, 6, 8), "sex=m": (10, 0, 0, 10), "age=..40": (0, 0, 0, 0), "age=40..": (12, 4, 6, 18),
    }  # fmt: skip
    assert (found.task, found.samples) == ("binary", 40)
    joined = found.joined("accuracy", found.counts["sex=f"])
    assert isinstance(joined, Labels)
    assert [RATED[metric](rows(joined)) for metric in ("accuracy", "precision", "recall")] == pytest.approx(
        [10 / 20, 8 / 12, 8 / 14]
    )
    assert windows.slice_labels(told.counts, "m-2", slicings).counts["sex=f"] == (0, 0, 0, 0)


def test_scores_by_slice_are_told_where_servers_count_them() -> None:
    slicings, called = (Slicing("sex", ("f", "m")),), {"m-1": {"0": {"0": [1, 0, 0, 1]}}}
    row = [0] * SLICE_SCORES
    row[3] = 2
    new = parse(body(task="binary", slice_labels=called, slice_scores={"m-1": {"0": {"0": row}}}))
    old = parse(body(task="binary", slice_labels=called))
    idle = parse(body(task="binary"))
    assert new is not None and old is not None and idle is not None
    found = windows.slice_labels(add([new.counts, new.counts]), "m-1", slicings).rows("auc")
    assert (found["sex=f"][3], sum(found["sex=f"]), found["sex=m"]) == (4, 4, NO_SCORES)
    assert windows.slice_labels(old.counts, "m-1", slicings).rows("auc") == {}
    assert windows.slice_labels(idle.counts, "m-1", slicings).rows("auc")["sex=f"] == NO_SCORES


def test_errors_by_slice_have_the_unit_of_their_version() -> None:
    told = parse(
        body(
            task="regression", slice_errors={"m-1": {"0": {"1": [4, 10, 2, 60]}}}, error_units={"m-1": 0.25},
            errors={"m-1": {"count": 9, "over": 1, "under": 1, "squared": 2, "clipped": 0}},
        )
    )  # fmt: skip
    assert told is not None
    found = windows.slice_labels(told.counts, "m-1", (Slicing("sex", ("f", "m")),))
    assert (found.counts, found.unit, found.samples) == (
        {"sex=f": (0,) * 4, "sex=m": (4, 10, 2, 60)},
        0.25,
        9,
    )
    assert found.joined("mae", found.counts["sex=m"]) == Errors(4, 10, 2, 60, 0, 0.25)


def test_what_nobody_asks_for_is_not_added_up() -> None:
    class Untouched(dict[str, tuple[int, ...]]):
        def get(self, place: str, default: Any = None) -> Any:
            assert not place.startswith("features/"), "a thousand features are looked at only when they count"
            return super().get(place, default)

    bins = (1,) * 200
    newer = Untouched(
        {f"features/m-1/f{n}/bins": (9, 9) for n in range(1000)} | {"scores/m-1/negatives": bins}
    )
    total = Growth([(newer, {}), (newer, newer)])
    assert labels(total, "m-1").samples == 200
    assert windows.task(total, "m-1") == ""
    assert len(total) == 1001


def test_growth_is_what_all_the_differences_together_are() -> None:
    parts = [({"a": (5, 6), "b": (1,)}, {"a": (5,)}), ({"a": (2, 2, 2)}, {"a": (3, 1, 0)}), ({"c": ()}, {})]
    assert Growth(parts) == add(subtract(newer, older) for newer, older in parts)
