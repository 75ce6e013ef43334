"""What the planner hands back: the state to persist, the children to apply, the Events to emit.

Frozen values without decisions; `controllers.modeldeployment` carries them out, in the order of `Plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from noria_operator.api.names import record_name
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_words import Happened, Phase


@dataclass(frozen=True, slots=True)
class Child:
    """A revision that must exist; `replicas` None leaves its size as it is; `restart` is the id of the
    restart that its pods must be younger than, empty for none; `recreate`: no pod comes up beside another.
    """

    target: Revision
    role: str
    replicas: int | None
    restart: str = ""
    recreate: bool = False

    @property
    def record(self) -> str:
        """Name of the record of its pods."""
        return record_name(self.target.name, self.restart)


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to emit; `cause` is why a version was rolled back, in one word of `Cause`."""

    reason: Happened
    message: str
    warning: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """State to persist first; then children to apply (all others are deleted, but for the pod records named
    in `records`); then events; `due` asks for a new pass.
    """

    state: State
    phase: Phase
    message: str
    wanted: Revision | None
    children: tuple[Child, ...]
    records: frozenset[str]
    events: tuple[Note, ...]
    due: datetime | None
