"""What a Job and its pods say: still waiting, running, done or failed, and why.

Comes in: a Job with its pods as the API server shows them, and the deadline for pending. Goes out: one
`Verdict`. Invariants: a Job counts as ended only when Kubernetes says so by condition; every failure
names the pod and what to look at; a pod that was evicted or preempted is not a failure (the Job's
podFailurePolicy ignores it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from noria_operator.api.trainingjob import TrainingFailure
from noria_operator.api.types import format_duration
from noria_operator.domain.conditions import clip
from noria_operator.domain.results import ResultError, fault
from noria_operator.domain.training_pods import TRAIN
from noria_operator.domain.training_problems import Problem, pod_problem, started
from noria_operator.domain.training_times import moment

Json = dict[str, Any]

_ENDS: Final = frozenset({"Complete", "Failed"})
_YOUNG: Final = timedelta(seconds=10)
"""A pod that was made so short ago has had no chance to run: nothing is said about it yet."""
_OVERDUE: Final = timedelta(minutes=1)
_FIRST_PAUSE: Final = timedelta(seconds=10)
_LONGEST_PAUSE: Final = timedelta(minutes=20)
_LAST_WORDS: Final = frozenset({"Ready", "DisruptionTarget"})
"""Conditions of a pod that turn when it ends."""


class State(Enum):
    """Where a Job stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class Run:
    """A Job, its pods, the access modes of the claims they mount (as far as known), and the other pods of the
    namespace while one of them waits.
    """

    job: Json
    pods: tuple[Json, ...] = ()
    claims: Mapping[str, Sequence[str]] | None = None
    others: tuple[Json, ...] = ()

    @property
    def name(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def finished(self) -> bool:
        """Whether Kubernetes calls the Job complete or failed."""
        return bool(_ENDS & _true(self.job).keys())


@dataclass(frozen=True)
class Verdict:
    """`problem` says what failed, or what a pending pod waits for; `due` when to look again."""

    state: State
    problem: Problem | None = None
    due: datetime | None = None


def judge_run(run: Run, *, pending: timedelta, now: datetime, since: datetime | None = None) -> Verdict:
    """Where the Job stands; one that waits for a pod for longer than `pending` has failed.

    Waiting counts from the newest of: the Job, its start or resumption, its newest pod, and `since`; after
    a pod that failed from when Kubernetes has to have tried again, where the pod says when it ended. A
    Job that somebody else suspended (a queue) waits for as long as that lasts.
    """
    conditions = _true(run.job)
    if "Complete" in conditions:
        return Verdict(State.COMPLETE)
    if "Failed" in conditions:
        return Verdict(State.FAILED, _failure(run, conditions["Failed"]))
    pod = newest(run.pods)
    lost = pod if pod is not None and pod["status"].get("phase") == "Failed" else None
    if pod is not None and lost is None and started(pod):
        return _runs(pod, now)
    if run.job["spec"].get("suspend"):
        return Verdict(State.PENDING, _held(run))
    begun = _begun(run, pod, since)
    if lost is not None:
        return _after(run, lost, begun, pending, now)
    problem = pod_problem(pod, run.claims, run.others) if pod is not None else _no_pod(run, begun, now)
    return _waits(run, problem, begun, pending, now)


def _runs(pod: Json, now: datetime) -> Verdict:
    """A pod that was told to end and cannot, as its node is gone, keeps the next one from being made."""
    told = pod["metadata"].get("deletionTimestamp")
    if not told:
        return Verdict(State.RUNNING)
    due = moment(told) + _OVERDUE
    if now < due:
        return Verdict(State.RUNNING, due=due)
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "")
    text = (
        f"{_pod(pod)} was to end by {told} and is still there: look at node {node}; if that is gone, "
        f"kubectl delete pod {name} --force lets the Job go on"
    )
    return Verdict(State.RUNNING, Problem(TrainingFailure.TRAINING_FAILED, text))


def _after(run: Run, lost: Json, begun: datetime, pending: timedelta, now: datetime) -> Verdict:
    again = _again(run, lost, begun)
    if again is None or now < again:
        return Verdict(State.RUNNING, _retried(lost), again)
    return _waits(run, _no_pod(run, again, now, lost), again, pending, now)


def _waits(run: Run, problem: Problem | None, begun: datetime, pending: timedelta, now: datetime) -> Verdict:
    if now >= begun + pending:
        reason = problem.reason if problem else TrainingFailure.PENDING_DEADLINE
        cause = problem.message if problem else f"nothing says why; see kubectl describe job {run.name}"
        text = f"no pod of Job {run.name} ran within {format_duration(pending)}: {cause}"
        return Verdict(State.FAILED, Problem(reason, text))
    return Verdict(State.PENDING, problem, begun + pending)


def refusal(run: Run, verdict: Verdict) -> str:
    """Why a Job of ours failed: in the words of its program where it left some, else in Kubernetes'."""
    said = fault(terminated(ended(run, "Failed")).get("message", ""))
    if said is not None:
        return f"{said.reason}: {said.message}"
    return verdict.problem.message if verdict.problem else ""


def newest(pods: Sequence[Json]) -> Json | None:
    """The pod of the latest attempt."""
    return max(
        pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None
    )


def attempts(run: Run) -> int:
    """How many pods have run so far."""
    status = run.job.get("status", {})
    counted = sum(int(status.get(field) or 0) for field in ("failed", "succeeded"))
    running = any(pod.get("status", {}).get("phase") == "Running" for pod in run.pods)
    return max(counted + running, sum(started(pod) for pod in run.pods))


def ended(run: Run, phase: str) -> Json | None:
    """The newest pod in this phase (`Succeeded` or `Failed`)."""
    return newest([pod for pod in run.pods if pod.get("status", {}).get("phase") == phase])


def begun(run: Run) -> datetime | None:
    """Since when the newest pod has been on its node, for as long as it runs, or until the Job ended; one
    that is told to end is none any more.
    """
    pod = newest([pod for pod in run.pods if not pod["metadata"].get("deletionTimestamp")])
    holds = pod is not None and (pod["status"].get("phase") == "Running" or (run.finished and started(pod)))
    at = pod["status"].get("startTime") if pod is not None and holds else None
    return moment(at) if at else None


def ended_at(run: Run) -> datetime | None:
    """When Kubernetes called the Job complete or failed; None while it does not."""
    true = _true(run.job)
    times = (true[name].get("lastTransitionTime") for name in sorted(_ENDS & true.keys()))
    return next((moment(at) for at in times if at), None)


def last_word(run: Run) -> str:
    """What the pod that ended well wrote; raises `ResultError` when there is no such pod any more."""
    pod = ended(run, "Succeeded")
    if pod is None:
        text = f"the pod of Job {run.name} was removed before its result was read; start the run again"
        raise ResultError("ResultMissing", text)
    return str(terminated(pod).get("message", ""))


def terminated(pod: Json | None) -> Json:
    """`state.terminated` of the pod's only container: exit code, reason, message; empty when it is not
    there.
    """
    for container in (pod or {}).get("status", {}).get("containerStatuses", []):
        state = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
            "terminated"
        )
        if state:
            return dict(state)
    return {}


def image_of(pod: Json | None) -> str:
    """The image by digest as the node pulled it; empty when unknown."""
    for container in (pod or {}).get("status", {}).get("containerStatuses", []):
        image = str(container.get("imageID", ""))
        if "@sha256:" in image:
            return image.rpartition("://")[2][:512]
    return ""


def _true(job: Json) -> dict[str, Json]:
    return {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"}


def _failure(run: Run, condition: Json) -> Problem:
    reason, text = condition.get("reason", ""), clip(condition.get("message", ""), 300)
    if reason == "DeadlineExceeded":
        limit = format_duration(timedelta(seconds=run.job["spec"]["activeDeadlineSeconds"]))
        told = f"Job {run.name} took longer than {limit}, its deadline with all that it waited"
        return Problem(TrainingFailure.ACTIVE_DEADLINE, f"{told}; {_shorter(run)}")
    pod = ended(run, "Failed")
    state = terminated(pod)
    if state.get("exitCode") == 42:
        return Problem(
            TrainingFailure.DO_NOT_RETRY,
            f"{_pod(pod)} ended with exit code 42 (do not retry); {_logs(pod)}{_said(state)}",
        )
    if pod is None:
        return Problem(TrainingFailure.TRAINING_FAILED, f"Job {run.name} failed: {reason}: {text}")
    cause = f"ran out of memory; {_room(run)}" if state.get("reason") == "OOMKilled" else _logs(pod)
    text = f"{_pod(pod)} {_end(pod)} after {attempts(run)} attempt(s): {cause}{_said(state)}"
    return Problem(TrainingFailure.TRAINING_FAILED, text)


def _begun(run: Run, pod: Json | None, since: datetime | None) -> datetime:
    times = [run.job["metadata"]["creationTimestamp"], run.job.get("status", {}).get("startTime")]
    if pod is not None:
        times.append(pod["metadata"]["creationTimestamp"])
    return max([moment(text) for text in times if text] + ([since] if since else []))


def _again(run: Run, pod: Json, begun: datetime) -> datetime | None:
    """When another pod has to be there after this one, which failed: the Job waits 10 s, 20 s, 40 s … up to
    ten minutes after each (`MaxJobPodFailureBackOff` of kube-controller-manager), and is given twice that.
    None where the pod does not say when it ended.
    """
    state = terminated(pod)
    told = [one for one in pod["status"].get("conditions", []) if one["type"] in _LAST_WORDS]
    times = [state.get("finishedAt"), *(one.get("lastTransitionTime") for one in told)]
    left = max((moment(at) for at in times if at), default=None if state else begun)
    pause = min(_FIRST_PAUSE * 2 ** min(attempts(run), 7), _LONGEST_PAUSE)
    return None if left is None else max(left, begun) + pause


def _held(run: Run) -> Problem:
    text = f"Job {run.name} is suspended, for example by a queue; see kubectl describe job {run.name}"
    return Problem(TrainingFailure.PENDING_DEADLINE, text)


def _retried(pod: Json) -> Problem:
    text = f"{_pod(pod)} {_end(pod)}; the Job tries again{_said(terminated(pod))}"
    return Problem(TrainingFailure.TRAINING_FAILED, text)


def _no_pod(run: Run, since: datetime, now: datetime, lost: Json | None = None) -> Problem | None:
    if lost is None and now - since < _YOUNG:
        return None
    after = f" after {_pod(lost)}, which failed" if lost else ""
    return Problem(
        TrainingFailure.PENDING_DEADLINE,
        f"no pod could be made{after}; a quota, an admission policy or a missing service account may refuse "
        f"it: see kubectl describe job {run.name}",
    )


def _pod(pod: Json | None) -> str:
    return f"pod {pod['metadata']['name']}" if pod else "a pod"


def _room(run: Run) -> str:
    """What helps where memory ran out: what the spec says is for the trainer alone."""
    if _trains(run):
        return "raise spec.resources.limits.memory"
    limit = _container(run)["resources"]["limits"]["memory"]
    return f"this Job of Noria's has {limit}, whatever the spec says: give it fewer rows or a smaller model"


def _shorter(run: Run) -> str:
    """What helps where time ran out."""
    return "raise spec.deadlines, or give the run less data" if _trains(run) else "give it fewer rows"


def _trains(run: Run) -> bool:
    """Whether the container is the user's."""
    return bool(_container(run)["name"] == TRAIN)


def _container(run: Run) -> Json:
    return dict(run.job["spec"]["template"]["spec"]["containers"][0])


def _end(pod: Json) -> str:
    """How a pod that failed did so, and why, where its node refused or ended it."""
    state = terminated(pod)
    code = state.get("exitCode")
    ending = "failed" if code is None else f"ended with exit code {code}"
    told = [clip(str(pod["status"].get(field) or ""), 300) for field in ("reason", "message")]
    why = "OOMKilled" if state.get("reason") == "OOMKilled" else ": ".join(filter(None, told))
    return f"{ending} ({why})" if why else ending


def _logs(pod: Json | None) -> str:
    """Where to look; a pod that its node refused or ended has logged nothing of it."""
    if pod is None:
        return "its pod is gone"
    told = pod["status"].get("reason") or not terminated(pod)
    return f"see kubectl {'describe pod' if told else 'logs'} {pod['metadata']['name']}"


def _said(state: Json) -> str:
    message = state.get("message", "")
    refusal = fault(message)  # the library says why it could not hand a model over
    text = clip(f"{refusal.reason}: {refusal.message}" if refusal else message, 300)
    return f" (it said: {text})" if text else ""
