"""Which version a ModelDeployment should serve.

Comes in: the policy, the versions of the model and what was rejected. Goes out: the target with a sentence.
Invariant: following never goes back by itself; a rejected revision is not chosen until a person says retry.
"""

from __future__ import annotations

from dataclasses import dataclass

from noria_operator.api.names import version_number
from noria_operator.domain.rollout_state import REMEMBERED, Policy, Revision, State, Version

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
    champion.
    """
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
    floor = version_number(state.stable.version) if state.stable else 0
    approved = sorted(
        (version for version in versions if version.phase == APPROVED and version.number >= floor),
        key=lambda version: version.number,
        reverse=True,
    )
    if not approved:
        if state.stable is None:
            return Target(None, None, "no ModelVersion of this model is Approved yet; train or approve one")
        return Target(state.stable, state.stable, f"{state.stable.version} serves but is no longer Approved")
    wanted, forgotten = approved[0].target, _forgotten(state)
    for version in approved:
        if version.number > forgotten and not state.is_rejected(version.target):
            return Target(version.target, wanted)
    return Target(state.stable, wanted)


def _forgotten(state: State) -> int:
    """Up to this number a version may have been rejected and no longer be among those remembered; 0: none."""
    numbers = [version_number(one.version) for one in state.rejected]
    return min(numbers) - 1 if len(numbers) >= REMEMBERED else 0
