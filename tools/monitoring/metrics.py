"""docs/metrics.md, from the catalogues in the code.

`python -m tools.monitoring.metrics docs/metrics.md` writes it, with `--check` it compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from noria_operator import judgements
from noria_operator.kube import metrics
from noria_operator.kube.clock import SystemClock
from noria_operator.kube.store import Store
from noria_operator.state_metrics import families
from noria_serving.counters import catalogue

Row = tuple[str, str, Iterable[str], str]
HEAD: Final = ("| metric | type | labels | what it says |", "|---|---|---|---|")
SERVER: Final = f"""## The model server

Port 8081 (`counters`), `/metrics`. Metrics of a version have the labels
{" and ".join(f"`{label}`" for label in catalogue.COMMON)} beside those of the table; labels of feedback are
counted under the version that predicted. `process_*` are of the server's process, without labels of a
version. Everything is summed over pods before it is compared."""
OPERATOR: Final = """## The operator

Port 8080 (`http`), `/metrics`. Counters and histograms are of the process and name no object."""
OBJECTS: Final = """### Objects

Gauges that the leader makes of the objects in its cache at each scrape: right from the first one, and gone
with the object. `deployment` is the ModelDeployment, `model` the model's name, `version` a ModelVersion,
`training` a ContinuousTraining, of which a ModelDeployment may have several."""


def server() -> Iterator[Row]:
    """The model server's families."""
    for one in (*catalogue.FAMILIES, *catalogue.PROCESS):
        yield one.name, one.kind, one.labels, one.text


def process() -> Iterator[Row]:
    """What the operator's process counts."""
    for one in vars(metrics).values():
        if isinstance(one, Counter | Gauge | Histogram):
            (family,) = one.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, one._labelnames, family.documentation


def objects() -> Iterator[Row]:
    """What is made of the objects at each scrape."""
    for each in families.FAMILIES:
        yield each.name, "gauge", (*each.common, *each.labels), each.text
    for family in judgements.Judgements(Store(), lambda: True, SystemClock().now).collect():
        yield family.name, "gauge", family._labelnames, family.documentation


def names() -> set[str]:
    """Every metric that there is."""
    return {row[0] for rows in (server(), process(), objects()) for row in rows}


def document() -> str:
    """The whole page."""
    parts = (
        ("# Metrics\n\n<!-- Made from the catalogues in the code by `make metrics`; do not edit. -->", ()),
        (SERVER, server()),
        (OPERATOR, process()),
        (OBJECTS, objects()),
    )
    return "\n\n".join(_part(text, list(rows)) for text, rows in parts) + "\n"


def _part(text: str, rows: list[Row]) -> str:
    lines = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {says} |"
        for name, kind, labels, says in rows
    ]
    return "\n".join([text, "", *HEAD, *lines]) if rows else text


def main() -> None:
    """Write the page, or compare it."""
    path = Path(sys.argv[1])
    if "--check" not in sys.argv:
        path.write_text(document())
    elif path.read_text() != document():
        sys.exit(f"{path} is not what the catalogues say; run: make metrics")


if __name__ == "__main__":
    main()
