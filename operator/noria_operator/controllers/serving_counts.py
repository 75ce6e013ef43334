"""What the model servers counted of champion and challenger since the analysis began.

Comes in: a ModelDeployment and its state. Goes out: counts of both versions, for measures that need them.
Invariants: nothing here waits for a model server; pods of every revision are read, since any of them takes
feedback for any version.
"""

from __future__ import annotations

from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.controllers.context import Context
from noria_operator.domain.analysis import Counted
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import State
from noria_operator.domain.serving_children import selector
from noria_operator.kube.kinds import POD


def counted(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> Counted | None:
    """The counts; None where no measure asks for them, and before they were read for the first time."""
    analysis, meta = state.analysis, deployment.metadata
    if policy.quality is None and policy.max_distance is None:
        return None
    if state.stable is None or state.candidate is None:
        return None
    if analysis is None or analysis.since is None:
        return None
    pods = ctx.store.list(POD, meta.namespace, selector(meta.name, meta.uid))
    every = ctx.config.counters_interval
    found = ctx.servers.latest(meta.namespace, meta.name, pods, since=analysis.since, every=every)
    if found is None:
        return None
    totals = found[0]
    if totals is None:
        return Counted(readable=False)
    champion, challenger = state.stable.version, state.candidate.target.version
    return Counted(
        champion=totals.labels(champion),
        challenger=totals.labels(challenger),
        champion_outputs=totals.outputs(champion),
        challenger_outputs=totals.outputs(challenger),
    )
