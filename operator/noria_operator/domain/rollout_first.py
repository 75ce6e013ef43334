"""What the status of a ModelDeployment would say if it had been written when its first pods were ready.

Comes in: the policy, and the revision that routers send everything to since then. Goes out: the plan whose
state that is. Invariant: a rollout goes on from there exactly as if that status had been written.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from noria_operator.api.names import version_number
from noria_operator.domain.rollout import plan
from noria_operator.domain.rollout_observed import Observed, Version
from noria_operator.domain.rollout_plan import Plan
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_target import APPROVED


def as_told(policy: Policy, target: Revision, now: datetime) -> Plan:
    """All traffic for `target`, not yet read back. Whatever is wanted by now, it was wanted when its pods
    were asked for.
    """
    alone = replace(policy, pinned=None, experiment=None)
    version = Version(target, version_number(target.version), APPROVED)
    return plan(alone, State(), Observed((version,), ready={target.name: policy.replicas}), now)
