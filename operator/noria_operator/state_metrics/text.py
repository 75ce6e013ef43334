"""Gauges as the text that Prometheus reads.

In: families of gauges, or one sample after the other. Out: what prometheus_client's own `generate_latest`
says. Invariant: every sample has a label, and no timestamp.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import Metric


def text(families: Iterable[Metric]) -> bytes:
    """In the text format (prometheus.io/docs/instrumenting/exposition_formats)."""
    return "".join(line for family in families for line in _lines(family)).encode()


def head(name: str, about: str) -> str:
    """What stands before the samples of a family."""
    about = about.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {about}\n# TYPE {name} gauge\n"


def line(name: str, labels: Mapping[str, str], value: float) -> str:
    """One sample."""
    said = ",".join(f'{label}="{_escaped(labels[label])}"' for label in sorted(labels))
    return f"{name}{{{said}}} {_number(value)}\n"


def _lines(family: Metric) -> Iterator[str]:
    yield head(family.name, family.documentation)
    for sample in family.samples:
        yield line(family.name, sample.labels, sample.value)


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
