"""The pods that must be there for a rollout to go on, and the records to keep of them.

Comes in: policy, state, and which pods there are. Goes out: children. Invariants: the champion keeps its full
size until the challenger is promoted, and the version before it until its warm time is over; who has weight
may grow to what its weight takes, and an older one that a router still sends by; only where one copy fits
(Recreate) all others are gone before the challenger, or a champion that comes back, gets its first pod.
"""

from __future__ import annotations

from noria_operator.api.names import record_name
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Child
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_steps import left_alone, pods
from noria_operator.domain.rollout_traffic import need, sharing


def recreating(policy: Policy, state: State) -> bool:
    """Whether the champion is down so that the challenger fits; ends when the spec no longer says so."""
    return policy.recreate and state.step is not None and state.step.recreate


def in_the_way(policy: Policy, state: State, observed: Observed) -> int:
    """Pods that have to go before the challenger's first one may be asked for; none once one is ready."""
    target = state.candidate.target if state.candidate else None
    if target is None or not recreating(policy, state):
        return 0
    if state.reach.weight or observed.ready.get(target.name, 0):
        return 0
    return _beside(target, observed)


def in_its_way(policy: Policy, state: State, observed: Observed) -> int:
    """Pods that have to go before a champion that comes back, where only one copy fits, may ask for its own;
    none where they still get requests, which they keep until it can carry them, or stay for another reason.
    """
    stable, stays = state.stable, state.candidate or state.previous or state.leaving
    if stable is None or not policy.recreate or stays:
        return 0
    return 0 if observed.ready.get(stable.name, 0) else _beside(stable, observed)


def _beside(target: Revision, observed: Observed) -> int:
    return sum(count for name, count in observed.present.items() if name != target.name)


def children(policy: Policy, state: State, observed: Observed) -> tuple[Child, ...]:
    """The revisions that must exist, each with its pods. One that is on its way out keeps the size it has; as
    long as it has weight it grows with what is asked for, since nobody else carries that yet.
    """
    found: dict[str, tuple[Revision, str, int | None]] = {}
    alone = recreating(policy, state)
    if state.stable is not None:
        size = None if in_its_way(policy, state, observed) else 0 if alone else policy.replicas
        found[state.stable.name] = state.stable, "stable", size
    for mine in seats(state):
        if mine.candidate is not None and mine.step is not None:
            target = mine.candidate.target
            weight = _sent(target, mine.reach.weight, observed)
            carrying = max(sharing(policy, weight), need(mine.reach.mirror, policy.replicas))
            replicas = max(pods(policy.of(target.version), mine.step), carrying)
            waits = in_the_way(policy, mine, observed) or left_alone(policy, state)
            # A first version has nobody beside it: it is called at once what it becomes.
            role = "candidate" if state.stable else "stable"
            found[target.name] = target, role, None if waits else replicas
    if state.previous is not None:
        target = state.previous.target
        found.setdefault(target.name, (target, "previous", policy.replicas))
    for share in state.traffic:
        weight = _sent(share.target, share.weight, observed)
        carrying = sharing(policy, weight) if share.weight else 0
        small = observed.ready.get(share.target.name, 0) < carrying
        found.setdefault(share.target.name, (share.target, "previous", carrying if small else None))
    return tuple(Child(*one, state.restarts.get(name, ""), policy.recreate) for name, one in found.items())


def _sent(target: Revision, weight: int, observed: Observed) -> int:
    """Its weight, or a larger one from before that a router still sends by."""
    return max([weight, *(one.weights.get(target.name, 0) for one in observed.in_force or ())])


def records(state: State, made: tuple[Child, ...]) -> frozenset[str]:
    """Names of the pod records to keep: of what runs, and of what can be gone back to."""
    past = (record_name(one.name, state.restarts.get(one.name, "")) for one in state.champions)
    return frozenset([*past, *(child.record for child in made)])
