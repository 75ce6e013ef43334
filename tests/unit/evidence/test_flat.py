"""A document of counts: refused when it comes, kept in few bytes, flattened when somebody asks."""

from __future__ import annotations

import math
import tracemalloc
from collections import defaultdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.evidence.flat import ROOM, Packed, counts_of
from noria_operator.evidence.growth import opened
from noria_operator.evidence.server import SIZE_LIMIT
from noria_serving.contract import BESIDE, FAMILIES, places_of
from noria_serving.reference import MAX_FEATURES

FLOATS = st.floats(allow_nan=False, allow_infinity=False)  # JSON has neither
ROWS = st.recursive(
    st.integers(0, 9)
    | st.lists(st.integers(0, 9) | st.none() | FLOATS, max_size=2)
    | st.none()
    | st.text(max_size=2),
    lambda nested: st.dictionaries(st.text(max_size=2), nested, max_size=3),
    max_leaves=6,
)


def flattened(body: dict[str, Any]) -> dict[str, Any] | str:
    try:
        return {place: row for name in FAMILIES for place, row in places_of(body, name)}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return "refused"


@pytest.mark.parametrize("family", FAMILIES)
@given(rows=ROWS)
def test_what_is_no_document_is_refused_when_it_comes(family: str, rows: Any) -> None:
    body = {"version": "m-1", "error_units": defaultdict(lambda: 0.5), family: rows}
    wanted = flattened(body)
    try:
        found: Any = counts_of(body)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        found = "refused"
    else:
        found = dict(found)
    assert repr(found) == repr(wanted)


def document(**counts: Any) -> dict[str, Any]:
    features = {f"feature-{number}": {"bins": [10 * number] * 10, "missing": 0} for number in range(20)}
    return {"version": "m-1", "predictions": 7, "features": features, **counts}


def test_what_a_document_is_told_as_does_not_depend_on_earlier_ones() -> None:
    """Without its digits it looks like the first one."""
    for names in ([], [0], [12]):
        assert [*counts_of(document(classes=names)).family("classes")] == [
            f"classes/m-1/{place}/{name}" for place, name in enumerate(names)
        ]


def test_documents_that_differ_in_digits_alone_tell_each_its_own() -> None:
    for number in (1, 22, 333):
        told = document(predictions=number, slice_labels={f"{number}": {"0": [number, 0]}})
        counts = counts_of(told)
        assert isinstance(counts, Packed)
        assert dict(counts) == dict(counts.opened()) == flattened(told)
        assert len(counts) == len(flattened(told))


OUTPUTS = {"exponent": 1, "first": 0, "bins": [1]}
ERRORS = {"errors": {"m-1": {"count": 2}}, "error_units": {"m-1": 0.5}}


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"predictions": 7}, {"predictions": "7."}),
        ({"scores": {"m-1": [5, 5]}}, {"scores": {"m-1": [5, ""]}}),
        ({"scores": {"m-1": [5, 5]}}, {"scores": {"m-1": [5, None]}}),
        (ERRORS, ERRORS | {"error_units": {"m-2": 0.5}}),
        ({"outputs": 0}, {"outputs": 1}),
        ({"outputs": OUTPUTS}, {"outputs": {f"{name}1": value for name, value in OUTPUTS.items()}}),
        ({"requests1": "abc"}, {"requests": "abc"}),
        ({"errors": 0}, {"errors": 1}),
        ({"feedback": {"matched": "5"}}, {"feedback": {"matched": ""}}),
        ({"outputs": {"exponent": "1", "first": 0, "bins": [1]}}, {"outputs": {"exponent": "", "first": 0}}),
    ],
)
def test_a_document_like_a_good_one_that_holds_something_else_is_refused(good: Any, bad: Any) -> None:
    assert dict(counts_of(document(**good))) == flattened(document(**good))
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        counts_of(document(**bad))


def test_what_bytes_do_not_hold_is_told_as_it_came() -> None:
    strange = document(task=[math.inf])
    for _ in range(2):
        assert dict(counts_of(strange)) == flattened(strange)


def test_a_document_of_as_many_features_as_a_server_counts_is_read() -> None:
    row = {"bins": [10**8] * 10, **dict.fromkeys(BESIDE, 10**8)}
    features = {f"a feature with a name of some length, {number}": row for number in range(MAX_FEATURES)}
    whole = document(features=features)
    assert len(orjson.dumps(whole)) < SIZE_LIMIT
    assert len(counts_of(whole)) == (1 + len(BESIDE)) * MAX_FEATURES + 1


@pytest.mark.parametrize(
    "rows",
    [
        {hex(number): 0 for number in range(300_000)},
        {"a" * 2**20: {str(number): 0 for number in range(1000)}},
        {"a" * 2**20: {"b": {str(number): 0 for number in range(1000)}}},
    ],
)
def test_a_document_that_grows_to_far_more_than_a_server_counts_is_refused(rows: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more places"):
            counts_of(document(predictions=rows))
        assert tracemalloc.get_traced_memory()[1] < 16 * ROOM
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in ("task", "classes", "outputs")])
def test_a_document_that_grows_by_digits_alone_is_refused_when_it_comes(family: str) -> None:
    def told(name: str, count: int) -> Any:
        rows = {name: {f"{number}": count for number in range(1000)}}
        return document(error_units={name: 0.5}, **{family: rows})

    for _ in range(2):
        assert dict(opened(counts_of(told("a", 10**18)))) == flattened(told("a", 10**18))
    with pytest.raises(ValueError, match="more places"):
        counts_of(told("a" + "1" * 2**15, 0))


def test_names_that_grow_by_digits_alone_are_refused_when_they_come() -> None:
    told = document(classes=["1"] * 1000)
    assert isinstance(counts_of(told), Packed)
    assert dict(counts_of(told)) == flattened(told)
    with pytest.raises(ValueError, match="more places"):
        counts_of(document(classes=["1" * 2**15] * 1000))


def test_a_version_that_grows_by_digits_alone_is_refused_when_it_comes() -> None:
    rows = {"requests": {f"{number}": 0 for number in range(1000)}}
    assert isinstance(counts_of(document(**rows)), Packed)
    with pytest.raises(ValueError, match="more places"):
        counts_of(document(**rows, version="m-" + "1" * 2**15))


@pytest.mark.parametrize("predictions", [7, "7", 7.0, True])
def test_a_document_is_kept_in_as_many_bytes_as_it_had(predictions: Any) -> None:
    size = len(orjson.dumps(document()))
    counts_of(document(predictions=predictions))
    tracemalloc.start()
    try:
        kept = [counts_of(document(predictions=predictions)) for _ in range(50)]
        assert tracemalloc.get_traced_memory()[0] < 1.5 * size * len(kept)
    finally:
        tracemalloc.stop()
