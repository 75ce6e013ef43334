import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving import reference, signature
from noria_serving.contract import Why
from noria_serving.counters.duplicates import DIFFERENT, LOOKED_AT, Duplicates
from noria_serving.counters.recorder import FOLD_ROWS, MOST_ROWS, Recorder
from noria_serving.counters.ring import Ring
from noria_serving.counters.state import State, Vector
from noria_serving.model.loaded import Loaded
from noria_serving.reference import Bins

ROW = st.tuples(
    st.floats(-5, 5, width=32) | st.just(float("nan")),
    st.integers(-3, 30),
    st.sampled_from(["AA", "UA", "DL", "ZZ", ""]),
)

WILD = st.tuples(
    st.floats(width=32) | st.sampled_from([0.0, -0.0, float("inf"), float("-inf")]),
    st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 30),
    st.sampled_from(["AA", "UA", "DL", "ZZ", ""]),
)


def arrays(rows: list[tuple[float, int, str]]) -> dict[str, np.ndarray]:
    columns = list(zip(*rows, strict=True))
    return {
        "distance": np.array(columns[0], dtype=np.float32).reshape(-1, 1),
        "hour": np.array(columns[1], dtype=np.int64).reshape(-1, 1),
        "carrier": np.array(columns[2], dtype=object).reshape(-1, 1),
    }


def counts(recorder: Recorder) -> np.ndarray:
    recorder.fold()
    return recorder.state.vector


@given(
    stream=st.lists(st.lists(ROW, min_size=1, max_size=4), max_size=12),
    pods=st.integers(1, 5),
    data=st.data(),
)
def test_a_stream_split_over_servers_gives_the_totals_of_one(
    loaded_frame: Loaded, stream, pods, data
) -> None:
    one, many = Recorder(loaded_frame.reference), [Recorder(loaded_frame.reference) for _ in range(pods)]
    for rows in stream:
        pod = many[data.draw(st.integers(0, pods - 1))]
        for recorder in (one, pod):
            recorder.answered(arrays(rows), np.full(len(rows), 0.25, dtype=np.float32))
            if data.draw(st.booleans()):
                recorder.fold()
    state, alone, together = one.state, counts(one), sum(counts(pod) for pod in many)
    # What two of them got alike, neither sees.
    alone[state.duplicates + 1] = together[state.duplicates + 1]
    np.testing.assert_array_equal(alone, together)
    totals = one.state.as_json(one.state.vector)
    rows = sum(len(batch) for batch in stream)
    assert totals["predictions"] == rows
    for feature in totals["features"].values():
        assert sum(feature["bins"]) + feature["missing"] + feature["unseen"] == rows


def one_by_one(bins: Bins, values: list[object]) -> list[int]:
    """The definition of the counts, value by value: bins, missing, unseen, below, above."""
    found, missing, unseen, low, high = [0] * bins.size, 0, 0, 0, 0
    for value in values:
        if value == "" or (isinstance(value, float) and math.isnan(value)):
            missing += 1
        elif bins.kind == "numeric":
            found[sum(edge < value for edge in bins.edges)] += 1
            low, high = low + (value < bins.low), high + (value > bins.high)
        elif value in bins.values:
            found[bins.values.index(value)] += 1
        elif value in bins.known:
            found[-1] += 1
        else:
            unseen += 1
    return [*found, missing, unseen, low, high]


@given(st.lists(st.tuples(st.lists(WILD, min_size=1, max_size=3), st.permutations(range(3))), max_size=8))
def test_every_value_is_counted_by_the_definition_of_its_bins(loaded_frame: Loaded, requests) -> None:
    recorder, reference = Recorder(loaded_frame.reference), loaded_frame.reference
    for rows, order in requests:
        given = list(arrays(rows).items())
        recorder.answered(dict(given[i] for i in order), np.array([row[0] for row in rows]))
    vector = counts(recorder)
    every = [row for rows, _ in requests for row in rows]
    for start, bins in zip(recorder.state.features, reference.features, strict=True):
        values = [row[["distance", "hour", "carrier"].index(bins.name)] for row in every]
        assert vector[start : start + bins.size + 4].tolist() == one_by_one(bins, values)
    start, size = recorder.state.prediction, reference.prediction.size
    scores = [row[0] for row in every]
    assert vector[start : start + size + 4].tolist() == one_by_one(reference.prediction, scores)


def test_texts_of_several_columns_keep_to_their_features() -> None:
    names = ["from", "to", "carrier"]
    tensors = tuple(signature.Tensor(name, "BYTES", (-1, 1)) for name in names)
    random = np.random.default_rng(9)
    rows = {name: random.choice(list("abcdefgh"), size=(60, 1)).astype(object) for name in names}
    document = reference.build(signature.Signature(tensors, ()), rows, np.zeros(60))
    recorder = Recorder(reference.parse(document))
    for start, end in [*((i, i + 1) for i in range(20)), (20, 40), *((i, i + 1) for i in range(40, 60))]:
        recorder.answered({name: rows[name][start:end] for name in names}, np.zeros(end - start))
        if start == 50:
            recorder.fold()
    vector = counts(recorder)
    for start, bins in zip(recorder.state.features, recorder.state.reference.features, strict=True):
        assert vector[start : start + bins.size].tolist() == list(bins.counts)


def test_a_matrix_is_counted_whatever_its_layout_in_memory(loaded: Loaded) -> None:
    plain, strided = Recorder(loaded.reference), Recorder(loaded.reference)
    rows = np.random.default_rng(5).normal(size=(6, 3))
    gaps = np.zeros((6, 6))
    gaps[:, ::2] = rows
    for start, end in ((0, 1), (1, 2), (2, 6)):
        plain.answered({"input-0": rows[start:end]}, np.zeros(end - start))
        strided.answered({"input-0": gaps[start:end, ::2]}, np.zeros(end - start))
    strided.answered({"input-0": np.asfortranarray(rows)}, np.zeros(6))
    plain.answered({"input-0": rows}, np.zeros(6))
    np.testing.assert_array_equal(counts(plain), counts(strided))


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (3, 5, 4), (3, 2), (2, 3), (1, 3, 3), (5, 2, 2), (3, 3)])
def test_rows_of_any_width_are_counted_as_far_as_they_go(widths: tuple[int, ...], text: bool) -> None:
    """Where a model takes rows of any width, those of training had one; what a row lacks is missing."""
    tensor = signature.Tensor("words", "BYTES" if text else "FP32", (-1, -1))
    trained = np.arange(300, dtype=np.float32).reshape(100, 3)
    rows = trained.astype(str).astype(object) if text else trained
    document = reference.build(signature.Signature((tensor,), ()), {"words": rows}, np.zeros(100))
    recorder = Recorder(reference.parse(document))
    for width in widths:
        for count in (1, 2):
            recorder.answered({"words": np.resize(rows, (count, width))}, np.zeros(count))
    vector = counts(recorder)
    for start, bins in zip(recorder.state.features, recorder.state.reference.features, strict=True):
        missing = 3 * sum(width <= bins.column for width in widths)
        assert vector[start + bins.size] == missing
        assert vector[start : start + bins.size + 2].sum() == 3 * len(widths)


def test_float32_falls_into_the_bins_of_the_same_numbers_as_float64(loaded: Loaded) -> None:
    narrow, wide = Recorder(loaded.reference), Recorder(loaded.reference)
    marks = [mark for bins in loaded.reference.features for mark in (*bins.edges, bins.low, bins.high)]
    near = np.array([*marks, 0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-45], dtype=np.float32)
    around = np.concatenate(
        [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    )
    rows = np.repeat(around, 3).reshape(-1, 3)
    scores = around.astype(np.float32)
    for part in (slice(None), *(slice(i, i + 1) for i in range(len(rows)))):
        narrow.answered({"input-0": rows[part]}, scores[part])
        wide.answered({"input-0": rows[part].astype(np.float64)}, scores[part].astype(np.float64))
    np.testing.assert_array_equal(counts(narrow), counts(wide))


def test_what_waits_cannot_be_changed_by_whoever_gave_it(loaded: Loaded) -> None:
    recorder, row = Recorder(loaded.reference), np.zeros((1, 3))
    recorder.answered({"input-0": row}, np.zeros(1))
    row[:] = np.nan
    counts(recorder)
    features = recorder.state.as_json(recorder.state.vector)["features"]
    assert [feature["missing"] for feature in features.values()] == [0, 0, 0]


def test_a_full_recorder_asks_to_be_folded(loaded: Loaded) -> None:
    recorder = Recorder(loaded.reference)
    asked = [recorder.answered({"input-0": np.zeros((1, 3))}, np.zeros(1)) for _ in range(FOLD_ROWS)]
    assert asked == [False] * (FOLD_ROWS - 1) + [True]


def test_counters_name_what_was_beside_the_bins(loaded_frame: Loaded) -> None:
    recorder = Recorder(loaded_frame.reference)
    recorder.answered(arrays([(100.0, 30, "ZZ"), (float("nan"), -3, "")]), np.array([0.1, 0.9]))
    for status, why in ((400, Why.SHAPE), (429, Why.UNANSWERED), (500, Why.FORM)):
        recorder.refused(status, why)
    counts(recorder)
    totals = recorder.state.as_json(recorder.state.vector)
    assert totals["requests"] == {"ok": 1, "client_error": 2, "server_error": 1}
    assert {why: times for why, times in totals["refused"].items() if times} == {"unanswered": 1, "shape": 1}
    assert totals["malformed"] == 1
    assert totals["features"]["distance"]["high"] == totals["features"]["distance"]["missing"] == 1
    assert totals["features"]["hour"]["high"] == totals["features"]["hour"]["low"] == 1
    assert totals["features"]["carrier"]["unseen"] == totals["features"]["carrier"]["missing"] == 1


def duplicates(recorder: Recorder) -> dict[str, int]:
    counts(recorder)
    found: dict[str, int] = recorder.state.as_json(recorder.state.vector)["duplicates"]
    return found


@pytest.mark.parametrize("size", [1, 4])
def test_rows_that_were_asked_before_are_counted(loaded_frame: Loaded, size: int) -> None:
    """One by one and together; equal in every column, also where values are missing."""
    recorder = Recorder(loaded_frame.reference)
    nan = float("nan")
    rows = [(0.5, 1, "AA"), (0.5, 1, "UA"), (nan, 1, ""), (0.5, 2, "AA")]
    for again in (0, 4, 8):
        for start in range(0, 4, size):
            part = rows[start : start + size]
            recorder.answered(arrays(part), np.zeros(len(part)))
        assert duplicates(recorder) == {"rows": again + 4, "equal": again}


def test_a_bounded_number_of_rows_is_looked_at_for_doubles(loaded: Loaded) -> None:
    clock = [0.0]
    found, vector = Duplicates(0, lambda: clock[0]), np.zeros(2, dtype=np.int64)
    for seconds in range(20):
        clock[0] = float(seconds)
        found.add(np.arange(3 * LOOKED_AT).reshape(3, -1) + seconds * 1e4, [], vector)
        found.add(np.full((3, 9), seconds * 1e4 - 1), [], vector)
    assert vector.tolist() == [4 * LOOKED_AT, 0]
    assert len(found._known) <= DIFFERENT
    clock[0] = 25.0
    found.add(np.arange(3 * LOOKED_AT).reshape(3, -1) + 15e4, [["a"] * LOOKED_AT], vector)
    assert vector[1] == 0, "another text is another row"


def test_nothing_waits_beyond_a_bounded_number_of_rows(loaded_frame: Loaded) -> None:
    recorder = Recorder(loaded_frame.reference)
    for _ in range(4):
        recorder.answered(arrays([(0.0, 1, "AA")] * 1000), np.zeros(1000))
    assert recorder.state.vector[recorder.state.predictions] == 3000  # nobody folded: it did so itself


def test_nothing_waits_beyond_a_bounded_number_of_bytes(loaded_frame: Loaded) -> None:
    recorder, text = Recorder(loaded_frame.reference), "x" * 1_000_000
    asked = [recorder.answered(arrays([(0.0, 1, text)]), np.zeros(1), len(text)) for _ in range(10)]
    assert asked == [False] * 4 + [True] * 5 + [False]
    assert recorder.state.vector[recorder.state.predictions] == 9  # nobody folded: it did so itself


def test_no_request_however_large_waits_until_it_is_counted(loaded_frame: Loaded) -> None:
    recorder = Recorder(loaded_frame.reference)
    rows = 3 * MOST_ROWS
    assert recorder.answered(arrays([(0.0, 1, "AA")] * rows), np.zeros(rows))
    assert recorder.state.vector[recorder.state.predictions] == 0
    recorder.answered(arrays([(0.0, 1, "AA")]), np.zeros(1))
    assert recorder.state.vector[recorder.state.predictions] == rows
    assert counts(recorder)[recorder.state.predictions] == rows + 1


def test_versions_beyond_the_limit_are_not_counted_and_the_layout_only_grows(loaded_frame: Loaded) -> None:
    state = State(loaded_frame.reference)
    before = state.vector.copy()
    results = [state.add_score(f"v-{i}", 0, positive=True) for i in range(40)]
    assert results.count(True) == 32
    assert state.difference(before).sum() == 32


@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.integers(0, 3)), min_size=1, max_size=40), st.floats(-10, 700)
)
def test_the_ring_answers_with_the_newest_snapshot_not_after_the_time_asked_for(steps, asked) -> None:
    vector = np.zeros(3, dtype=np.int64)
    ring, now, taken = Ring(vector, 0.0), 0.0, [(0.0, vector.copy())]
    for seconds, growth in steps:
        now += seconds
        vector[1] += growth
        ring.take(vector, now)
        taken.append((now, vector.copy()))
    expected = [(when, value) for when, value in taken if when <= asked] or taken[:1]
    origin, found = ring.since(asked)
    np.testing.assert_array_equal(found, expected[-1][1])
    assert expected[-1][0] <= origin or np.array_equal(found, taken[0][1])
    assert origin <= max(asked, 0.0)


def test_the_ring_is_bounded_and_begins_later_where_snapshots_were_left_out() -> None:
    vector = np.zeros(2, dtype=np.int64)
    ring = Ring(vector, 0.0, kept=3)
    for second in range(1, 10):
        vector[0] += 1
        ring.take(vector, float(second))
    for asked, expected in ((-1.0, 0), (0.0, 0), (0.5, 7), (1.0, 7), (7.0, 7), (7.5, 9), (9.0, 9), (99.0, 9)):
        origin, found = ring.since(asked)
        assert (origin, found[0]) == (expected, expected), asked


def test_of_the_last_hour_all_is_kept_and_of_a_day_the_less_the_older_it_is() -> None:
    vector, ring = np.zeros(1, dtype=np.int64), Ring(np.zeros(1, dtype=np.int64), 0.0, kept=80)
    for minute in range(1, 1441):
        vector[0] += 1
        ring.take(vector, 60.0 * minute)
    for minute in range(1381, 1441):
        assert ring.since(60.0 * minute)[1][0] == minute
    late = [ring.since(60.0 * minute)[1][0] - minute for minute in range(1381)]
    assert min(late) == 0, "nothing is counted that was counted before"
    assert max(late) <= 300
    assert max(late[1200:]) <= 60


def test_the_ring_stays_in_order_where_the_clock_is_set_back() -> None:
    vector = np.zeros(1, dtype=np.int64)
    ring = Ring(vector, 0.0)
    for moment in (100.0, 200.0, 50.0, 60.0, 210.0, 220.0):
        vector[0] += 1
        ring.take(vector, moment)
    assert [ring.since(when)[1][0] for when in (150.0, 200.0, 215.0)] == [1, 4, 5]
    taken = [one.taken for one in ring._snapshots]
    assert taken == sorted(taken)


def test_the_ring_is_bounded_in_bytes_and_keeps_the_moments_that_were_named_last() -> None:
    random = np.random.default_rng(0)
    vector = np.zeros(500, dtype=np.int64)
    ring = Ring(vector, 0.0, room=60_000)
    then: dict[float, Vector] = {}
    for minute in range(1, 601):
        vector += random.integers(0, 1000, 500)
        ring.take(vector, 60.0 * minute)
        if minute % 10 == 0:
            then[60.0 * minute] = vector.copy()
            ring.keep([60.0 * minute, 1200.0])
    assert sum(len(one.packed) for one in ring._snapshots) <= 60_000
    for moment in [1200.0, *[*then][-31:]]:
        origin, found = ring.since(moment + 1.5)
        assert origin == moment
        np.testing.assert_array_equal(found, then[moment])
    assert ring.since(1801.5)[0] > 1801.5


@given(
    st.lists(st.tuples(st.floats(1, 900), st.integers(0, 3), st.booleans()), min_size=5, max_size=60),
    st.integers(3, 9),
    st.floats(-10, 40_000),
    st.floats(0, 10),
)
def test_a_moment_that_is_kept_is_answered_exactly_and_others_never_count_what_came_before(
    steps, kept, asked, later
) -> None:
    vector, now = np.zeros(1, dtype=np.int64), 0.0
    ring, counted = Ring(vector, 0.0, kept=kept), [(0.0, 0)]
    begun: dict[float, int] = {}
    for seconds, growth, begins in steps:
        now += seconds
        vector[0] += growth
        ring.take(vector, now)
        counted.append((now, int(vector[0])))
        if begins:
            begun[now] = int(vector[0])
            ring.keep([now])
    for moment, count in [*begun.items()][-32:]:
        origin, found = ring.since(moment)
        assert (origin, found[0]) == (moment, count)
    before = [count for when, count in counted if when <= asked] or [0]
    near = [when for when in begun if 0 <= asked - when <= 10]
    assert near or ring.since(asked)[1][0] >= before[-1]
    if begun:
        moment, count = [*begun.items()][-1]
        after = [when for when, _ in counted if moment < when <= moment + later]
        assert after or ring.since(moment + later)[1][0] == count
