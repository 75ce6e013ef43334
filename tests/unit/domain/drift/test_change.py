"""A rise of the error rate is found soon, and where there is none nothing is."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.drift.change import EVIDENCE, PER_SIZE, Bucket, Change, look, remember

RNG = np.random.default_rng(4)


def fed(errors: list[int], batch: int = 32) -> list[tuple[int, Change]]:
    """Where it was found, and what was said, in labels."""
    memory: tuple[Bucket, ...] = ()
    found = []
    for end in range(batch, len(errors) + 1, batch):
        memory = remember(memory, batch, sum(errors[end - batch : end]))
        said, memory = look(memory)
        if said.found:
            found.append((end, said))
    return found


def drawn(*parts: tuple[float, int], seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(error) for rate, count in parts for error in rng.random(count) < rate]


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("before", "after", "most"), [(0.12, 0.21, 500), (0.06, 0.53, 64), (0.01, 0.99, 64), (0.0, 0.6, 64)]
)
def test_a_rise_is_found_soon_and_told_with_its_rates(before: float, after: float, most: int) -> None:
    delays = []
    for seed in range(5):
        found = fed(drawn((before, 4000), (after, 3000), seed=seed))
        assert found
        end, said = found[0]
        assert end > 4000
        delays.append(end - 4000)
        assert said.before == pytest.approx(before, abs=0.03)
        assert said.after > before
        assert said.evidence > EVIDENCE
    assert np.median(delays) <= most


def test_after_a_change_only_what_came_after_it_is_remembered() -> None:
    found = fed(drawn((0.1, 4000), (0.4, 8000), seed=1))
    assert len(found) == 1, "the new rate is the rate to compare with"


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5])
def test_errors_that_come_as_often_as_ever_are_no_change(rate: float) -> None:
    assert fed(drawn((rate, 15_000), seed=int(100 * rate))) == []


def test_fewer_errors_are_no_alarm() -> None:
    assert fed(drawn((0.4, 3000), (0.05, 3000), seed=3)) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=200))
def test_memory_is_bounded_ordered_and_loses_nothing(batches: list[tuple[int, int]]) -> None:
    memory: tuple[Bucket, ...] = ()
    for labels, errors in batches:
        memory = remember(memory, max(labels, errors), errors)
    assert sum(one.labels for one in memory) == sum(max(batch) for batch in batches)
    assert sum(one.errors for one in memory) == sum(errors for _, errors in batches)
    sizes = [one.size for one in memory]
    assert sizes == sorted(sizes, reverse=True)
    assert all(sizes.count(size) <= PER_SIZE for size in sizes)
    assert len(memory) <= PER_SIZE * (log(len(batches) + 1, 2) + 1)


def test_a_million_labels_fit_into_a_status() -> None:
    memory: tuple[Bucket, ...] = ()
    for errors in RNG.binomial(32, 0.1, 31_250).tolist():
        memory = remember(memory, 32, errors)
    assert len(json.dumps(memory)) < 2048


def test_nothing_and_one_batch_say_nothing() -> None:
    assert look(()) == (Change(found=False), ())
    assert remember((), 0, 0) == ()
    assert not look(remember((), 100, 100))[0].found
