from __future__ import annotations

import pytest
from benchmarks.metrics import histogram
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Kept


@pytest.fixture
def kept() -> Kept:
    return Kept("x_seconds", "…", ("kind", "verb"), buckets=(1, 2, 5), registry=CollectorRegistry())


def page(kept: Kept) -> str:
    registry = CollectorRegistry()
    registry.register(kept)
    return generate_latest(registry).decode()


def test_all_series_with_the_labels_count_together(kept: Kept) -> None:
    for verb in ("get", "list", "patch"):
        kept.labels("Job", verb).observe(1.5)
    kept.labels("Pod", "get").observe(1.5)
    assert histogram(page(kept), "x_seconds").count == 4
    assert histogram(page(kept), "x_seconds", kind="Job").total == 4.5
    assert histogram(page(kept), "x_seconds", kind="Job", verb="get|list").count == 2
    assert histogram(page(kept), "x_seconds", kind="Lease").count == 0


def test_quantiles_are_those_of_what_came_since(kept: Kept) -> None:
    kept.labels("Job", "get").observe(1.5)
    before = histogram(page(kept), "x_seconds")
    for _ in range(100):
        kept.labels("Job", "get").observe(3)
    since = histogram(page(kept), "x_seconds").since(before)
    assert since.count == 100
    assert since.quantile(0.5) == pytest.approx(3.5)
    assert since.quantile(0.99) == pytest.approx(4.97)


def test_what_is_beyond_all_buckets_is_told_as_the_largest_bound(kept: Kept) -> None:
    kept.labels("Job", "get").observe(60)
    assert histogram(page(kept), "x_seconds").quantile(0.99) == 5
