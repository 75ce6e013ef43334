"""The words in which a rollout is told: phases, reasons of Events, causes of a rollback.

They stand in status, Events and metrics, so they are part of the API. Nothing here decides.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The one word of `status.phase`."""

    PENDING = "Pending"
    """No version to serve yet."""
    PROGRESSING = "Progressing"
    """A version is on its way to the traffic."""
    PAUSED = "Paused"
    """A rollout stands still until somebody resumes, promotes or aborts it."""
    HEALTHY = "Healthy"
    """The wanted version has all traffic and all its pods."""
    ROLLED_BACK = "RolledBack"
    """The wanted version was rejected; the champion serves."""
    DEGRADED = "Degraded"
    """The champion has fewer ready pods than it should."""


class Happened(StrEnum):
    """Reasons of Events and words of `status.history`."""

    STARTED = "RolloutStarted"
    """A challenger gets its first pods."""
    STEP = "RolloutStep"
    """A step is done, the next one begins."""
    EDITED = "StepsEdited"
    """The steps changed under a running rollout, which goes on at the nearest one."""
    PASSED = "AnalysisPassed"
    """The evidence lets the challenger be promoted."""
    BY_HAND = "PromotedByHand"
    """A person gives the challenger all traffic, whatever the evidence says; the message has their id."""
    PROMOTED = "Promoted"
    """The challenger is the champion now."""
    ROLLED_BACK = "RolledBack"
    """The challenger lost its traffic and is not tried again by itself."""
    CANCELLED = "RolloutCancelled"
    """The challenger is no longer wanted."""
    SUPERSEDED = "RolloutSuperseded"
    """A newer version takes the challenger's place."""
    REVERTED = "RevertedToPrevious"
    """The warm previous version took over in one step."""
    BURST = "BurstOfErrors"
    """Harm that was seen in too few bursts holds the rollout; harm at other times aborts it."""
    PAUSED = "RolloutPaused"
    """The weight stays until a resume, promote or abort."""
    RESUMED = "RolloutResumed"
    """A pause ended."""
    RETRIED = "RolloutRetried"
    """A rejected version may be tried again."""
    UNDONE = "RolloutUndone"
    """A person went back to an earlier champion."""
    RESTARTED = "Restarted"
    """The champion's pods are replaced one by one; it stays the same revision."""
    REFUSED = "CommandRefused"
    """A command cannot be carried out; the message says why."""
    FALLBACK = "ChallengerUnavailable"
    """The challenger lost pods, or got none as the champion grew; what they do not carry went to that."""
    STALLED = "FirstVersionStalled"
    """The first version does not become ready and there is none to go back to."""


class Cause(StrEnum):
    """Why a version was rolled back, where no measure failed; else it is the measure's name."""

    COMMAND = "command"
    """A person said so."""
    DEADLINE = "deadline"
    """Its pods were not ready in time."""
    HOLD = "hold"
    """No verdict within maxHold, and the spec asks for an abort then."""
