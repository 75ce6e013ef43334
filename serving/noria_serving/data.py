"""Where a training container finds its rows: partitions of a hive-style directory, as the TrainingJob
selected them.

In: $NORIA_DATA_<NAME> (a directory or a URI) and $NORIA_DATA_<NAME>_SELECT, `{"by": "date", "last":
60, "skip": 0, "oldest": "2026-01-01", "newest": "2026-03-01"}`: what the spec asks for, and the range that it
meant when the run began. Out: places, oldest first. Invariant: where the range is given it alone counts, so
that every attempt of the trainer and the evaluation read the same partitions, whatever landed in between;
without one (an operator older than this library, a laptop) the newest of this moment are taken.
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
from noria_serving.objects import cause, is_store, open_store

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""Where Hive, Spark and pyarrow put rows without a value of the key: neither old nor new, never chosen."""


@dataclass(frozen=True)
class Select:
    """The newest `last` values of partition key `by`, after leaving out the newest `skip`; or, once chosen,
    those from `oldest` to `newest`.
    """

    by: str
    last: int
    skip: int = 0
    oldest: str | None = None
    newest: str | None = None

    def choose(self, values: Iterable[str]) -> list[str]:
        """The chosen values, oldest first."""
        age = contract.partition_age
        ordered = sorted(set(values) - {NO_VALUE}, key=age)
        if self.oldest is not None and self.newest is not None:
            return [value for value in ordered if age(self.oldest) <= age(value) <= age(self.newest)]
        end = len(ordered) - self.skip
        return ordered[max(0, end - self.last) : max(0, end)]

    def __str__(self) -> str:
        if self.oldest is not None:
            return f"{self.by}={self.oldest} to {self.by}={self.newest}"
        return f"{self.by}=…" + (f" after leaving out the newest {self.skip}" if self.skip else "")


def parse_select(text: str | None) -> Select | None:
    """The JSON of a `_SELECT` variable; None when there is none."""
    if not text:
        return None
    try:
        fields = json.loads(text)
        bounds = fields.get("oldest"), fields.get("newest")
        select = Select(fields["by"], fields["last"], fields.get("skip", 0), *bounds)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoriaError(
            Reason.CONFIGURATION, f"a selection must be {{by, last, skip}}, not {text!r:.100}"
        ) from error
    whole = type(select.last) is int and type(select.skip) is int and select.last > 0 and select.skip >= 0
    range_ = bounds == (None, None) or all(isinstance(bound, str) for bound in bounds)
    if not isinstance(select.by, str) or not _KEY.fullmatch(select.by) or not whole or not range_:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"a selection needs a key, last >= 1, skip >= 0, oldest with newest, not {text!r:.200}",
        )
    return select


def partitions(name: str, *, env: Mapping[str, str] = os.environ) -> list[str]:
    """Paths (or URIs) of the selected partitions of a data set; the whole place when nothing is
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
    return [f"{location.rstrip('/')}/{select.by}={value}" for value in values_of(location, select)]


def values_of(location: str, select: Select) -> list[str]:
    """The chosen values of the partition key, oldest first, at least one."""
    prefix = f"{select.by}="
    names = _directories(location)
    chosen = select.choose(entry.removeprefix(prefix) for entry in names if entry.startswith(prefix))
    if not chosen:
        raise NoriaError(Reason.NO_ROWS, f"{location} has no partitions {select}")
    return chosen


def _directories(location: str) -> list[str]:
    if is_store(location):
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
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot list the store: {cause(error)}") from error
