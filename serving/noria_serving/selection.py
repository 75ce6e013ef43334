"""`python -m noria_serving.selection`: which partitions a run reads, chosen once for all of its pods.

In: $NORIA_SELECTIONS, a JSON list of `{"name", "location", "select"}`. Out at $NORIA_RESULT: `{"schema",
"data": [{"name", "by", "oldest", "newest", "count"}]}`. Lists directories and opens no file. Invariant: all
data sets are chosen here and now, so that a partition that lands later moves none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from noria_serving import contract
from noria_serving.data import Select, parse_select, values_of
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main


def select(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    return {
        "schema": contract.SELECTION_SCHEMA,
        "data": [_chosen(*entry) for entry in _entries(env.get(contract.ENV_SELECTIONS, ""))],
    }


def _chosen(name: str, location: str, selection: Select) -> dict[str, Any]:
    try:
        values = values_of(location, selection)
    except NoriaError as error:
        raise NoriaError(error.reason, f"data {name}: {error.message}") from error
    return {
        "name": name,
        "by": selection.by,
        "oldest": values[0],
        "newest": values[-1],
        "count": len(values),
    }


def _entries(text: str) -> list[tuple[str, str, Select]]:
    try:
        found = [
            (str(entry["name"]), str(entry["location"]), parse_select(json.dumps(entry["select"])))
            for entry in json.loads(text)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise NoriaError(
            Reason.CONFIGURATION, f"${contract.ENV_SELECTIONS} must list name, location and select"
        ) from error
    return [(name, location, selection) for name, location, selection in found if selection is not None]


if __name__ == "__main__":
    main(contract.SELECTION_SCHEMA, select)
