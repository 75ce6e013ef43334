"""What a rollout remembers between passes, as frozen values: `State` is `ModelDeployment.status` in Python.

`rollout_wire` reads and writes it. Nothing here decides: `rollout_policy` has what the spec asks for,
`rollout_observed` what the cluster shows, `rollout_plan` what has to become true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from noria_operator.domain.analysis import Analysis, Said
from noria_operator.domain.rollout_ranges import Ranges
from noria_operator.domain.rollout_wait import Wait
from noria_operator.domain.verdict import Counts, Verdict

REMEMBERED = 20
"""Entries of `status.history` and `status.rejected`."""
KEPT_ANYWAY = 9
"""Entries of `status.rejected` that may be of older versions than what was forgotten: of the arms of an
experiment, and the last one.
"""
DECISIONS = 10
"""Entries of `status.decisions`."""
CHAMPIONS = 10
"""Entries of `status.champions`: as many as a Deployment keeps of its revisions."""
ANY = "*"
"""In place of a revision's hash: whichever it is, as not all that it depends on could be read."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One version in one configuration; `name` is that of its Deployment, Service and Envoy cluster."""

    version: str
    revision: str
    name: str

    def may_be(self, other: Revision) -> bool:
        """Whether it is that one, as far as their configurations could be read."""
        known = ANY not in (self.revision, other.revision)
        return self == other if known else self.version == other.version


@dataclass(frozen=True, slots=True)
class Candidate:
    """The challenger; `attempt` counts from 1 for each version, as far as history goes back."""

    target: Revision
    attempt: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Previous:
    """The last champion, kept warm with its full capacity until `keep_until`."""

    target: Revision
    keep_until: datetime


@dataclass(frozen=True, slots=True)
class Reach:
    """How requests get to a challenger: `weight` percent of them, the copies of `mirror` percent, and those
    that have all the headers of `match`.
    """

    weight: int = 0
    mirror: int = 0
    match: tuple[tuple[str, str], ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is any way."""
        return bool(self.weight or self.mirror or self.match)

    def __str__(self) -> str:
        copies = [f"copies of {self.mirror} % of requests"] if self.mirror else []
        headers = ", ".join(f"{name}: {value}" for name, value in self.match)
        return " and ".join(
            [f"weight {self.weight}", *copies, *([f"requests with {headers}"] if headers else [])]
        )


@dataclass(frozen=True, slots=True)
class Share:
    """How requests get to a revision: what is wanted, and whether every ready router was seen to act on
    it, or, where one cannot be asked, is taken to (`assumed`). `draining_since` is when its last requests
    began to be waited for.
    """

    target: Revision
    weight: int
    verified: bool
    mirror: int = 0
    match: tuple[tuple[str, str], ...] = ()
    draining_since: datetime | None = None
    ranges: Ranges = ()
    """Percents of users that it has, where they are divided; empty: as `rollout_ranges` says."""
    assumed: bool = False
    """Only of what is `verified`: nobody saw it."""

    @property
    def reach(self) -> Reach:
        """How requests get there."""
        return Reach(self.weight, self.mirror, self.match)


class Mode(StrEnum):
    """What the current step is doing since `Step.since`."""

    WAITING = "Waiting"
    """For the pods of any challenger; `Step.wait` counts the time against progressDeadline. Also for
    `replicas`, where none is asked for."""
    SHIFTING = "Shifting"
    """The weight was asked for and is not yet read back."""
    RUNNING = "Running"
    """The weight is in force."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where in `strategy.steps` a rollout stands; `index` equal to their number means: the last decision.

    `spent` is the time that it ran before `since`, so that a break costs no more than it takes; from
    `hold_from` on, when a person resumed it, `maxHold` counts anew; `wait` is the
    time that the first challenger's pods were waited for; `released` whether all traffic may follow;
    `told` that people were told of its pause, `resumed` that one of them ended that; `why` it was last held;
    `kept_weight` the weight to keep when the steps were edited under it; `plan` identifies the steps it began
    with; `ramped` is the weight that a ramp has come to; `recreate` whether the champion goes down first.
    """

    index: int
    since: datetime
    requests: int = 0
    mode: Mode = Mode.WAITING
    spent: timedelta = timedelta()
    hold_from: datetime | None = None
    wait: Wait = field(default_factory=Wait)
    released: bool = False
    paused: bool = False
    why: str = ""
    stalled: bool = False
    told: bool = False
    resumed: bool = False
    kept_weight: int | None = None
    ramped: int | None = None
    recreate: bool = False
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that failed and is left alone until somebody says retry, or until `retry_at`.

    `revision` is empty where it is the version, which did not exist yet, whatever its configuration, and
    `ANY` where that could not be read.
    `retries` is how often it was tried again by itself; `by_hand` whether a person rejected it; `retrying`
    whether it is being tried again, and does not count as rejected meanwhile; `lost` whether an experiment
    that it was part of ended with another.
    """

    version: str
    revision: str
    reason: str
    at: datetime
    retries: int = 0
    retry_at: datetime | None = None
    by_hand: bool = False
    retrying: bool = False
    lost: bool = False

    def of(self, target: Revision) -> bool:
        """Whether it is this revision that was rejected."""
        return self.version == target.version and self.revision in ("", ANY, target.revision)

    def within(self, target: Revision) -> bool:
        """Whether a rejection of `target` says this, too."""
        return self.of(target) or (target.revision == ANY and self.version == target.version)


@dataclass(frozen=True, slots=True)
class Decision:
    """A version that was promoted, or else rejected, and the evidence at that moment."""

    target: Revision
    promoted: bool
    at: datetime
    verdict: Verdict
    message: str
    champion: Counts
    challenger: Counts
    said: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Undo:
    """What a person went back to: `target` serves instead of `left` while the spec asks for `left`, which
    may be a version in `ANY` configuration.
    """

    target: Revision
    left: Revision


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `status.history`."""

    at: datetime
    event: str
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class Rival:
    """A challenger beside the first: what `State` and `Step` say of that one."""

    candidate: Candidate
    analysis: Analysis | None = None
    requests: int = 0
    kept_weight: int | None = None
    wait: Wait = field(default_factory=Wait)


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered between passes, all of it in `ModelDeployment.status`.

    `candidate`, `analysis`, and `requests`, `kept_weight` and `wait` of the step are those of the first
    challenger; in an experiment there are `others` beside it, in the same step.
    `traffic_version` counts the changes of weights, so that equal weights of different times are told apart.
    `champions` are the revisions that can be gone back to, the present champion last; `turns` says by
    revision name in which order they came to be champions the first time; `restarts` has the ids of the last
    restart by revision name; `commands` has the last id of each command, `earlier` those before, the newest
    first.
    """

    stable: Revision | None = None
    candidate: Candidate | None = None
    previous: Previous | None = None
    step: Step | None = None
    traffic: tuple[Share, ...] = ()
    traffic_version: int = 0
    analysis: Analysis | None = None
    rejected: tuple[Rejected, ...] = ()
    decisions: tuple[Decision, ...] = ()
    champions: tuple[Revision, ...] = ()
    turns: Mapping[str, int] = field(default_factory=dict)
    undo: Undo | None = None
    restarts: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    history: tuple[Entry, ...] = ()
    others: tuple[Rival, ...] = ()

    @property
    def challengers(self) -> tuple[Candidate, ...]:
        """All that are on trial, the first one first."""
        first = (self.candidate,) if self.candidate else ()
        return (*first, *(one.candidate for one in self.others)) if self.others else first

    def weight(self, name: str) -> int:
        """The wanted weight of a revision, 0 when it has none."""
        for share in self.traffic:
            if share.target.name == name:
                return share.weight
        return 0

    @property
    def reach(self) -> Reach:
        """How requests get to the challenger; in no way where there is none."""
        return self.reach_of(self.candidate.target) if self.candidate else Reach()

    def reach_of(self, target: Revision) -> Reach:
        """How requests get to this revision."""
        for share in self.traffic:
            if share.target == target:
                return share.reach
        return Reach()

    @property
    def leaving(self) -> tuple[Share, ...]:
        """Versions with weight but without a place: what they have is given away as others can carry it."""
        places = (self.stable, *(one.target for one in self.challengers))
        return tuple(share for share in self.traffic if share.weight and share.target not in places)

    @property
    def verified(self) -> bool:
        """Whether every weight was read back from every ready router."""
        return all(share.verified for share in self.traffic)

    def is_new(self, command: str, given: Mapping[str, str]) -> bool:
        """Whether this one of the commands in the annotations was not obeyed yet."""
        known = (None, self.commands.get(command), *self.earlier.get(command, ()))
        return given.get(command) not in known

    def is_old(self, command: str, given: Mapping[str, str]) -> bool:
        """Whether it was obeyed before the last one of its kind, and is here again."""
        return given.get(command) in self.earlier.get(command, ())

    def is_rejected(self, target: Revision) -> bool:
        """Whether this very revision was tried and failed, and is not being tried again."""
        return any(one.of(target) and not one.retrying for one in self.rejected)

    def failed(self, target: Revision) -> bool:
        """Whether it was rejected for anything but another version's win."""
        return any(one.of(target) and not (one.retrying or one.lost) for one in self.rejected)

    def lost(self, target: Revision) -> bool:
        """Whether an experiment ended with another version than this one, whatever its configuration."""
        return any(one.lost and one.version == target.version for one in self.rejected)
