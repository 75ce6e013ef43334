"""Rows that wait to be counted: the same counts however they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noria_serving import reference
from noria_serving.counters.layout import Layout, Pack
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.state import REQUESTS
from noria_serving.counters.waiting import FEW
from noria_serving.signature import DATATYPES, Signature, Tensor
from noria_serving.slices import Asked

KINDS = {"a": "FP32", "from": "BYTES", "n": "INT64", "b": "FP32", "to": "BYTES", "d": "FP64", "on": "BOOL"}
COLUMNS = Signature(tuple(Tensor(name, kind, (-1, 1)) for name, kind in KINDS.items()), ())
FLAT = Signature(tuple(Tensor(name, kind, (-1,)) for name, kind in KINDS.items()), ())
MATRIX = Signature((Tensor("x", "FP32", (-1, 5)),), ())
BOTH = Signature((Tensor("x", "FP32", (-1, 5)), *COLUMNS.inputs), ())
SPLIT = (Asked("a", bounds=(0.5, 1.0)), Asked("to"))
Split = Sequence[int]


def rows_of(signature: Signature, count: int) -> tuple[dict[str, Any], Any]:
    random = np.random.default_rng(count)
    values: dict[str, Any] = {
        tensor.name: random.choice(["AA", "UA", "DL"], (count, *tensor.shape[1:])).astype(object)
        if tensor.datatype == "BYTES"
        else random.uniform(0, 1.5, (count, *tensor.shape[1:])).astype(DATATYPES[tensor.datatype])
        for tensor in signature.inputs
    }
    return values, random.uniform(size=count).astype(np.float32)


@pytest.mark.parametrize(
    "signature", [COLUMNS, FLAT, MATRIX, BOTH], ids=["columns", "flat", "matrix", "both"]
)
@given(split=st.lists(st.integers(1, FEW + 2), min_size=1, max_size=12), gaps=st.booleans())
@example(split=[1, 2, 1, 2, 2, 5, FEW, FEW + 1, 1], gaps=False)
def test_rows_count_the_same_however_they_are_told_among_requests(
    signature: Signature, split: Split, gaps: bool
) -> None:
    """Also across folds, and where arrays have gaps, so that their bytes cannot be copied at once."""
    values, scores = rows_of(signature, sum(split))
    asked = () if signature is MATRIX else SPLIT
    known = reference.parse(reference.build(signature, *rows_of(signature, 200), apart=asked))

    def counted(requests: Split) -> list[int]:
        recorder, start = Recorder(known), 0
        for at, count in enumerate(requests):
            rows = {name: array[start : start + count] for name, array in values.items()}
            if gaps:
                rows = {name: np.repeat(array, 2, axis=0)[::2] for name, array in rows.items()}
            recorder.answered(rows, scores[start : start + count])
            start += count
            if at in (3, 7):
                recorder.fold()
        recorder.fold()
        assert recorder.state.vector[0] == len(requests)
        found: list[int] = recorder.state.vector[len(REQUESTS) :].tolist()
        return found

    one_by_one = counted([1] * len(scores))
    assert counted(split) == one_by_one
    assert counted([len(scores)]) == one_by_one
    assert sum(one_by_one) > len(scores) * len(signature.inputs)


def test_the_layout_of_a_request_that_was_decoded_tensor_by_tensor_is_not_for_the_rows_that_follow() -> None:
    """Of one row: those lie side by side, and would be kept array by array for ever."""
    numbers = {name: np.ones((1, 1), np.float32) for name in "ab"}
    layout = Layout([("a", 0), ("b", 0)], numbers, np.ones(1, np.float32))
    assert not Pack(layout).stays
