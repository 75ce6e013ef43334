"""Which version a ModelDeployment should serve.

Comes in: the policy, the versions of the model, what was rejected and what was undone. Goes out: the target
with a sentence. Invariants: following never goes back by itself; a rejected revision is not chosen until a
person says retry; what was undone is not rolled forward again until the spec asks for something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from noria_operator.api.names import version_number
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import REMEMBERED, Revision, State, Undo, Version

APPROVED = "Approved"


@dataclass(frozen=True, slots=True)
class Target:
    """`revision` to serve (None: nothing yet); `wanted` what the user asked for, which may have been
    rejected.
    """

    revision: Revision | None
    wanted: Revision | None
    message: str = ""

    @property
    def rejected(self) -> bool:
        """Whether something newer or pinned was left out because it failed before."""
        return self.wanted is not None and self.wanted != self.revision


def choose(policy: Policy, state: State, versions: tuple[Version, ...]) -> Target:
    """The pinned version, or the newest approved one that was not rejected and is not older than the
    champion; what a person went back to comes before both.
    """
    if state.undo is not None and _holds(policy, state.undo, versions):
        return _undone(policy, state.undo, state, versions)
    if policy.pinned is not None:
        return _pinned(policy.pinned, state, versions)
    return _newest(state, versions)


def _pinned(name: str, state: State, versions: tuple[Version, ...]) -> Target:
    found = next((version for version in versions if version.target.version == name), None)
    if found is None:
        return Target(
            state.stable, None, f"ModelVersion {name} does not exist; create it or change spec.version"
        )
    if found.phase != APPROVED:
        if found.target == state.stable:
            return Target(state.stable, state.stable)
        why = f": {found.message}" if found.message else ""
        return Target(state.stable, None, f"ModelVersion {name} is {found.phase}, not Approved{why}")
    if state.is_rejected(found.target):
        return Target(state.stable, found.target)
    return Target(found.target, found.target)


def _newest(state: State, versions: tuple[Version, ...]) -> Target:
    approved = _approved(versions, version_number(state.stable.version) if state.stable else 0)
    if not approved:
        if state.stable is None:
            return Target(None, None, "no ModelVersion of this model is Approved yet; train or approve one")
        return Target(state.stable, state.stable, f"{state.stable.version} serves but is no longer Approved")
    return Target(_first_good(state, approved) or state.stable, approved[0].target)


def _holds(policy: Policy, undo: Undo, versions: tuple[Version, ...]) -> bool:
    """Whether the spec still asks for what was left: the same pin, and the same configuration of it."""
    if policy.pinned not in (None, undo.left.version):
        return False
    now = (version.target for version in versions if version.target.version == undo.left.version)
    return next(now, undo.left) == undo.left


def _undone(policy: Policy, undo: Undo, state: State, versions: tuple[Version, ...]) -> Target:
    """Where a person went back to, until a version newer than the one left is there to be followed."""
    newer = [] if policy.pinned else _approved(versions, version_number(undo.left.version) + 1)
    back = state.stable if state.is_rejected(undo.target) else undo.target
    return Target(_first_good(state, newer) or back, newer[0].target if newer else undo.left)


def _approved(versions: tuple[Version, ...], least: int) -> list[Version]:
    """The approved versions from number `least` on, newest first."""
    found = (version for version in versions if version.phase == APPROVED and version.number >= least)
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
    numbers = [version_number(one.version) for one in state.rejected]
    return min(numbers) - 1 if len(numbers) >= REMEMBERED else 0
