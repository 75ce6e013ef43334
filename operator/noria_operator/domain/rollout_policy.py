"""What a ModelDeployment's spec asks of its rollouts, with plain numbers.

Nothing here decides; `rollout_policy_wire` makes it from the spec.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from noria_operator.domain.disagreement import DisagreementPolicy
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.queries import QueryPolicy


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One entry of `strategy.steps`: settings (None: as before), and what to wait for.

    `replicas` is a number, or a share of `Policy.replicas` that ends in a percent sign; `gate` waits for the
    verdict Pass. With `ramp_from` the weight grows from there to `weight` as the evidence does.
    """

    weight: int | None = None
    duration: timedelta = timedelta()
    min_requests: int = 0
    mirror: int = 0
    match: tuple[tuple[str, str], ...] | None = None
    replicas: str | None = None
    pause: bool = False
    gate: bool = False
    ramp_from: int | None = None

    @property
    def endless(self) -> bool:
        """Whether only a person ends it."""
        return self.pause and not self.duration


@dataclass(frozen=True, slots=True)
class LatencyPolicy:
    """Which quantile of the champion's latency divides fast from slow, and how many times its share of slow
    answers a challenger may have.
    """

    quantile: float = 0.9
    factor: float = 2.0


@dataclass(frozen=True, slots=True)
class Arm:
    """One challenger of an experiment: how requests are to reach it, and with how many pods."""

    version: str
    weight: int = 0
    match: tuple[tuple[str, str], ...] = ()
    replicas: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """Several challengers at once, and what ends it: `duration` and `min_requests` of each arm, then the
    choice by `metric` (errors, latency or quality). `promote` is Sure, Best or Never.
    """

    arms: tuple[Arm, ...]
    duration: timedelta = timedelta()
    min_requests: int = 0
    metric: str = "errors"
    promote: str = "Sure"

    def steps(self, arm: Arm) -> tuple[PolicyStep, ...]:
        """The one step of a challenger in it."""
        match, wait = arm.match or None, (self.duration, self.min_requests)
        return (PolicyStep(arm.weight or None, *wait, match=match, replicas=arm.replicas),)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the spec asks for; `pinned` is a ModelVersion's name, None follows the newest approved one."""

    replicas: int = 1
    pinned: str | None = None
    steps: tuple[PolicyStep, ...] = ()
    tolerated: float = 0.01
    latency: LatencyPolicy | None = None
    quality: QualityPolicy | None = None
    max_distance: float | None = None
    disagreement: DisagreementPolicy | None = None
    queries: tuple[QueryPolicy, ...] = ()
    interval: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=30)
    """How long a request may take before it counts as an error."""
    min_duration: timedelta = timedelta()
    max_hold: timedelta = timedelta(hours=1)
    abort_on_max_hold: bool = False
    progress_deadline: timedelta = timedelta(minutes=10)
    recreate: bool = False
    """Only one copy fits: the champion goes down before the challenger comes up."""
    keep_previous: timedelta = timedelta(minutes=10)
    retry_limit: int = 0
    retry_delay: timedelta = timedelta(minutes=10)
    by_pods: bool = False
    """A version's share of the traffic is its share of the pods: only versions with weight may have any while
    several have some."""
    sticky: bool = False
    preview: bool = False
    """Testers may have an address of the challenger's own, where what they ask counts as all else."""
    counted: bool = True
    """Somebody counts the errors of champion and challenger; else queries alone can judge them."""
    unread: str = ""
    """Why this is not all that is asked for, so that nobody begins or goes further by it."""
    least: bool = False
    """No more was read of it than what a person stops takes."""
    experiment: Experiment | None = None
    rivals: int = 1
    """Challengers that share the false alarms and the false passes; more than one in an experiment alone."""
    _of: dict[str, Policy] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What is asked of each arm, once that was asked for: every move of a pass does."""

    def of(self, version: str) -> Policy:
        """What is asked of this challenger: of an arm of the experiment its one step, else all of this."""
        experiment = self.experiment
        arms = experiment.arms if experiment else ()
        arm = next((one for one in arms if one.version == version), None)
        if experiment is None or arm is None:
            return self
        if version not in self._of:
            self._of[version] = replace(self, steps=experiment.steps(arm), rivals=len(arms))
        return self._of[version]

    @property
    def divides_users(self) -> bool:
        """Whether somebody's requests all go to one version; as those of one connection do where pods
        divide the traffic.
        """
        return self.sticky or self.preview or self.by_pods or any(step.match for step in self.steps)

    @property
    def asks_for_a_winner(self) -> bool:
        """Whether nobody but a person says who wins the experiment."""
        return self.experiment is not None and self.experiment.promote == "Never"

    @property
    def compares(self) -> bool:
        """Whether this is asked of an arm of an experiment."""
        return self.rivals > 1
