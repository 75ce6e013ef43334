"""Which users each version has, where users are divided by a hash: ranges of percent, 0 to 99.

Comes in: ranges of before and the weights of now. Goes out: the ranges of now. Invariants: a version has as
many percent as its weight; no more users move than weights ask for, and where one challenger's weight
changes, none of another challenger's. One challenger alone has the upper end, which needs no ranges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

Ranges = tuple[tuple[int, int], ...]
"""First and last percent of each."""


def owners(weights: Mapping[str, int], ranges: Mapping[str, Ranges], last: str = "") -> list[str]:
    """Who has each percent; where nothing is said, in the order of the weights, with `last` at the end."""
    if any(ranges.values()):
        found = {
            percent: name
            for name, each in ranges.items()
            for start, end in each
            for percent in range(start, end + 1)
        }
        return [found[percent] for percent in sorted(found)]
    ordered = sorted(weights, key=lambda name: name == last)
    return [name for name in ordered for _ in range(weights[name])]


def moved(before: Sequence[str], weights: Mapping[str, int], challengers: Collection[str]) -> list[str]:
    """Who has each percent now. A challenger gives its lowest ones to who is none, and takes the highest of
    those; only when these do not suffice it takes what another challenger gave.
    """
    if not before:
        return owners(weights, {})
    after: list[str | None] = list(before)
    for name in challengers:
        mine = [percent for percent, owner in enumerate(before) if owner == name]
        for percent in mine[: max(0, len(mine) - weights.get(name, 0))]:
            after[percent] = None
    given = [percent for percent, owner in enumerate(after) if owner is None]
    free = [percent for percent, owner in enumerate(after) if owner and owner not in challengers]
    for name in weights:
        if name in challengers:
            for _ in range(weights[name] - after.count(name)):
                after[(free or given).pop()] = name
    for name in dict.fromkeys(owner for owner in after if owner and owner not in challengers):
        mine = [percent for percent, owner in enumerate(after) if owner == name]
        for percent in mine[weights.get(name, 0) :]:
            after[percent] = None
    rest = [percent for percent, owner in enumerate(after) if owner is None]
    for name in weights:
        for _ in range(weights[name] - after.count(name)):
            after[rest.pop(0)] = name
    return [owner for owner in after if owner is not None]


def ranges_of(owned: Sequence[str]) -> dict[str, Ranges]:
    """The ranges of each owner."""
    found: dict[str, Ranges] = {}
    start = 0
    for name, run in groupby(owned):
        end = start + len(list(run))
        found[name] = (*found.get(name, ()), (start, end - 1))
        start = end
    return found
