"""The rules that judge a rollout: Noria's own functions, and those of Argo Rollouts and Flagger as they are
documented.

Comes in: the counts of a rollout. Goes out: when it was aborted, or whether it was promoted in the end. All
rules see the same weights: a step that a rule would have held back is not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, log1p
from typing import Protocol

import numpy as np

from benchmarks.judge.rollout import Rollout, Weighed
from benchmarks.judge.traffic import ERRORS, REQUESTS
from benchmarks.judge.troubles import CHALLENGER
from noria_operator.domain.overdispersion import Overdispersion
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.verdict import (
    FAIL_AT,
    FAIL_AT_ONCE,
    HARM_RATIOS,
    PASS_AT,
    Evidence,
    Verdict,
    decide,
)

DEFAULTS = Policy()
"""What a ModelDeployment gets that says nothing of its analysis."""
MOST = log(HARM_RATIOS[-1])
"""What one error adds to the logarithm of e_harm at most."""


@dataclass(frozen=True)
class Outcome:
    """`aborted` is the second of the abort, None when there was none; `passed` whether there was a Pass
    at any time before, None of rules that have none.
    """

    aborted: int | None
    promoted: bool = False
    passed: bool | None = None


class Rule(Protocol):
    """Anything that judges a rollout."""

    @property
    def name(self) -> str:
        """How tables call it."""

    def judge(self, rollout: Rollout) -> Outcome:
        """Follow the rollout from its first second."""


@dataclass(frozen=True)
class Sequential:
    """Noria's judge: windows of `window` seconds, looked at `every` so many seconds. Not `guarded`, it is the
    test that counts each error by itself, for and against the challenger, which fails at `fail_at`.
    """

    name: str = "Noria"
    window: int = int(DEFAULTS.interval.total_seconds())
    every: int = 1
    guarded: bool = True
    fail_at: float = FAIL_AT

    def judge(self, rollout: Rollout) -> Outcome:
        """Promoted is what passes at the end of the schedule."""
        windows = rollout.windows(self.window)
        evidence, passed = Evidence(), False
        for number in windows:
            for seconds in self._looks(evidence, windows, number):
                if self._fails(windows.within(number, seconds)):
                    return Outcome(number * self.window + seconds, passed=passed)
            evidence = windows.before(number + 1)
            if self._may_fail(evidence) and self._fails(evidence):
                return Outcome((number + 1) * self.window, passed=passed)
            passed = passed or (self._may_pass(evidence) and self._passes(evidence))
        return Outcome(None, self._passes(evidence), passed)

    def _looks(self, evidence: Evidence, windows: Weighed, number: int) -> range:
        """Seconds of the window after which the verdict can be Fail: it takes failures of the challenger,
        each of which multiplies e_harm by the largest ratio at most. What bursts say changes at its end.
        """
        errors = windows.errors(number)
        least = FAIL_AT_ONCE if self.guarded else self.fail_at
        if not errors or max(evidence.harm) + errors * MOST < log(least):
            return range(0)
        first = windows.failing(number)[0]
        return range((first // self.every + 1) * self.every, self.window, self.every)

    def _may_fail(self, evidence: Evidence) -> bool:
        """No mean is above the largest of its parts."""
        return max((*evidence.bursts.wealth, *evidence.harm)) >= log(self.fail_at)

    def _fails(self, evidence: Evidence) -> bool:
        if self.guarded:
            return decide(evidence, DEFAULTS.tolerated).verdict is Verdict.FAIL
        return evidence.log_e_harm >= log(self.fail_at)

    @staticmethod
    def _may_pass(evidence: Evidence) -> bool:
        """No mean is above the largest of its parts, and no request says more than one without an error."""
        clean = -log1p(-DEFAULTS.tolerated) * evidence.challenger.requests
        return max(*evidence.ok, clean) >= log(PASS_AT)

    def _passes(self, evidence: Evidence) -> bool:
        seen = evidence if self.guarded else replace(evidence, overdispersion=Overdispersion())
        return decide(seen, DEFAULTS.tolerated).verdict is Verdict.PASS


@dataclass(frozen=True)
class Threshold:
    """Each minute the challenger's share of errors over `window` seconds is a failed check when it is above
    `limit`, or when there was no request; the rollout is aborted at the failed check number `failures`,
    whatever lay between.

    Argo Rollouts: an expression per measurement, aborted when failed measurements exceed `failureLimit`
    (default 0); without requests the rate is NaN, for which a `successCondition` alone is not true.
    Flagger: a check fails outside `thresholdRange`, or without values; aborted when failed checks reach
    `threshold`, which successes never reset.
    """

    name: str
    limit: float
    failures: int
    window: int = 60

    def judge(self, rollout: Rollout) -> Outcome:
        """Promoted is what was not aborted."""
        traffic = rollout.traffic
        totals = np.cumsum(np.pad(traffic[:, CHALLENGER], ((1, 0), (0, 0))), axis=0)
        ends = np.arange(60, len(traffic) + 1, 60)
        seen = totals[ends] - totals[np.maximum(ends - self.window, 0)]
        failed = (seen[:, REQUESTS] == 0) | (seen[:, ERRORS] > self.limit * seen[:, REQUESTS])
        late = ends[np.cumsum(failed) >= self.failures]
        return Outcome(int(late[0])) if len(late) else Outcome(None, promoted=True)


NORIA = Sequential()
UNGUARDED = Sequential("each error by itself", guarded=False)
PEERS: tuple[Rule, ...] = (
    Threshold("Argo, errors ≤ 5 %", 0.05, failures=1),
    Threshold("Argo, ≤ 5 %, failureLimit 3", 0.05, failures=4),
    Threshold("Argo tuned, ≤ 2 % over 5 min, failureLimit 2", 0.02, failures=3, window=300),
    Threshold("Flagger, success ≥ 99 %, threshold 5", 0.01, failures=5),
)
