"""The question and the answer of every decision on a TrainingJob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from noria_operator.api.trainingjob import TrainingFailure, TrainingJob
from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.job_shape import Bundle, Images
from noria_operator.domain.training_runs import Run
from noria_operator.domain.training_status import fail

Json = dict[str, Any]


@dataclass(frozen=True)
class Notice:
    """An Event to emit once the status that it speaks of is written."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Observed:
    """Everything that a decision looks at besides the TrainingJob itself: its Jobs, the registry, the
    champion; `champion_name` without a `champion` says that its ModelVersion was deleted.
    """

    train: Run | None = None
    evaluate: Run | None = None
    champion: Bundle | None = None
    versions: Sequence[Json] = ()
    jobs: Sequence[Json] = ()
    deployments: Sequence[Json] = ()
    champion_name: str = ""
    select: Run | None = None
    check: Run | None = None
    served: Mapping[str, Seen] | None = field(default_factory=dict)
    """What the champion was asked lately, by feature, for a check that is to be made; None: not known yet."""


@dataclass(frozen=True)
class Case:
    """One decision: the object as stored and as read, what was observed, the time."""

    obj: Json
    job: TrainingJob
    seen: Observed
    images: Images
    now: datetime

    @property
    def status(self) -> Json:
        """The status that the last pass left."""
        return dict(self.obj.get("status", {}))


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: create, stop Jobs, let the training Job go, write the status, hold the
    training Job, delete the object.

    `again`: decide anew at once, because what was written opens the next step. `due`: look again at that
    time.
    """

    status: Json
    create: Json | None = None
    stop: tuple[str, ...] = ()
    suspend: bool | None = None
    delete: bool = False
    again: bool = False
    due: datetime | None = None
    notices: tuple[Notice, ...] = ()


def failed(case: Case, reason: TrainingFailure, message: str, **facts: Any) -> Plan:
    """The end of a TrainingJob without a ModelVersion; `facts` go into the status beside it."""
    status = fail(case.obj, reason, message, case.now) | facts
    return Plan(status, again=True, notices=(Notice("Warning", reason.value, status["message"]),))
