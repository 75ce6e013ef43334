"""Requests in one call of the model: when that pays, and that company changes nobody's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria_serving.server import batching

Array = np.ndarray[Any, Any]
ROWS = {"x": np.arange(16, dtype=np.float32).reshape(8, 2), "c": np.array(list("abcdefgh"), dtype=object)}


class Model:
    """Takes `fixed` seconds a call and `row` a row more, on a clock of its own."""

    def __init__(
        self, fixed: float = 1.0, row: float = 0.0, see: Callable[[Array], Array] | None = None
    ) -> None:
        self.now, self._fixed, self._row = 0.0, fixed, row
        self._see = see or (lambda x: x.sum(axis=1))

    def clock(self) -> float:
        return self.now

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        self.now += self._fixed + self._row * len(inputs["x"])
        return [self._see(inputs["x"]), np.asarray(inputs["c"])]

    def pays(self, rows: Mapping[str, Array] = ROWS) -> bool:
        return batching.pays(self.predict, rows, 1e-6, clock=self.clock)


def fails_alone(x: Array) -> Array:
    if len(x) == 1:
        raise ValueError("two at least")
    return x.sum(axis=1)


def test_joining_pays_where_a_call_costs_more_than_its_rows() -> None:
    assert Model(fixed=1.0, row=0.1).pays()


@pytest.mark.parametrize(
    "model",
    [
        Model(fixed=0.1, row=1.0),
        Model(see=lambda x: (x - x.mean(axis=0)).sum(axis=1)),
        Model(see=lambda x: x.sum(axis=1) + np.arange(len(x))),
        Model(see=lambda x: np.sort(x.sum(axis=1))[::-1]),
        Model(see=lambda x: np.cumsum(x[:, 0])),
        Model(see=lambda x: x.sum(axis=0)),
        Model(see=lambda x: np.float32(x.sum())),
        Model(see=fails_alone),
    ],
    ids=[
        "dear rows",
        "mean of all",
        "place",
        "sorted",
        "running sum",
        "no rows",
        "one number",
        "fails alone",
    ],
)
def test_joining_stays_off_where_rows_cost_as_much_or_see_each_other(model: Model) -> None:
    assert not model.pays()


@pytest.mark.parametrize("rows", [{"x": np.ones((8, 2)), "c": np.array(["a"] * 8)}, {"x": np.ones((1, 2)), "c": np.array(["a"])}])  # fmt: skip  # noqa: E501
def test_joining_stays_off_where_golden_rows_tell_no_neighbours_apart(rows: Mapping[str, Array]) -> None:
    assert not Model().pays(rows)


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_everybody_gets_the_answers_to_its_own_rows(counts: list[int]) -> None:
    random = np.random.default_rng(sum(counts))
    requests = [
        {"x": random.normal(size=(n, 2)), "c": np.array([f"r{i}"] * n, object)} for i, n in enumerate(counts)
    ]
    model = Model()
    answers = batching.answer(model.predict, requests, counts, lambda index: True)
    assert model.now == 1.0
    for request, given_ in zip(requests, answers, strict=True):
        assert not isinstance(given_, Exception)
        np.testing.assert_array_equal(given_[0], request["x"].sum(axis=1))
        np.testing.assert_array_equal(given_[1], request["c"])


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 3), min_size=2, max_size=6), data=st.data())
def test_a_poisoned_row_fails_alone(counts: list[int], data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, len(counts) - 1))

    def refuse(x: Array) -> Array:
        if np.isnan(x).any():
            raise ValueError("poison")
        return x.sum(axis=1)

    requests = [{"x": np.ones((n, 2)), "c": np.array(["a"] * n)} for n in counts]
    requests[bad]["x"][0, 0] = np.nan
    answers = batching.answer(Model(see=refuse).predict, requests, counts, lambda index: True)
    assert [isinstance(answer, ValueError) for answer in answers] == [i == bad for i in range(len(counts))]


def test_a_model_that_swallows_rows_in_company_answers_each_alone() -> None:
    requests = [{"x": np.ones((1, 2)), "c": np.array(["a"])}] * 2
    model = Model(see=lambda x: x.sum(axis=1)[:1])
    answers = batching.answer(model.predict, requests, [1, 1], lambda index: index == 1)
    assert isinstance(answers[0], RuntimeError)  # nobody waited for it any more
    assert not isinstance(answers[1], Exception)


def test_only_equal_tensors_are_joined() -> None:
    one = {"x": np.ones((1, 2), np.float32)}
    assert batching.key(one) == batching.key({"x": np.ones((5, 2), np.float32)})
    for other in ({"x": np.ones((1, 3), np.float32)}, {"x": np.ones((1, 2))}, {"y": one["x"]}):
        assert batching.key(one) != batching.key(other)
