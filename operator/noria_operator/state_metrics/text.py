"""Gauges as the text that Prometheus reads.

In: families of gauges, as the collectors make them. Out: what prometheus_client's own `generate_latest` says,
in a fraction of its time: that looks at the names of a family anew for every sample, of which a thousand
models have 40,000. Invariant: every sample of a family has the same labels, and no timestamp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import Metric

_SPECIAL: Final = re.compile(r'[\\\n"]')


def text(families: Iterable[Metric]) -> bytes:
    """In the text format (prometheus.io/docs/instrumenting/exposition_formats)."""
    return "".join(line for family in families for line in _lines(family)).encode()


def _lines(family: Metric) -> Iterator[str]:
    name, about = family.name, family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {about}\n# TYPE {name} gauge\n"
    labels = sorted(family.samples[0].labels) if family.samples else []
    shape = ",".join(label + '="%s"' for label in labels)
    line = f"{name}{{{shape}}} %s\n"
    for sample in family.samples:
        values = [sample.labels[label] for label in labels]
        if _SPECIAL.search("".join(values)):
            values = [_escaped(value) for value in values]
        yield line % (*values, _number(sample.value))


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
