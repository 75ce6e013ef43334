"""What the cluster shows of a ModelDeployment, as the planner reads it: versions, pods, routers, counts.

Frozen values without decisions; `controllers.serving_observe` fills them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from noria_operator.domain.analysis import Counted
from noria_operator.domain.disagreement import Paired
from noria_operator.domain.latency import Timings
from noria_operator.domain.queries import Asked
from noria_operator.domain.rollout_state import Candidate, Revision
from noria_operator.domain.windows import Marks


@dataclass(frozen=True, slots=True)
class Version:
    """A ModelVersion as a rollout sees it: `target` is the revision it would have under the present spec, or
    the version in `ANY` configuration where not all of that could be read.
    """

    target: Revision
    number: int
    phase: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """What one router acts on: the traffic's version in its configuration, and the weights by cluster.

    `assumed` is that nobody saw it act so, `unread` why it could not be asked or what it acts on instead,
    where it was asked.
    """

    version: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    assumed: bool = False
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What model servers (None: not read) and sources of queries say of one challenger; `paired` are its and
    the champion's answers to the same requests, `inputs` tells how it takes others than the champion,
    `refused` what its servers say most of what they refuse.
    """

    counted: Counted | None = None
    queries: Mapping[str, Asked] = field(default_factory=dict)
    paired: Paired | None = None
    inputs: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the cluster shows. None in `in_force`, `counts` or `timings`: not read.

    `in_force` has one entry for each ready router; `ready`, `problems`, `present` (all pods, also those that
    end) and `active` (requests under way, as far as read; None where nobody counts them) go by revision name;
    `seen` goes by revision name of the challenger, empty where there is none; `commands` are ids by command;
    `obstacle` is why no new pods may be asked for (an unusable claim, a
    foreign object); `restorable` are the former champions, by revision name, whose version is still approved
    and whose pods can be made again as they were.
    """

    versions: tuple[Version, ...] = ()
    ready: Mapping[str, int] = field(default_factory=dict)
    in_force: tuple[InForce, ...] | None = None
    counts: Marks | None = None
    timings: Timings | None = None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, int] = field(default_factory=dict)
    under_way: Mapping[str, int] = field(default_factory=dict)
    """Requests that champion and challengers have not answered; nothing where nobody counts them, and where
    it does not matter any more."""
    active: Mapping[str, int] | None = None
    obstacle: str = ""
    restorable: frozenset[str] = frozenset()

    def of(self, candidate: Candidate | None) -> Seen:
        """What is said of a challenger, or of nobody yet."""
        return self.seen.get(candidate.target.name if candidate else "", Seen())
