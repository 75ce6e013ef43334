"""The custom queries of a rollout, as they stand: what is asked, what was answered, why one cannot be asked.

Comes in: a ModelDeployment and its state. Goes out: one `Asked` a query, and when to ask next. Invariants:
nothing here waits for a source, whose answer wakes the ModelDeployment; a query is asked only while a
challenger is judged and when it is due; a user names a template and its arguments, never a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.controllers.context import Context
from noria_operator.domain import queries
from noria_operator.domain.queries import Asked, Measured, QueryPolicy
from noria_operator.domain.query_templates import InvalidArgument
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_clock import not_ahead
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.kube.kinds import MODELDEPLOYMENT, Key


def asked(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> dict[str, Asked]:
    """Every query of the analysis by name; those that are due are asked in the background."""
    if not policy.queries:
        return {}
    state = not_ahead(state, ctx.clock.now())
    labels = _labels(deployment, state)
    return {one.name: _asked(ctx, deployment, one, state, labels) for one in policy.queries}


def again(policy: Policy, observed: Observed, state: State) -> datetime | None:
    """When a query is to be asked next: in the past while one is being asked."""
    times = (
        queries.due(one, mine.analysis.queries.get(one.name, Measured()), mine.analysis.since)
        for mine in seats(state)
        if mine.analysis is not None and mine.analysis.since is not None
        for one in policy.queries
        if not observed.of(mine.candidate).queries.get(one.name, Asked()).problem
    )
    return min(filter(None, times), default=None)


def _asked(
    ctx: Context, deployment: ModelDeployment, policy: QueryPolicy, state: State, labels: Mapping[str, str]
) -> Asked:
    template = ctx.config.query_templates.get(policy.template)
    if template is None:
        known = ", ".join(sorted(ctx.config.query_templates)) or "none"
        return Asked(
            problem=f"there is no query template {policy.template} (there are: {known}); choose another, or "
            "ask the cluster's admin for it (chart value queryTemplates)"
        )
    problem = queries.problem(policy)
    if problem:
        return Asked(problem=problem)
    try:
        query = template.render(policy.args, labels)
    except InvalidArgument as error:
        return Asked(problem=str(error))
    analysis, candidate = state.analysis, state.candidate
    if analysis is None or analysis.since is None or candidate is None:
        return Asked(query)
    key = (deployment.metadata.uid, candidate.target.name, candidate.started_at, policy.name, query)
    answer = ctx.queries.answer(key)
    if answer is not None and answer.at > ctx.clock.now():
        answer = None  # the clock was set back: each pass would count it again
    measured = analysis.queries.get(policy.name, Measured())
    now = queries.measure(policy, measured, Asked(query, answer), analysis.since)
    due = queries.due(policy, now, analysis.since)
    if due is not None and ctx.clock.now() >= due:
        woken = Key(MODELDEPLOYMENT, deployment.metadata.namespace, deployment.metadata.name)
        ctx.queries.ask(key, template.source, query, then=partial(ctx.wake, woken))
    return Asked(query, answer)


def _labels(deployment: ModelDeployment, state: State) -> dict[str, str]:
    """What every template may use (`query_templates.BUILT_IN`)."""
    nobody = Revision("", "", "")
    champion = state.stable or nobody
    challenger = state.candidate.target if state.candidate else nobody
    return {
        "namespace": deployment.metadata.namespace,
        "deployment": deployment.metadata.name,
        "model": deployment.spec.model,
        "champion": champion.version,
        "championRevision": champion.name,
        "challenger": challenger.version,
        "challengerRevision": challenger.name,
    }
