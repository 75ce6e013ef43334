import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving import reference, signature, slices
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.state import State
from noria_serving.errors import NoriaError
from noria_serving.feedback.keys import KeyRing
from noria_serving.feedback.token import MAX_TEXT, Token, binding, sign, verify
from noria_serving.model.loaded import Loaded
from noria_serving.slices import Asked, Slicing, freeze, wanted

NAN = float("nan")
RING, BOUND = KeyRing("k1", {"k1": b"1" * 32}), binding("shop", "loan")
AGE = Slicing("age", "age", 0, True, bounds=(25.0, 40.0))
SEX = Slicing("sex", "sex", 0, False, values=("f", "m"))
FLAG = Slicing("flag", "flag", 0, True, values=("0", "1"))


def texts(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


@pytest.mark.parametrize(
    ("slicing", "values", "groups"),
    [
        (AGE, [25, 25.001, 40, 41, NAN, -np.inf], ["..25", "25..40", "25..40", "40..", "missing", "..25"]),
        (FLAG, [0, 1, 2, NAN], ["0", "1", "other", "missing"]),
        (SEX, ["f", "m", "x", ""], ["f", "m", "other", "missing"]),
    ],
)
def test_each_value_belongs_to_one_group(slicing: Slicing, values, groups) -> None:
    column = np.array(values, dtype=float if slicing.numeric else object)
    assert [slicing.groups[code] for code in slicing.codes(column)] == groups
    assert [slicing.groups[slicing.code(value)] for value in column.tolist()] == groups


@given(st.lists(st.floats(width=32) | st.sampled_from([25.0, 40.0, 0.0, 1.0, NAN]), min_size=1))
def test_one_value_and_a_column_of_float32_are_told_apart_alike(values) -> None:
    column = np.array(values, dtype=np.float32)
    for slicing in (AGE, FLAG, Slicing("x", "x", 0, True, bounds=(0.1, 0.3))):
        assert slicing.codes(column).tolist() == [slicing.code(value) for value in column.tolist()]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("wish", "groups"),
    [
        (Asked("x"), ["0.1", "0.2", "3", "0.1", "missing"]),
        (Asked("x", values=("0.1", "3")), ["0.1", "other", "3", "0.1", "missing"]),
        (Asked("x", bounds=(0.1, 0.2)), ["..0.1", "0.1..0.2", "0.2..", "..0.1", "missing"]),
    ],
)
def test_numbers_of_a_file_are_told_apart_as_the_model_takes_them(
    dtype: str, wish: Asked, groups: list[str]
) -> None:
    """0.1 in single precision is above 0.1."""
    of_file = np.array([0.1, 0.2, 3, 0.1, NAN])
    taken = of_file.astype(dtype)
    frozen = freeze(wish, taken)
    for slicing in (frozen, *slices.parse([json.loads(json.dumps(frozen.document()))])):
        for column in (of_file, taken, taken.astype(np.float64)):
            assert [slicing.groups[code] for code in slicing.codes(column)] == groups
        assert [slicing.groups[slicing.code(value)] for value in taken.tolist()] == groups


def test_whole_numbers_are_told_apart_in_full() -> None:
    """Two of them are one number in single precision."""
    days = np.array([20260101, 20260102])
    slicing = freeze(Asked("day", values=("20260101", "20260102")), days)
    assert slicing.codes(days).tolist() == slicing.codes(days.astype(float)).tolist() == [0, 1]


def test_without_bounds_or_values_the_training_rows_suggest_groups() -> None:
    assert freeze(Asked("sex"), texts("m", "f", "m", "", "other")).groups == ("f", "m", "other", "missing")
    assert freeze(Asked("flag"), np.array([1, 0, 1])).values == ("0", "1")
    assert freeze(Asked("age"), np.arange(101.0)).bounds == (25.0, 50.0, 75.0)
    many = freeze(Asked("city"), texts(*(f"c{i:02}" for i in range(30) for _ in range(30 - i))))
    assert many.values == tuple(f"c{i:02}" for i in range(8))


def test_bounds_that_twelve_digits_do_not_tell_apart_are_written_in_full() -> None:
    assert Slicing("x", "x", 0, True, bounds=(0.1 + 0.2,)).groups == ("..0.3", "0.3..", "missing")
    near = Slicing("x", "x", 0, True, bounds=(0.3, 0.1 + 0.2, 1.0))
    assert near.groups == (
        "..0.3", "0.3..0.30000000000000004", "0.30000000000000004..1.0", "1.0..", "missing",
    )  # fmt: skip


def test_groups_at_their_limits_fit_into_a_token() -> None:
    most = [freeze(Asked("x", bounds=tuple(map(float, range(8)))), np.arange(9.0))]
    most.append(freeze(Asked("y", values=tuple("abcdefgh")), texts("a")))
    assert [one.size for one in most] == [10, 10]
    values = tuple(float(i) for i in range(64))
    token = Token("v" * 63, 2**48 - 1, b"n" * 10, values=values, exponent=-20, slices=bytes([15] * 256))
    rows = bytes(range(64))
    scored = token._replace(values=(), exponent=0, bins=rows, groups=rows, marks=rows, by_class=rows * 20)
    for one in (token, scored):
        text = sign(one, RING, BOUND)
        assert len(text) <= MAX_TEXT
        assert verify(text, RING, BOUND) == one


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"feature": "a", "bounds": [2, 1]}], "must grow"),
        ([{"feature": "a", "bounds": [1], "values": ["x"]}], "bounds or values"),
        ([{"feature": "a", "values": list("abcdefghi")}], "at most 8"),
        (["a", "a"], "each once"),
        (["a", "b", "c", "d", "e"], "at most 4"),
    ],
)
def test_what_cannot_be_sliced_is_refused_with_what_to_do(entries, told: str) -> None:
    with pytest.raises(NoriaError, match=told):
        wanted(entries)


def test_bounds_of_text_and_values_of_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(NoriaError, match="give values"):
        freeze(Asked("sex", bounds=(1.0,)), texts("f"))
    with pytest.raises(NoriaError, match="holds numbers"):
        freeze(Asked("flag", values=("yes",)), np.array([0, 1]))


ROWS = st.lists(
    st.tuples(
        st.floats(0, 90, width=32) | st.just(NAN),
        st.sampled_from(["f", "m", "x", ""]),
        st.floats(0, 1),
        st.booleans(),
    ),
    max_size=40,
)


def made() -> reference.Reference:
    shape = signature.Signature(
        (signature.Tensor("age", "FP32", (-1, 1)), signature.Tensor("sex", "BYTES", (-1, 1))), ()
    )
    inputs = {
        "age": np.linspace(18, 80, 40, dtype=np.float32).reshape(-1, 1),
        "sex": texts(*("fm" * 20)).reshape(-1, 1),
    }
    wishes = wanted([{"feature": "age", "bounds": [25, 40]}, "sex", "nowhere"])
    document = reference.build(shape, inputs, np.linspace(0, 1, 40), apart=wishes)
    return reference.parse(document)


def inputs_of(rows: list[tuple[float, str, float, bool]]) -> dict[str, np.ndarray]:
    return {
        "age": np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 1),
        "sex": texts(*(row[1] for row in rows)).reshape(-1, 1),
    }


def test_slices_are_frozen_in_the_reference_and_read_back() -> None:
    found = made()
    assert [one.feature for one in found.slices] == ["age", "sex"]
    assert reference.parse(reference.document(found)) == found
    assert "slices" not in reference.document(reference.Reference(1, found.features, found.prediction))


def test_a_bundle_has_the_slices_that_it_was_saved_with(loaded_frame: Loaded) -> None:
    carriers = Slicing("carrier", "carrier", 0, False, values=("AA", "DL", "UA"))
    assert loaded_frame.reference.slices == (carriers,)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_counts_by_slice_do_not_depend_on_how_rows_come_in(rows, cuts) -> None:
    known = made()
    recorder = Recorder(known)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        part = rows[start:end]
        if part:
            recorder.answered(inputs_of(part), np.array([row[2] for row in part]))
    recorder.fold()
    found = recorder.state.as_json(recorder.state.vector)["slices"]
    for slicing, pick in zip(known.slices, (0, 1), strict=True):
        codes = [slicing.code(float(row[0]) if pick == 0 else row[1]) for row in rows]
        for group in range(slicing.size):
            within = [row for row, code in zip(rows, codes, strict=True) if code == group]
            assert found[slicing.feature]["total"][group] == len(within)
            assert found[slicing.feature]["positive"][group] == sum(row[2] >= 0.5 for row in within)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("text", [False, True])
def test_rows_without_the_column_are_of_the_missing_group(rows: int, text: bool) -> None:
    last = Slicing("x2", "words", 2, not text, values=("1",))
    words = np.ones((rows, 2), np.float32)
    found = slices.of_rows([last], {"words": words.astype(str).astype(object) if text else words}, rows)
    assert found == bytes([last.groups.index(slices.MISSING)] * rows)


@given(rows=ROWS, pods=st.integers(1, 4), version=st.sampled_from(["loan-1", "loan-2"]))
def test_labels_by_slice_add_up_over_servers(rows, pods: int, version: str) -> None:
    known = made()
    one, many = State(known), [State(known) for _ in range(pods)]
    for number, row in enumerate(rows):
        groups = slices.of_rows(known.slices, inputs_of([row]), 1)
        for state in (one, many[number % pods]):
            state.add_score(version, int(row[2] * 199), positive=row[3], groups=groups)
    total: dict[tuple[str, str], np.ndarray] = {}
    for state in many:
        for index, by_group in state.as_json(state.vector)["slice_labels"].get(version, {}).items():
            for group, counts in by_group.items():
                total[index, group] = total.get((index, group), 0) + np.array(counts)
    alone = one.as_json(one.vector)["slice_labels"].get(version, {})
    assert {key: counts.tolist() for key, counts in total.items()} == {
        (index, group): counts for index, by_group in alone.items() for group, counts in by_group.items()
    }
    for index in ("0", "1") if rows else ():
        assert sum(sum(counts) for counts in alone[index].values()) == len(rows)


def test_errors_of_a_regression_are_counted_by_slice() -> None:
    state = State(made())
    state.add_error("loan-1", 2.0, 0.5, bytes([1, 0]))
    state.add_error("loan-1", -1.0, 0.5, bytes([1, 1]))
    found = state.as_json(state.vector)
    assert found["slice_errors"] == {
        "loan-1": {"0": {"1": [2, 4, 2, 20]}, "1": {"0": [1, 4, 0, 16], "1": [1, 0, 2, 4]}}
    }
    assert found["errors"]["loan-1"] == {"count": 2, "over": 4, "under": 2, "squared": 20, "clipped": 0}
