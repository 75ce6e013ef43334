"""Which version a ModelDeployment should serve.

Comes in: the policy, the versions of the model, what was rejected and what was undone. Goes out: the target
with a sentence. Invariants: following never goes back by itself; a rejected revision is not chosen until a
person says retry; what was undone is not rolled forward again until the spec asks for something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from noria_operator.api.names import version_number
from noria_operator.domain.rollout_observed import Version
from noria_operator.domain.rollout_policy import Experiment, Policy
from noria_operator.domain.rollout_state import ANY, KEPT_ANYWAY, REMEMBERED, Revision, State, Undo

APPROVED = "Approved"


@dataclass(frozen=True, slots=True)
class Target:
    """`revision` to serve (None: nothing yet); `wanted` what the user asked for, which may have been
    rejected; `unmet` what the spec names where that cannot be served. `arms`, where an experiment is on, are
    all that are to be compared with it, and `waiting` these and those that have yet to be approved or made;
    `refused` those of its arms that were rejected.
    """

    revision: Revision | None
    wanted: Revision | None
    message: str = ""
    arms: tuple[Revision, ...] | None = None
    waiting: tuple[Revision, ...] = ()
    refused: tuple[Revision, ...] = ()
    unmet: Revision | None = None

    @property
    def challengers(self) -> tuple[Revision, ...]:
        """What may be on trial, in the order of the spec."""
        if self.arms is not None:
            return self.arms
        return (self.revision,) if self.revision else ()

    def newcomers(self, stable: Revision | None) -> tuple[Revision, ...]:
        """Who would begin where nobody is on trial: arms that wait for others, or the next version."""
        return self.waiting or tuple(one for one in self.challengers if one != stable)

    @property
    def rejected(self) -> bool:
        """Whether something newer or pinned was left out because it failed before."""
        return self.wanted is not None and self.wanted != self.revision


def choose(policy: Policy, state: State, versions: tuple[Version, ...]) -> Target:
    """The pinned version, or the newest approved one that was not rejected and is not older than the
    champion; what a person went back to comes before both, and an experiment before all, but for an undo that
    has yet to arrive. By a spec that is not read whole nobody is chosen anew, but by an undo.
    """
    target = _asked_for(policy, state, versions)
    return _as_it_is(state, target, versions) if policy.unread else target


def _as_it_is(state: State, target: Target, versions: tuple[Version, ...]) -> Target:
    """Who is on trial stays so while it is approved, in whatever configuration it is; all others wait."""
    if state.undo is not None and state.undo.target == target.revision != state.stable:
        return target
    approved = {one.target.version for one in versions if one.phase == APPROVED}
    trial = tuple(one.target for one in state.challengers if one.target.version in approved)
    places = (*trial, *((state.stable,) if state.stable else ()))
    new, unmet = target.newcomers(state.stable), target.wanted or target.unmet
    waiting = tuple(one for one in new if not any(one.may_be(place) for place in places))
    return replace(target, revision=state.stable, wanted=None, arms=trial, waiting=waiting, unmet=unmet)


def _asked_for(policy: Policy, state: State, versions: tuple[Version, ...]) -> Target:
    experiment = _Arms.of(policy.experiment, state, versions)
    others = experiment.others(state, versions)
    on = experiment.left or experiment.absent
    if on and state.stable is not None and not _goes_back(policy, state, others):
        return experiment.target(state)
    target = _alone(policy, state, others)
    return replace(target, refused=experiment.refused) if experiment.refused else target


def _goes_back(policy: Policy, state: State, versions: tuple[Version, ...]) -> bool:
    """Whether an undo asks for another champion, and may still get it."""
    undo = state.undo
    if undo is None or undo.target == state.stable or not _holds(policy, undo, versions):
        return False
    return _undone(policy, undo, state, versions).revision == undo.target


def _alone(policy: Policy, state: State, versions: tuple[Version, ...]) -> Target:
    if state.undo is not None and _holds(policy, state.undo, versions):
        return _undone(policy, state.undo, state, versions)
    if policy.pinned is not None:
        return _pinned(policy.pinned, state, versions)
    return _newest(state, versions)


@dataclass(frozen=True, slots=True)
class _Arms:
    """The arms of the experiment in the spec: `left` are those that may still be compared, `absent` those
    that have yet to be made, `refused` those that were rejected, `missing` why some are not approved.
    """

    left: tuple[Version, ...] = ()
    absent: tuple[Revision, ...] = ()
    refused: tuple[Revision, ...] = ()
    missing: tuple[str, ...] = ()

    @staticmethod
    def of(experiment: Experiment | None, state: State, versions: tuple[Version, ...]) -> _Arms:
        if experiment is None:
            return _Arms()
        known = {version.target.version: version for version in versions}
        found = [known[arm.version] for arm in experiment.arms if arm.version in known]
        rest = [one for one in found if _may_be_tried(state, one.target)]
        unmade = [Revision(arm.version, "", "") for arm in experiment.arms if arm.version not in known]
        named = (*(one.target for one in found), *unmade)
        tried = {one.version for one in state.rejected}
        absent = tuple(one for one in unmade if one.version not in tried)
        if any(state.lost(one) for one in named) and _are_behind(state, rest):
            rest, absent = [], ()
        gone = [f"{one.version} does not exist" for one in absent]
        waits = [f"{one.target.version} is {one.phase}" for one in rest if one.phase != APPROVED]
        refused = tuple(one for one in named if state.is_rejected(one) or state.lost(one))
        return _Arms(tuple(rest), absent, refused, (*gone, *waits))

    def target(self, state: State) -> Target:
        """The champion serves, and the arms are compared with it: all of them begin together, so while one is
        not approved none does. Later ones join.
        """
        ready = tuple(one.target for one in self.left if one.phase == APPROVED)
        begun = any(one.target in ready for one in state.challengers)
        waiting = (*(one.target for one in self.left), *self.absent)
        missing = ", ".join(self.missing)
        message = f"experiment: {missing}, waiting for it to be Approved" if missing else ""
        if missing and not begun:
            return Target(state.stable, None, message, (), waiting, self.refused, unmet=state.stable)
        return Target(state.stable, state.stable, message, ready, waiting, self.refused)

    def others(self, state: State, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """The versions that may be served: before there is a champion, no arm; nor by an undo, but for that
        which it asks for.
        """
        arms = {one.target.version for one in self.left} - {state.undo.target.version if state.undo else ""}
        return tuple(one for one in versions if one.target.version not in arms)


def _may_be_tried(state: State, target: Revision) -> bool:
    """Whether it may be an arm: the champion in another configuration is what follow or a pin is for."""
    champion = state.stable.version if state.stable else ""
    return target.version != champion and not state.is_rejected(target) and not state.lost(target)


def _are_behind(state: State, left: list[Version]) -> bool:
    """Whether nobody is left of the arms, one of which won, or that one alone, because a newer version took
    its place since then.
    """
    champion = version_number(state.stable.version) if state.stable else 0
    trial = {one.target.version for one in state.challengers}
    return all(one.number < champion and one.target.version not in trial for one in left)


def _pinned(name: str, state: State, versions: tuple[Version, ...]) -> Target:
    found = next((version for version in versions if version.target.version == name), None)
    if found is None:
        message = f"ModelVersion {name} does not exist; create it or change spec.version"
        return Target(state.stable, None, message, unmet=Revision(name, "", ""))
    if found.phase != APPROVED:
        if found.target == state.stable:
            return Target(state.stable, state.stable)
        why = f": {found.message}" if found.message else ""
        message = f"ModelVersion {name} is {found.phase}, not Approved{why}"
        return Target(state.stable, None, message, unmet=found.target)
    if state.is_rejected(found.target):
        return Target(state.stable, found.target)
    return Target(found.target, found.target)


def _newest(state: State, versions: tuple[Version, ...]) -> Target:
    approved = _approved(state, versions, version_number(state.stable.version) if state.stable else 0)
    if not approved:
        if state.stable is None:
            return Target(None, None, "no ModelVersion of this model is Approved yet; train or approve one")
        return Target(state.stable, state.stable, f"{state.stable.version} serves but is no longer Approved")
    return Target(_first_good(state, approved) or state.stable, approved[0].target)


def _holds(policy: Policy, undo: Undo, versions: tuple[Version, ...]) -> bool:
    """Whether the spec still asks for what was left: the same pin, and the same configuration of it, where
    there was one.
    """
    if policy.pinned not in (None, undo.left.version):
        return False
    if not undo.left.revision:
        return policy.pinned is not None
    return present(versions, undo.left).may_be(undo.left)


def present(versions: tuple[Version, ...], one: Revision) -> Revision:
    """The version of `one` in the configuration that the spec asks for now; as it is where it is gone."""
    return next((version.target for version in versions if version.target.version == one.version), one)


def _undone(policy: Policy, undo: Undo, state: State, versions: tuple[Version, ...]) -> Target:
    """Where a person went back to, until a version newer than the one left is there to be followed; nobody
    goes there who did not arrive before the version was rejected or deleted.
    """
    newer = [] if policy.pinned else _approved(state, versions, version_number(undo.left.version) + 1)
    phase = next((one.phase for one in versions if one.target.version == undo.target.version), "gone")
    may = phase == APPROVED or undo.target == state.stable
    back = undo.target if may and not state.is_rejected(undo.target) else state.stable
    why = f"an undo asks for {undo.target.version}, which is {phase}; annotate noria.dev/retry to end it"
    # Where what was left serves on, because its successor failed on the way, nobody has what they asked for.
    failed = may and any(one.of(undo.target) and not one.by_hand for one in state.rejected)
    stays = state.stable is not None and undo.left.version == state.stable.version
    left = present(versions, undo.left) if undo.left.revision == ANY else undo.left
    asked = undo.target if failed and stays else left
    wanted = newer[0].target if newer else asked
    return Target(_first_good(state, newer) or back, wanted, "" if may else why)


def _approved(state: State, versions: tuple[Version, ...], least: int) -> list[Version]:
    """The approved versions from number `least` on, newest first; but for those that another one won over."""
    found = (
        version
        for version in versions
        if version.phase == APPROVED and version.number >= least and not state.lost(version.target)
    )
    return sorted(found, key=lambda version: version.number, reverse=True)


def _first_good(state: State, newest_first: list[Version]) -> Revision | None:
    forgotten = _forgotten(state)
    good = (
        version.target
        for version in newest_first
        if version.number > forgotten and not state.is_rejected(version.target)
    )
    return next(good, None)


def _forgotten(state: State) -> int:
    """Up to this number a version may have been rejected and no longer be among those remembered; 0: none."""
    numbers = sorted(version_number(one.version) for one in state.rejected)
    return numbers[KEPT_ANYWAY] - 1 if len(numbers) >= REMEMBERED else 0
