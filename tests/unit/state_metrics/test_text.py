"""What is written of gauges says what the library's own text says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from noria_operator.state_metrics.text import text


class Told(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


Found = dict[str, tuple[str, list[tuple[Mapping[str, str], float | None]]]]


def parsed(written: bytes) -> Found:
    """Of each family its text, and its samples; None for a sample that is no number."""
    return {
        family.name: (
            family.documentation,
            [(one.labels, None if math.isnan(one.value) else one.value) for one in family.samples],
        )
        for family in text_string_to_metric_families(written.decode())
    }


def by_the_library(families: Sequence[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Told(families))
    return generate_latest(registry)


WORDS = st.text(st.characters(blacklist_categories=["Cs"]) | st.sampled_from('\\\n"{},% ='), max_size=6)


@given(
    labels=st.lists(st.sampled_from(["model", "namespace", "deployment"]), min_size=1, unique=True),
    rows=st.lists(st.tuples(WORDS, WORDS, WORDS, st.floats() | st.integers(-(2**53), 2**53)), max_size=4),
    about=st.sampled_from(["1 where it is.", 'A line,\nand a "quoted" \\ one.']),
)
def test_it_says_what_the_library_says(
    labels: list[str], rows: list[tuple[str, str, str, float]], about: str
) -> None:
    family = GaugeMetricFamily("noria_gauge", about, labels=labels)
    for *words, value in rows:
        family.add_metric(words[: len(labels)], value)
    empty = GaugeMetricFamily("noria_empty", "Nothing.", labels=["model"])
    written = text([family, empty])
    assert parsed(written) == parsed(by_the_library([family, empty]))
    plain = [row for row in rows if abs(row[3]) < 1e6]
    if len(plain) == len(rows):
        assert written == by_the_library([family, empty])


def test_numbers_that_are_none_are_written_as_the_format_has_them() -> None:
    family = GaugeMetricFamily("noria_gauge", "One.", labels=["model"])
    for value in (math.inf, -math.inf, math.nan, 3):
        family.add_metric(["m"], value)
    said = [line.split()[-1] for line in text([family]).decode().splitlines()[2:]]
    assert said == ["+Inf", "-Inf", "NaN", "3.0"]
