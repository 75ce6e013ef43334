"""Retention: which versions are archived, oldest first, once more than `keep` newer ones are approved.

Comes in: the approved versions of a model and what protects some of them. Goes out: the names to archive.
Invariants: never a version that any deployment serves, tries, keeps warm or is pinned to, nor one that an
undo may go back to, nor one with an alias or `hold: true`; never the newest `keep`. Archiving changes the
phase alone: the bytes of the artifact stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from noria_operator.domain.registry import number_of

Json = dict[str, Any]

KEEP_ANNOTATION: Final = "noria.dev/keep"
"""On a ModelVersion made by a TrainingJob: `spec.output.keep` of that job. The figure of the newest version
that has one counts.
"""
DEFAULT_KEEP: Final = 20
ROLES: Final = ("stable", "candidate", "previous", "pinned", "arm")
"""What a version can be to a deployment: what serves comes first, what is only named in the spec last."""


@dataclass(frozen=True)
class Retained:
    """One approved version, as far as retention looks at it."""

    name: str
    number: int
    protected: bool
    keep: int = 0
    """0: it says nothing."""


def archivable(versions: Iterable[Retained]) -> tuple[str, ...]:
    """Names of the approved versions of one model that may be archived now, oldest first."""
    newest_first = sorted(versions, key=lambda version: version.number, reverse=True)
    keep = next((version.keep for version in newest_first if version.keep), DEFAULT_KEEP)
    return tuple(version.name for version in reversed(newest_first[keep:]) if not version.protected)


def retained(versions: Iterable[Json], deployments: Iterable[Json]) -> list[Retained]:
    """The approved ones among `versions`, with what protects them."""
    deployments = list(deployments)
    held = in_use(deployments).keys() | {
        name for one in deployments for name in (*_arms(one), *_champions(one))
    }
    return [
        Retained(
            name=version["metadata"]["name"],
            number=int(version["spec"]["version"]),
            protected=version["metadata"]["name"] in held
            or bool(version["spec"].get("hold"))
            or bool(version["spec"].get("aliases")),
            keep=keep_of(version),
        )
        for version in versions
        if version.get("status", {}).get("phase") == "Approved"
    ]


def in_use(deployments: Iterable[Json]) -> dict[str, list[str]]:
    """Version name → `<deployment> (<role>)` for every version that a deployment serves, tries, keeps, is
    pinned to or has yet to try as an arm; in the order of `ROLES`.
    """
    users: dict[str, list[tuple[int, str]]] = {}
    for deployment in deployments:
        name, status = deployment["metadata"]["name"], deployment.get("status", {})
        uses = [
            ((status.get(role) or {}).get("version"), role) for role in ("stable", "candidate", "previous")
        ]
        uses += [(one["version"], "candidate") for one in status.get("others") or ()]
        uses.append((deployment["spec"].get("version"), "pinned"))
        uses += [(arm, "arm") for arm in _arms(deployment) if not _is_over(deployment, arm)]
        for version, role in uses:
            if version:
                users.setdefault(version, []).append((ROLES.index(role), f"{name} ({role})"))
    return {version: [told for _, told in sorted(found)] for version, found in users.items()}


def _arms(deployment: Json) -> list[str]:
    """The versions that its experiment names."""
    experiment = (deployment["spec"].get("strategy") or {}).get("experiment") or {}
    return [arm["version"] for arm in experiment.get("arms") or ()]


def _champions(deployment: Json) -> list[str]:
    """The versions that `noria.dev/undo` may go back to, or does."""
    status = deployment.get("status", {})
    undo = (status.get("undo") or {}).get("target")
    return [one["version"] for one in (*(status.get("champions") or ()), *([undo] if undo else ()))]


def _is_over(deployment: Json, arm: str) -> bool:
    """Whether the experiment ended for this arm: it was rejected, or another one won, and what serves by now
    is newer. A retry, which forgets that, begins it again.
    """
    status = deployment.get("status", {})
    rejected = {one["version"]: one.get("lost", False) for one in status.get("rejected") or ()}
    if arm in rejected:
        return True
    won = any(rejected.get(other) for other in _arms(deployment))
    stable, model = (status.get("stable") or {}).get("version", ""), deployment["spec"]["model"]
    return won and number_of(model, arm) < number_of(model, stable)


def keep_of(version: Json) -> int:
    """The figure that a version carries; 0 where there is none or it is not a number."""
    text = version["metadata"].get("annotations", {}).get(KEEP_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
