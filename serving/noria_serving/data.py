"""Where a training container finds its rows: partitions of a hive-style directory, as the TrainingJob
selected them.

In: $NORIA_DATA_<NAME> (a directory or an s3:// URI) and $NORIA_DATA_<NAME>_SELECT, `{"by": "date", "last":
60, "skip": 0}`. Out: places, oldest first. Invariant: the same selection gives the same partitions to a
trainer and to our evaluation.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Select:
    """The newest `last` values of partition key `by`, after leaving out the newest `skip`."""

    by: str
    last: int
    skip: int = 0

    def choose(self, values: Iterable[str]) -> list[str]:
        """The chosen values, oldest first. Whole numbers are ordered as such, everything else as text (ISO
        dates).
        """
        found = set(values)
        numbers = all(re.fullmatch(r"-?\d+", value) for value in found)
        ordered = sorted(
            found, key=(lambda value: (int(value), value)) if numbers else (lambda value: (0, value))
        )
        end = len(ordered) - self.skip
        return ordered[max(0, end - self.last) : max(0, end)]


def parse_select(text: str | None) -> Select | None:
    """The JSON of a `_SELECT` variable; None when there is none."""
    if not text:
        return None
    try:
        fields = json.loads(text)
        select = Select(fields["by"], fields["last"], fields.get("skip", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoriaError(
            Reason.CONFIGURATION, f"a selection must be {{by, last, skip}}, not {text!r:.100}"
        ) from error
    whole = type(select.last) is int and type(select.skip) is int and select.last > 0 and select.skip >= 0
    if not isinstance(select.by, str) or not _KEY.fullmatch(select.by) or not whole:
        raise NoriaError(
            Reason.CONFIGURATION, f"a selection needs a key, last >= 1, skip >= 0, not {text!r:.100}"
        )
    return select


def partitions(name: str, *, env: Mapping[str, str] = os.environ) -> list[str]:
    """Paths (or s3:// URIs) of the selected partitions of a data set; the whole place when nothing is
    selected.

    Raises NoriaError when the data set is not in this job's spec, or when the selection finds no partition.
    """
    variable = contract.ENV_DATA_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())
    location = env.get(variable)
    if not location:
        raise NoriaError(
            Reason.CONFIGURATION, f"${variable} is not set: add {name!r} to spec.data of the TrainingJob"
        )
    return select_partitions(location, parse_select(env.get(f"{variable}_SELECT")))


def select_partitions(location: str, select: Select | None) -> list[str]:
    """The partitions of one place."""
    if select is None:
        return [location]
    prefix = f"{select.by}="
    names = _directories(location)
    chosen = select.choose(entry.removeprefix(prefix) for entry in names if entry.startswith(prefix))
    if not chosen:
        raise NoriaError(
            Reason.NO_ROWS, f"{location} has no partitions {prefix}… left after leaving out {select.skip}"
        )
    return [f"{location.rstrip('/')}/{prefix}{value}" for value in chosen]


def _directories(location: str) -> list[str]:
    if location.startswith("s3://"):
        from noria_serving.objects import open_store  # noqa: PLC0415  only for data in a store

        return directories_of(open_store(location))
    try:
        return [entry.name for entry in os.scandir(location) if entry.is_dir()]
    except OSError as error:
        raise NoriaError(Reason.NOT_FOUND, f"cannot read {location}: {error.strerror}") from error


def directories_of(store: Any) -> list[str]:
    """Names right under a store's prefix."""
    try:
        return [Path(prefix).name for prefix in store.list_with_delimiter()["common_prefixes"]]
    except Exception as error:
        from noria_serving.objects import cause  # noqa: PLC0415  only for data in a store

        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot list the store: {cause(error)}") from error
