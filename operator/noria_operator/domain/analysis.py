"""What is known of a challenger on trial: the evidence kept between passes, and what model servers counted.

Nothing here decides; `measures` judges, `rollout_analysis` keeps, `analysis_wire` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from noria_operator.domain.disagreement import Compared
from noria_operator.domain.predictions import Called, Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.queries import Measured
from noria_operator.domain.rollout_policy import LatencyPolicy
from noria_operator.domain.verdict import Evidence, Verdict, Window
from noria_operator.domain.windows import Marks


@dataclass(frozen=True, slots=True)
class Slowness:
    """The evidence on latency: answers above `edge` (milliseconds), with marks of their own. `asked` is what
    it was weighed by; None in what an earlier release began.
    """

    edge: float
    asked: LatencyPolicy | None = None
    evidence: Evidence = field(default_factory=Evidence)
    marks: Marks = field(default_factory=dict)
    divided: Mapping[str, Window] = field(default_factory=dict)

    def answers(self, asked: LatencyPolicy) -> bool:
        """Whether it is evidence on this."""
        return self.asked in (None, asked)


@dataclass(frozen=True, slots=True)
class Said:
    """What was last said of one measure; `figures` are decimals by name."""

    measure: str
    verdict: Verdict
    message: str
    figures: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """When champion and challenger got other shares of the traffic, and within what time nearly all labels
    came until then; None while that is not known.
    """

    at: datetime
    delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when on predictions count, and labels (None: not known yet); both until `ended`, None: it goes
    on.
    """

    began: datetime
    labelled: datetime | None
    ended: datetime | None = None

    def since(self, moment: datetime) -> Stretch:
        """What of it is not before the moment; it has not ended before that."""
        labelled = None if self.labelled is None else max(self.labelled, moment)
        return replace(self, began=max(self.began, moment), labelled=labelled)

    @property
    def moments(self) -> set[datetime]:
        """From when on counts have to be known."""
        known = (one for one in (self.began, self.labelled, self.ended) if one is not None)
        return {one for one in known if self.ended is None or one <= self.ended}


@dataclass(frozen=True, slots=True)
class Analysis:
    """The evidence so far and where the open window began; marks are the routers' counts at its beginning.

    `evidence` and `marks` are those of errors, which are always judged, `refused` is the evidence of
    refusals, whose counts come with them. `said` has one entry a measure; `lone_burst` is that of the last
    judgement, so that people are told once. Of an arm of an experiment, `divided` has the counts by how
    traffic was divided (see `divisions`).
    """

    evidence: Evidence = field(default_factory=Evidence)
    marks: Marks = field(default_factory=dict)
    refused: Evidence = field(default_factory=Evidence)
    latency: Slowness | None = None
    compared: Compared = field(default_factory=Compared)
    queries: Mapping[str, Measured] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    window_from: datetime | None = None
    since: datetime | None = None
    turns: tuple[Turn, ...] = ()
    """The newest ones, oldest first; `stretches` tells what lies between."""
    verdict: Verdict | None = None
    message: str = ""
    lone_burst: bool = False
    divided: Mapping[str, Window] = field(default_factory=dict)
    doubts: Mapping[str, datetime] = field(default_factory=dict)
    """Since when a measure shows harm (`confirmation`)."""
    version: str = ""
    """Who is or was judged; empty in what an earlier release began."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the model servers counted of both versions since the analysis began; not `readable` when none of
    them answers. Within `delay` nearly all labels came, None where none did.
    """

    readable: bool = True
    champion: Labels = field(default_factory=Labels.none)
    challenger: Labels = field(default_factory=Labels.none)
    unsuitable: str = ""
    """Why such labels never tell what is asked of them."""
    champion_outputs: Outputs | None = None
    challenger_outputs: Outputs | None = None
    champion_called: Called | None = None
    challenger_called: Called | None = None
    delay: timedelta | None = None
    stretches: Mapping[Stretch | None, Counted] = field(default_factory=dict)
    """The same by stretch of one share of the traffic, as far as it is compared; none: it is all of one."""
    later: Mapping[str, Counted] = field(default_factory=dict)
    """What came from an interval after each of the `doubts` of the analysis on, as far as that is known."""

    @property
    def parts(self) -> Mapping[Stretch | None, Counted]:
        """What is compared by itself, by its stretch."""
        return self.stretches or {None: self}

    @property
    def labels(self) -> list[tuple[Labels, Labels]]:
        """Champion's and challenger's of each stretch."""
        return [(one.champion, one.challenger) for one in self.parts.values()]

    @property
    def outputs(self) -> list[tuple[Outputs | None, Outputs | None]]:
        """Champion's and challenger's of each stretch."""
        return [(one.champion_outputs, one.challenger_outputs) for one in self.parts.values()]

    @property
    def called(self) -> list[tuple[Called | None, Called | None]]:
        """Champion's and challenger's of each stretch."""
        return [(one.champion_called, one.challenger_called) for one in self.parts.values()]
