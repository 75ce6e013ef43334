"""Whether a model is judged on rows that it, or the champion, was trained on.

Comes in: a TrainingJob's data sets with the partitions that were chosen for them, and the champion's lineage.
Goes out: a sentence, or nothing. Invariant: what is given to the trainer shares no partition with what the
evaluation reads, or nothing is trained: a model that is judged on its own training rows looks better than it
is. Data sets of one location are compared, by the values of one partition key in the order in which they are
chosen, and so is one that lies in a partition of the other, or of all of it; two other locations are taken
for different rows, and whoever names only the held-out data trains on others. Where one lies in another
folder of all of the other, and of a champion whose partitions are not known, it is said that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria_operator.api.data_sources import Data
from noria_operator.api.trainingjob import TrainingJobSpec
from noria_operator.domain.training_locations import Location, LocationError
from noria_serving.contract import partition_age

Json = dict[str, Any]
Rows = tuple[str, Json | None]
"""A location, and the partitions that were chosen there; None: all of it."""


def shared(spec: TrainingJobSpec, chosen: Mapping[str, Json]) -> str:
    """What is trained on and held out at once. `chosen`: partitions by data set; a set without is whole."""
    for source, held in _apart(spec):
        if _meet((source.uri, chosen.get(source.name)), (held.uri, chosen.get(held.name))):
            trained, judged = (_shown(one.name, chosen.get(one.name)) for one in (source, held))
            return (
                f"the model would be judged on rows that it was trained on: {trained} and {judged} overlap "
                f"in {held.uri}; {_remedy(source, held)}"
            )
    return ""


def unknown(spec: TrainingJobSpec, chosen: Mapping[str, Json]) -> str:
    """A sentence, where nobody knows whether what is trained on holds what is held out."""
    for source, held in _apart(spec):
        if untold := _untold((source.uri, chosen.get(source.name)), (held.uri, chosen.get(held.name))):
            return f"not known whether the model was trained on these rows: {source.name} names {untold}"
    return ""


def seen_by_champion(spec: TrainingJobSpec, chosen: Mapping[str, Json], champion: Json | None) -> str:
    """What of the held-out rows the champion's lineage says that it was trained on, or that it does not tell.
    Neither refuses a model: one that passes a comparison which favours the champion is all the better.
    """
    held = _held(spec)
    if held is None or champion is None:
        return ""
    name, judges = champion["metadata"]["name"], (held.uri, chosen.get(held.name))
    lineage, untold = (champion["spec"].get("lineage") or {}).get("data", []), ""
    says = any(data.get("heldOut") for data in lineage)
    for data in lineage:
        partitions = data.get("partitions")
        # Versions of earlier releases do not tell their own held-out rows, which mostly have the same name.
        if data.get("heldOut") or (not says and data.get("name") == held.name):
            continue
        learnt = (data.get("uri", ""), partitions)
        # Without partitions nobody says which rows they were.
        if partitions and _meet(learnt, judges):
            rows, judged = _shown(data["name"], partitions), _shown(held.name, chosen.get(held.name))
            return f"{name} was trained on {rows}, which has rows of {judged}: the comparison favours it"
        untold = untold or _untold(learnt, judges)
    if untold or not lineage:
        why = f"the lineage of {name} names {untold or 'no data'}"
        return f"not known whether the champion was trained on these rows: {why}"
    return ""


def _held(spec: TrainingJobSpec) -> Data | None:
    """The data set that the evaluation reads."""
    return next((one for one in spec.data if spec.evaluation and one.name == spec.evaluation.data), None)


def _apart(spec: TrainingJobSpec) -> list[tuple[Data, Data]]:
    """Each data set that the trainer reads, with the one that is held out."""
    held = _held(spec)
    return [(one, held) for one in spec.data if one.name != held.name] if held is not None else []


def _untold(learnt: Rows, judges: Rows) -> str:
    """What a lineage names in the place of what would tell whether two data sets share rows; empty: it tells,
    or they are of different locations.
    """
    try:
        (here, mine), (there, its) = (
            (Location.parse(uri), partitions) for uri, partitions in (learnt, judges)
        )
    except LocationError:
        return ""
    if here == there and mine and its and mine["by"] != its["by"]:
        return f"{mine['by']} and not {its['by']}"
    if not mine and here.holds(there):
        return f"no partitions of {learnt[0]}"
    return f"a part of {judges[0]}" if not its and there.holds(here) else ""


def _meet(one: Rows, other: Rows) -> bool:
    """Whether two data sets share rows that are known of: partitions of one location, or one that lies in a
    chosen partition of the other, or in any of all of it.
    """
    try:
        (here, mine), (there, its) = ((Location.parse(uri), partitions) for uri, partitions in (one, other))
    except LocationError:  # a lineage may have anything
        return False
    if here == there:
        return _overlap(mine, its)
    return _within(here, mine, there) or _within(there, its, here)


def _within(outer: Location, partitions: Json | None, inner: Location) -> bool:
    if not outer.holds(inner):
        return False
    folders = inner.path.removeprefix(outer.path).lstrip("/").split("/")
    if not partitions:
        return any("=" in folder for folder in folders)
    by, _, value = folders[0].partition("=")
    return _overlap(partitions, {"by": by, "oldest": value, "newest": value})


def _overlap(one: Json | None, other: Json | None) -> bool:
    """Whether two ranges share a partition; all of a location shares one with every range, and ranges of two
    keys cannot be compared.
    """
    if not one or not other:
        return True
    if one["by"] != other["by"]:
        return False
    bounds = ((one["oldest"], other["newest"]), (other["oldest"], one["newest"]))
    return all(partition_age(oldest) <= partition_age(newest) for oldest, newest in bounds)


def _shown(name: str, partitions: Json | None) -> str:
    if not partitions:
        return f"{name} (all of it)"
    return f"{name} ({partitions['by']} {partitions['oldest']} to {partitions['newest']})"


def _remedy(trained: Data, held: Data) -> str:
    """What keeps them apart."""
    if trained.select is None and trained.uri != held.uri:
        return f"let {trained.name} name the folder that it reads, or choose partitions by select"
    skip = f", as with skip: {held.select.last + held.select.skip}" if held.select is not None else ""
    return f"let {trained.name} skip what {held.name} reads{skip}"
