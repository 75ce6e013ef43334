"""One policy on one stream: models are really trained, judged by the gate of a TrainingJob, and served.

In: a stream and a policy. Out: what it cost and what it was worth. The policy is decided by
`domain.rehearsal`, which is the operator's own code; a run takes an hour; a challenger that is more than 0.01
worse than the champion on the newest fifth of its window, from which it did not learn, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.policies import frozen
from benchmarks.policies.rules import Policy
from benchmarks.policies.streams import Stream
from noria_operator.domain.recorded import BINARY_MODEL, Model, Predicted
from noria_operator.domain.recorded_bins import Bins
from noria_operator.domain.rehearsal import Rehearsal
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Champion

Json = dict[str, Any]

BEGIN: Final = datetime(2013, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
RUN: Final = timedelta(hours=1)
LOOKS: Final = 4
"""A day; times that schedules and cooldowns name come on top."""
WEEK: Final = 7
MAX_DROP: Final = 0.01
PSI_LIMIT, PSI_ROWS = 0.2, 500


@dataclass(frozen=True)
class Outcome:
    """`loss`: one minus the AUC of what was served, the mean over weeks."""

    runs: float
    promoted: float
    loss: float


class Trial:
    """The stream day by day, with the model that serves."""

    def __init__(self, stream: Stream, policy: Policy) -> None:
        self.stream, self.policy = stream, policy
        self.model, metric = self._trained(stream.begin)
        self.number, self.promoted, self.runs = 1, 0, 0
        self.bins: dict[str, Bins] = {}
        self.loop = Rehearsal(
            _spec(stream, policy, _at(stream.begin)),
            self._champion(metric, _at(stream.begin)),
            Model(bins=self.bins) if policy.watches else BINARY_MODEL,
        )
        self.scores = np.full(len(stream.labels), np.nan)

    def outcome(self) -> Outcome:
        """Play the stream to its end."""
        stream = self.stream
        for day in stream.days:
            rows = stream.where(day, day + 1)
            if len(rows):
                self.scores[rows] = _scores(self.model, stream.take(rows))
            known = stream.where(day - stream.delay, day - stream.delay + 1)
            parts = zip(np.array_split(known, LOOKS), np.array_split(rows, LOOKS), strict=True)
            version = self.loop.champion.name
            for part, (index, asked) in enumerate(parts):
                at = _at(day) + part * DAY / LOOKS
                self._predict(version, asked, at)
                for row in index[~np.isnan(self.scores[index])]:
                    made = Predicted(self.loop.champion.name, float(self.scores[row]))
                    self.loop.arrivals.labelled(at, made, float(stream.labels[row]))
                told = list(self.loop.until(at, took=RUN, ended=self._ended))
                self.runs += sum(one.decision == "Started" for one in told)
            if self.policy.psi and self._drifted(day):
                self.loop.obj["metadata"]["annotations"] = {"noria.dev/retrain": f"psi-{day}"}
        return Outcome(self.runs, self.promoted, self._loss())

    def _predict(self, version: str, index: NDArray[np.int64], at: datetime) -> None:
        """Tell the loop of rows that were predicted, where it looks at them."""
        if self.policy.watches:
            rows, scores = self.stream.take(index), self.scores[index].tolist()
            for row in frozen.predicted(self.bins[version], version, rows, scores):
                self.loop.arrivals.predicted(at, row)

    def _ended(self, name: str, at: datetime) -> None:
        day = (at - BEGIN) // DAY
        model, metric = self._trained(day)
        held = self._held_out(day)
        rows, labels = self.stream.take(held), self.stream.labels[held]
        if metric < roc_auc_score(labels, _scores(self.model, rows)) - MAX_DROP:
            self.loop.finish(name, at, champion=None, refused=True)
            return
        self.model, self.number, self.promoted = model, self.number + 1, self.promoted + 1
        self.loop.finish(name, at, champion=self._champion(metric, at))

    def _trained(self, day: int) -> tuple[Any, float]:
        """A model of the days whose labels are known on `day`, and its AUC on the newest fifth of them."""
        held = self._held_out(day)
        index = self.stream.where(day - self.stream.delay - self.stream.window, day - self.stream.delay)
        index = index[: len(index) - len(held)]
        self.learnt = index
        model = self.stream.made().fit(self.stream.take(index), self.stream.labels[index])
        scores = _scores(model, self.stream.take(held))
        return model, float(roc_auc_score(self.stream.labels[held], scores))

    def _held_out(self, day: int) -> NDArray[np.int64]:
        last = day - self.stream.delay
        return self.stream.where(last - self.stream.window // 5, last)

    def _champion(self, metric: float, at: datetime) -> Champion:
        """With what the evaluation of a TrainingJob measures unasked."""
        held = self._held_out((at - BEGIN) // DAY)
        scores = _scores(self.model, self.stream.take(held))
        loss = log_loss(self.stream.labels[held], scores)
        name = f"model-{self.number}"
        if self.policy.watches:
            rows = self.stream.take(self.learnt)
            self.bins[name] = frozen.frozen(rows, _scores(self.model, rows))
        return Champion(name, {"auc": f"{metric:.6f}", "logloss": f"{loss:.6f}"}, at)

    def _drifted(self, day: int) -> bool:
        """The rule of the peers, once a day, and not while a run is live."""
        if self.loop.live:
            return False
        newest = self.stream.where(0, day + 1)[-PSI_ROWS:]
        return frozen.farthest(self.stream.take(self.learnt), self.stream.take(newest)) > PSI_LIMIT

    def _loss(self) -> float:
        stream, weeks = self.stream, []
        for first in range(stream.begin, stream.days[-1] - WEEK + 2, WEEK):
            rows = stream.where(first, first + WEEK)
            weeks.append(1 - roc_auc_score(stream.labels[rows], self.scores[rows]))
        return float(np.mean(weeks))


def _spec(stream: Stream, policy: Policy, at: datetime) -> Json:
    job = {"model": "model", "image": "trainer", "output": {"uri": "pvc://models/model"}}
    spec: Json = {"deployment": "model", "triggers": list(policy.triggers), "template": {"spec": job}}
    if policy.plain:
        spec |= {"cooldown": "0s", "stopAfterFailures": 0}
    if policy.follow_up:
        spec["followUp"] = f"{24 * (stream.window + stream.delay)}h"
    meta = {"name": "loop", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": stamp(at)}
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "ContinuousTraining", "metadata": meta, "spec": spec}


def _scores(model: Any, rows: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = model.predict_proba(rows)[:, 1]
    return found


def _at(day: int) -> datetime:
    return BEGIN + day * DAY
