"""All counts of a version in Prometheus' words, for an operator that takes them from there.

In: the document of `/counters`. Out: the text format. Invariants: what is added up over processes is the same
numbers under the same names (`contract.places`); a row that counts nothing has its first number all the same,
so that nobody takes it for one that is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noria_serving.contract import COUNTS_METRIC, STARTED_METRIC, places


def page(document: Mapping[str, Any], model: str) -> bytes:
    """The answer to a scrape."""
    return "\n".join([*_lines(document, model), ""]).encode()


def _lines(document: Mapping[str, Any], model: str) -> Iterator[str]:
    own = f'model="{_quoted(model)}",version="{_quoted(document["version"])}"'
    yield from _head(STARTED_METRIC, "gauge", "Since when this process counts.")
    yield f"{STARTED_METRIC}{{{own}}} {document['started']!r}"
    yield from _head(COUNTS_METRIC, "counter", "What /counters tells, by place.")
    for place, row in places(document):
        labels = f'{COUNTS_METRIC}{{{own},place="{_quoted(place)}",of="{len(row)}",index='
        for index, count in enumerate(row or (0,)):
            if count or not index:
                yield f'{labels}"{index}"}} {count}'


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
