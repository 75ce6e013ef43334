"""Weights and the pods that must carry them.

Comes in: weights, ready pods and what routers have in force. Goes out: replicas, weights, verified flags.
Invariants: weights are integers of 0..100 with sum 100; a version gets weight only up to what its ready pods
can carry; `verified` is true only for weights that every ready router was seen, or is assumed, to act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from noria_operator.domain.rollout_observed import InForce, Observed
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_ranges import moved, owners, ranges_of
from noria_operator.domain.rollout_state import Reach, Revision, Share, State

FULL = 100
NOTHING = Reach()
LEAVING = 8
"""Versions that may keep weight without a place, at most: as many as an experiment has arms."""
BACKENDS = 16
"""Versions that a rule of an HTTPRoute has room for; more than these are refused with all their weights."""
OUTGOING = BACKENDS - 3
"""Versions without a place in all, those included whose last requests are waited for, beside one that serves,
one that is kept warm and one on trial; arms of an experiment, of which there are eight, wait for room."""
DRAIN = timedelta(minutes=5)
"""How long they are waited for: streams may have no end."""


def need(weight: int, demand: int) -> int:
    """Pods that carry `weight` percent of what `demand` pods carry; at least one unless the demand is
    zero.
    """
    if demand == 0:
        return 0
    return max(1, -(-demand * weight // FULL))


def sharing(policy: Policy, weight: int) -> int:
    """Pods of a version at `weight`: enough to carry it and, where pods divide the traffic, enough beside all
    of the champion's to get about that share, which `LARGEST_SHARE` keeps at no more than the champion has.
    """
    demand = policy.replicas
    if not policy.by_pods or demand == 0 or weight in (0, FULL):
        return need(weight, demand)
    rest = FULL - weight
    return max(1, (2 * demand * weight + rest) // (2 * rest))


def realised(state: State, ready: Mapping[str, int]) -> dict[str, int]:
    """Percent of the ready pods behind the traffic that belong to each version: what weights come to where
    pods divide it.
    """
    serving = {one.target.name: ready.get(one.target.name, 0) if one.weight else 0 for one in state.traffic}
    total = sum(serving.values())
    return {name: round(FULL * count / total) for name, count in serving.items()} if total else {}


def demand_now(policy: Policy, state: State, observed: Observed) -> int:
    """The pods that today's traffic keeps busy: those of the champion that are ready, and no more than
    were asked for.

    A growing `replicas` (an autoscaler's) is a wish until pods are ready: the challenger has to keep up with
    the champion's real pods, else a scale-up would throw all traffic at a champion that has not grown yet
    either.
    """
    champion = observed.ready.get(state.stable.name, 0) if state.stable else policy.replicas
    return min(policy.replicas, max(1, champion))


def carried(weight: int, ready: int, demand: int) -> int:
    """The largest weight up to `weight` that `ready` of `demand` pods carry; 0 without a ready pod."""
    if demand == 0 or ready >= need(weight, demand):
        return weight
    return min(weight, FULL * ready // demand)


def held(current: Reach, wanted: Reach, ready: int, demand: int) -> Reach:
    """What a challenger with too few pods for `wanted` keeps of what it has: what its ready ones carry."""
    return Reach(
        carried(min(current.weight, wanted.weight), ready, demand),
        carried(min(current.mirror, wanted.mirror), ready, demand),
        current.match if ready and current.match == wanted.match else (),
    )


def shift(policy: Policy, observed: Observed, state: State, reach: Reach = NOTHING) -> State:
    """All revisions that routers know, with `reach` for the challenger, if there is one; the champion first,
    then the challengers. Those beside the first keep what they have.

    Without a champion the challenger gets nothing or everything. A revision that lost its place stays at
    weight 0 until that is verified.
    """
    challenger = state.candidate.target if state.candidate else None
    others = {one.candidate.target.name: state.reach_of(one.candidate.target) for one in state.others}
    taken = reach.weight + sum(one.weight for one in others.values())
    weights = _rest(policy, observed, state, taken) if state.stable else {}
    found = {name: Reach(weight) for name, weight in weights.items()} | others
    if challenger is not None:
        found[challenger.name] = reach
    places = placed(state)
    targets = (*places, *(share.target for share in state.traffic))
    reaches = {one: found.get(one.name, NOTHING) for one in targets if one is not None}
    before = {one.target: one.reach for one in state.traffic}
    drained = {one.target: one.draining_since for one in state.traffic if one.target not in places}
    ranges = {one.target: one.ranges for one in state.traffic}
    changed = any(reach != before.get(target, NOTHING) for target, reach in reaches.items())
    still = state.verified and not changed
    assumed = still and any(share.assumed for share in state.traffic)
    traffic = tuple(
        Share(
            *(target, reach.weight, still, reach.mirror, reach.match),
            draining_since=drained.get(target),
            ranges=ranges.get(target, ()),
            assumed=assumed,
        )
        for target, reach in reaches.items()
    )
    if not any(share.weight for share in traffic):
        # A first version that nobody may reach yet: routes without any weight are no routes.
        traffic = ()
    version = state.traffic_version + changed
    return state if traffic == state.traffic else replace(state, traffic=traffic, traffic_version=version)


def divided(before: State, after: State) -> State:
    """`after` with the ranges of users: while there are several challengers, and as long as one that is left
    has others than it would have alone.
    """
    if len(after.challengers) < 2 and not any(share.ranges for share in before.traffic):
        return after
    had = owners(_weights(before), {one.target.name: one.ranges for one in before.traffic}, _alone(before))
    has = moved(had, _weights(after), {one.target.name for one in after.challengers})
    told = len(after.challengers) > 1 or has != owners(_weights(after), {}, _alone(after))
    ranges = ranges_of(has) if told else {}
    traffic = tuple(replace(share, ranges=ranges.get(share.target.name, ())) for share in after.traffic)
    return after if traffic == after.traffic else replace(after, traffic=traffic)


def _alone(state: State) -> str:
    """The challenger that has the upper end, where nobody has ranges."""
    return state.candidate.target.name if state.candidate and not state.others else ""


def _weights(state: State) -> dict[str, int]:
    return {share.target.name: share.weight for share in state.traffic}


def _rest(policy: Policy, observed: Observed, state: State, taken: int) -> dict[str, int]:
    """What the challenger does not take: for the champion what its ready pods carry, and never less than it
    had; versions that leave keep what it cannot carry yet, the lightest giving first.

    One that failed keeps nothing, and nobody keeps more than its own pods carry: that goes to the
    champion, whatever it has.
    """
    stable, free = state.stable.name if state.stable else "", FULL - taken
    able = _able(policy, observed, state, free)
    room = free - max(able, min(state.weight(stable), free))
    kept: dict[str, int] = {}
    heaviest = sorted(state.leaving, key=lambda share: -share.weight)
    for share in heaviest[:LEAVING]:
        name = share.target.name
        if not state.failed(share.target):
            ready = observed.ready.get(name, 0)
            most = carried(share.weight, ready, demand_now(policy, state, observed))
            kept[name] = min(most, room - sum(kept.values()))
    return {stable: free - sum(kept.values()), **kept}


def _able(policy: Policy, observed: Observed, state: State, weight: int) -> int:
    """How much of `weight` the champion's ready pods carry, of what keeps all pods with weight busy."""
    busy = sum(observed.ready.get(share.target.name, 0) for share in state.traffic if share.weight)
    demand = min(policy.replicas, max(1, busy))
    return carried(weight, observed.ready.get(state.stable.name, 0) if state.stable else 0, demand)


def lowered(policy: Policy, observed: Observed, state: State, wanted: Reach) -> Reach:
    """`wanted`, but for a smaller weight than the first challenger has: that goes down only as the champion
    can carry the rest.
    """
    if state.stable is None or wanted.weight >= state.reach.weight:
        return wanted
    has = state.weight(state.stable.name)
    spare = max(0, _able(policy, observed, state, FULL) - has)
    weight = max(wanted.weight, state.reach.weight - spare)
    return replace(wanted, weight=weight, mirror=0 if weight else wanted.mirror)


def verify(state: State, in_force: tuple[InForce, ...] | None) -> State:
    """Mark what was read back. Nothing read leaves the marks; no ready router means that nothing is in
    force; equal weights of an older version are not these.
    """
    if in_force is None or not state.traffic:
        return state
    wanted = {share.target.name: share.weight for share in state.traffic if share.weight}
    seen = bool(in_force) and all(
        one.version == state.traffic_version
        and {name: weight for name, weight in one.weights.items() if weight} == wanted
        for one in in_force
    )
    assumed = seen and any(one.assumed for one in in_force)
    if all((share.verified, share.assumed) == (seen, assumed) for share in state.traffic):
        return state
    traffic = tuple(replace(share, verified=seen, assumed=assumed) for share in state.traffic)
    return replace(state, traffic=traffic)


def forget(state: State, active: Mapping[str, int] | None, now: datetime) -> State:
    """Drop revisions without a place once their weight 0 is verified and their last request was seen to be
    answered, or after `DRAIN`; their children may go now. Of more than `OUTGOING` those that had longest go.

    `active` are the requests under way, as far as they were read; where nobody can tell (None), pods finish
    what they have when they are told to end. One that drains already is sent nothing by other weights that
    are on their way meanwhile, and may be in their way.
    """
    gone = [share for share in left(state) if state.verified or share.draining_since]
    waiting = [share for share in gone if active is not None and _drains(share, active, now)]
    waiting.sort(key=lambda share: share.draining_since or now)
    room = OUTGOING - len(state.leaving)
    kept = {share.target: share.draining_since or now for share in waiting[-room:]}
    if not gone and not any(share.draining_since for share in state.traffic):
        return state
    traffic = tuple(
        replace(share, draining_since=kept.get(share.target))
        for share in state.traffic
        if share not in gone or share.target in kept
    )
    return state if traffic == state.traffic else replace(state, traffic=traffic)


def _drains(share: Share, active: Mapping[str, int], now: datetime) -> bool:
    """Whether it may have requests still; what was not read is not known to be zero."""
    if active.get(share.target.name) == 0:
        return False
    return share.draining_since is None or now - share.draining_since < DRAIN


def left(state: State) -> list[Share]:
    """Those that get no requests any more, and go once the last one is answered."""
    places = placed(state)
    return [share for share in state.traffic if share.target not in places and not share.weight]


def placed(state: State) -> tuple[Revision | None, ...]:
    """Champion, challengers in the order that the traffic has, and previous version; who has none of these
    places is on its way out.
    """
    known = [share.target for share in state.traffic]
    trial = sorted(
        (one.target for one in state.challengers),
        key=lambda target: known.index(target) if target in known else len(known),
    )
    return (state.stable, *trial, state.previous.target if state.previous else None)
