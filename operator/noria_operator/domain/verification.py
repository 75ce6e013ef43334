"""The life of a ModelVersion: verified, approved or rejected, served, archived.

Comes in: the version, its verification Job, its siblings and the deployments. Goes out: a `VersionPlan`.
Invariants: no version is approved before a Job read its artifact and found the stated digest and, where
models must be signed, a signature (the operator itself opens nothing); none is rejected but for what was
found in its artifact: a Job that found no room, no store or no end is followed by another one; a phase that
people set stays; retention archives only what nobody uses, and the bytes stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.modelversion import ModelVersion, VersionPhase
from noria_operator.api.trainingjob import TrainingFailure
from noria_operator.domain.conditions import of_type
from noria_operator.domain.job_shape import REFUSED, Bundle, Images
from noria_operator.domain.results import ResultError, fault, verification_result
from noria_operator.domain.retention import archivable, in_use, retained
from noria_operator.domain.training_jobs import verification_job
from noria_operator.domain.training_plan import Notice
from noria_operator.domain.training_problems import Problem
from noria_operator.domain.training_runs import Run, State, ended, judge_run, last_word, terminated
from noria_operator.domain.training_times import stamp
from noria_operator.domain.verification_status import Trial, describe, phase_of, trial_of

Json = dict[str, Any]

PENDING_DEADLINE: Final = timedelta(hours=1)
"""How long a verification Job may wait for its pod; it ends by itself after that time."""
FIRST_RETRY, LAST_RETRY = timedelta(minutes=1), timedelta(hours=1)
"""How long after a Job without a verdict the next one is made: twice as long each time, up to the second."""
_REASONS: Final = {"ArtifactNotFound": "ArtifactMissing"}
"""Words of the verification program that the registry says otherwise."""


@dataclass(frozen=True)
class Registry:
    """What else the decision looks at: all versions of the model, all deployments of the namespace."""

    versions: Sequence[Json] = ()
    deployments: Sequence[Json] = ()
    complete: bool = True
    """False: the caches are not full yet, so nothing may be archived."""


@dataclass(frozen=True)
class VersionPlan:
    """What to do, in this order: create the Job, write the status; then look again at once or when due."""

    status: Json
    create: Json | None = None
    again: bool = False
    due: datetime | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class Matter:
    """One decision: the version as stored and as read, its Job, the registry, the time."""

    obj: Json
    version: ModelVersion
    run: Run | None
    registry: Registry
    images: Images
    now: datetime

    def says(self, phase: VersionPhase, reason: str, message: str, *, trial: Trial | None = None) -> Json:
        """The status for a phase."""
        served = in_use(self.registry.deployments).get(self.obj["metadata"]["name"], [])
        return describe(self.obj, phase, reason, message, served=served, trial=trial, now=self.now)


def decide(matter: Matter) -> VersionPlan:
    """The next step of a ModelVersion whose spec is valid."""
    phase = phase_of(matter.obj)
    if phase in (VersionPhase.PENDING, VersionPhase.VALIDATING):
        return _verify(matter)
    if phase is VersionPhase.APPROVED:
        return _approved(matter)
    reason, message = _last(matter.obj, phase)
    return VersionPlan(matter.says(phase, reason, message))


def approval(version: ModelVersion) -> VersionPhase:
    """Where a verified version goes. People who must agree first are a kind of their own: it would answer
    here.
    """
    del version
    return VersionPhase.APPROVED


def _verify(matter: Matter) -> VersionPlan:
    artifact, trial = matter.version.spec.artifact, trial_of(matter.obj)
    if matter.run is None:
        if trial.not_before is not None and matter.now < trial.not_before:
            reason, message = _last(matter.obj, VersionPhase.VALIDATING)
            return VersionPlan(matter.says(VersionPhase.VALIDATING, reason, message), due=trial.not_before)
        bundle = Bundle(artifact.uri, artifact.digest, artifact.secret_name)
        status = matter.says(VersionPhase.VALIDATING, "Verifying", f"verifying {artifact.uri}")
        job = verification_job(matter.obj, bundle, matter.images, attempt=trial.attempt)
        return VersionPlan(status, create=job)
    verdict = judge_run(matter.run, pending=PENDING_DEADLINE, now=matter.now)
    if verdict.state is State.COMPLETE:
        return _verified(matter, matter.run)
    if verdict.state is State.FAILED:
        return _failed(matter, matter.run, verdict.problem)
    usual = "its pod is starting" if verdict.state is State.PENDING else "its files are read"
    text = f"verifying {artifact.uri}: {verdict.problem.message if verdict.problem else usual}"
    return VersionPlan(matter.says(VersionPhase.VALIDATING, "Verifying", text), due=verdict.due)


def _failed(matter: Matter, run: Run, problem: Problem | None) -> VersionPlan:
    """Rejected where the program looked at the artifact and refused it; anything else says nothing of it."""
    last = terminated(ended(run, "Failed"))
    refusal = fault(last.get("message", ""))
    if refusal is not None:
        reason = _REASONS.get(refusal.reason, refusal.reason)
        judged = last.get("exitCode") == REFUSED
        return (_rejected if judged else _again)(matter, reason, refusal.message)
    known = problem is not None and problem.reason is not TrainingFailure.TRAINING_FAILED
    reason = problem.reason.value if problem and known else "VerificationFailed"
    return _again(matter, reason, problem.message if problem else "the verification Job failed")


def _again(matter: Matter, reason: str, message: str) -> VersionPlan:
    """Another Job later, as if there had been none before."""
    tried = trial_of(matter.obj).attempt
    wait = min(FIRST_RETRY * 2 ** min(tried - 1, 10), LAST_RETRY)
    uri, at = matter.version.spec.artifact.uri, matter.now.replace(microsecond=0) + wait
    text = f"{uri} could not be verified, attempt {tried}: {message}; it is tried again at {stamp(at)}"
    status = matter.says(VersionPhase.VALIDATING, reason, text, trial=Trial(tried + 1, at))
    return VersionPlan(status, due=at, notices=(Notice("Warning", reason, status["message"]),))


def _verified(matter: Matter, run: Run) -> VersionPlan:
    artifact = matter.version.spec.artifact
    try:
        result = verification_result(last_word(run))
    except ResultError as error:
        return _again(matter, error.reason, error.message)
    if result.error is not None:
        return _rejected(matter, _REASONS.get(result.error.reason, result.error.reason), result.error.message)
    if result.digest != artifact.digest:
        text = f"its manifest hashes to {result.digest}, the version states {artifact.digest}"
        return _rejected(matter, "DigestMismatch", text)
    if matter.images.signed and result.signer is None:
        text = "models must be signed here, and the server image is too old to look for signatures"
        return _rejected(matter, "SignatureMissing", text)
    phase = approval(matter.version)
    signed = f" and is signed with key {result.signer}" if result.signer else ""
    message = f"{artifact.uri} has the stated digest{signed}"
    status = matter.says(phase, phase.value, message)
    return VersionPlan(status, again=True, notices=(Notice("Normal", phase.value, message),))


def _rejected(matter: Matter, reason: str, message: str) -> VersionPlan:
    text = f"{matter.version.spec.artifact.uri}: {message}; a version never changes, so make another one"
    status = matter.says(VersionPhase.REJECTED, reason, text)
    return VersionPlan(status, again=True, notices=(Notice("Warning", reason, status["message"]),))


def _approved(matter: Matter) -> VersionPlan:
    """Stay approved, unless retention says that it is old and nobody uses it."""
    if matter.registry.complete:
        everybody = retained(matter.registry.versions, matter.registry.deployments)
        if matter.obj["metadata"]["name"] in archivable(everybody):
            message = "newer versions are kept, and nobody uses this one; its files stay where they are"
            status = matter.says(VersionPhase.ARCHIVED, "Retention", message)
            return VersionPlan(status, notices=(Notice("Normal", "Archived", message),))
    reason, message = _last(matter.obj, VersionPhase.APPROVED)
    return VersionPlan(matter.says(VersionPhase.APPROVED, reason, message))


def _last(obj: Json, phase: VersionPhase) -> tuple[str, str]:
    """Reason and sentence of the standing phase; a phase that people set by hand has none of ours.

    They are those of ArtifactReady: what stalls a pass for a while is written over the others.
    """
    status = obj.get("status", {})
    history, conditions = status.get("history", []), status.get("conditions", [])
    said = of_type(conditions, "ArtifactReady")
    if history and history[-1]["to"] == phase:
        return said.get("reason") or phase.value, said.get("message", "")
    return phase.value, f"the phase was set to {phase} by hand"
