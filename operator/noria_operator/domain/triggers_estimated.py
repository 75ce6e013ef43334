"""The trigger `estimatedPerformance`: quality as the scores say, before labels come.

Comes in: the rule, the entry, the champion's scores since the window began, the labels that came meanwhile
and those of held-out rows in its bundle. Goes out: a request. Invariants: an estimate is judged by the very
rule that labels are judged by, against the same baseline; what scores claim by themselves is never compared
with what is left of it after calibration; where labels of the window calibrate, it is no surer than these;
every sentence says that it cannot see a change of the concept; predictions that are no scores between 0 and 1
have no estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ldexp, sqrt
from typing import Any, Final

from noria_operator.api.performance import EstimatedPerformance
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.classes import Classes
from noria_operator.domain.estimated import BLIND, calibration_error, expected, isotonic, itself
from noria_operator.domain.estimated_errors import HELD_OUT, ErrorsByBin, ExpectedErrors
from noria_operator.domain.performance import Errors, Joined, Labelled
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import Labels, Rows, rows
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_aside import led_aside, not_compared, noted
from noria_operator.domain.triggers_labels import Estimate, closing, window_start
from noria_operator.domain.triggers_performance import closes, performance, refused
from noria_serving.contract import NO_PROBABILITIES, SCORE_BINS

Json = dict[str, Any]

CALIBRATED_BY: Final = 500
"""Labels from which on scores are calibrated by them: those of the window, else those of held-out rows."""
CALIBRATED: Final = "calibrated"
"""In state: the version that was watched last, where its bundle has such labels; else WINDOW, where the
window that was judged last had them.
"""
WINDOW: Final = "window"
COUNTED: Final = f"rows without labels ({BLIND})"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a regression predicted since the window began, in bins of its reference, and the errors there."""

    bins: tuple[int, ...]
    errors: ErrorsByBin | None

    @property
    def joined(self) -> ExpectedErrors | None:
        """The errors to expect."""
        return ExpectedErrors(self.errors, self.bins) if self.errors else None

    @property
    def counted(self) -> str:
        """What rows are called, and whose errors they are taken to have."""
        held_out = self.errors is not None and self.errors.of == HELD_OUT
        whose = "of held-out rows" if held_out else "of training, which are smaller than those to come"
        return f"rows without labels (an estimate by errors {whose}: it cannot see a change of the concept)"


def estimated(
    trigger: TriggerSpec,
    rule: EstimatedPerformance,
    entry: Json,
    *,
    champion: Champion | None,
    scores: Outputs | None,
    labels: Labelled | None,
    now: datetime,
    warmup: timedelta = timedelta(),
    predicted: Predicted | None = None,
    known: Rows | None = None,
    aside: bool = False,
) -> Request:
    """Judge a closed window of scores, or of what a regression predicted; leave an open one alone. `known`:
    labels of held-out rows by score, as frozen in the champion's bundle; None: nobody tells what is frozen.
    `aside`: a header leads requests past the champion now; a window of which any were is not judged.
    """
    if isinstance(labels, Classes) and rule.metric != "accuracy":
        text = f"{rule.metric} of several classes cannot be estimated from scores; estimate accuracy"
        return refused(trigger, entry, text)
    if champion is not None and _labels_alone(labels):
        text = (
            f"{champion.name} {NO_PROBABILITIES}, and nothing is estimated without these; watch performance, "
            "or drift of its predictions"
        )
        return refused(trigger, entry, text)
    if predicted is not None and predicted.errors is None:
        text = "the model's bundle has no errors by prediction: save it again with this release of Noria"
        return refused(trigger, entry, text)
    mark = (entry.get("state") or {}).get(CALIBRATED, "")
    if champion is not None and known is None and mark == champion.name:
        scores = None  # they would claim what they did not before
    joined = predicted.joined if predicted else expected_joined(scores, labels, known or ())
    judged, called = as_performance(rule), predicted.counted if predicted else COUNTED
    begun = window_start(entry, judged, champion)
    aside = aside and begun is not None and now >= begun
    entry = noted(entry) if aside else entry
    if champion is not None and scores is not None and begun is not None and not led_aside(entry):
        by = champion.name if _enough(known or ()) else WINDOW if _calibrating(labels) else ""
        if by == champion.name or closes(judged, joined, begun, now):
            entry, mark = _comparable(entry, rule, champion, alike=_kind(mark) == _kind(by)), by
    asked = partial(performance, trigger, judged, champion=champion, now=now, counted=called, warmup=warmup)
    ask = partial(asked, wider=_wider(scores, labels))
    found = ask(entry, labels=joined)
    if led_aside(entry) and found.entry.get("windowEndedAt") != entry.get("windowEndedAt"):
        said = entry | closing(entry, now) | not_compared(entry, stands=ask(entry, labels=None).wanted)
        found = ask(noted(said) if aside else said, labels=None)
    return replace(found, reason=trigger.reason, entry=_marked(found.entry, mark))


def _comparable(entry: Json, rule: EstimatedPerformance, champion: Champion, *, alike: bool) -> Json:
    """Where values before were calibrated by other labels, or by none, they are forgotten: the best is again
    what the champion was accepted with.
    """
    metric = (entry.get("state") or {}).get("metric")
    if alike or metric is None:
        return entry
    best = champion.metrics.get(rule.metric)
    kept = {name: value for name, value in entry.items() if name != "best"} | ({"best": best} if best else {})
    return kept | {"streak": 0, "state": {"metric": metric}}


def _marked(entry: Json, mark: str) -> Json:
    state = {name: value for name, value in (entry.get("state") or {}).items() if name != CALIBRATED}
    state |= {CALIBRATED: mark} if mark else {}
    return entry | {"state": state} if state else entry


def _kind(mark: str) -> str:
    """Of the labels that calibrate: those of a bundle, of a window, or none."""
    return mark if mark in ("", WINDOW) else HELD_OUT


def _calibrating(labels: Labelled | None) -> int:
    """Labels of the window, where they are enough to calibrate by."""
    called = labels.called if isinstance(labels, Classes) else labels
    return called.samples if isinstance(called, Labels) and called.samples >= CALIBRATED_BY else 0


def _wider(scores: Outputs | None, labels: Labelled | None) -> float:
    """How many times as much as by the number of rows chance moves what labels of the window calibrate."""
    by = _calibrating(labels)
    return sqrt(1 + sum(scores.bins) / by) if scores and by else 1.0


def _enough(labels: Rows) -> bool:
    return sum(negative + positive for _, negative, positive in labels) >= CALIBRATED_BY


def _labels_alone(labels: Labelled | None) -> bool:
    called = labels.called if isinstance(labels, Classes) else labels
    return isinstance(called, Labels) and not called.scored


def as_performance(rule: EstimatedPerformance) -> Estimate:
    """The same rule for labels, of which a row is one."""
    return Estimate.model_construct(
        metric=rule.metric,
        min=rule.min,
        max=rule.max,
        relative_drop=rule.relative_drop,
        min_labels=rule.min_samples,
        for_=rule.for_,
        window=rule.window,
    )


def expected_joined(scores: Outputs | None, labels: Labelled | None, known: Rows = ()) -> Joined | None:
    """The labels to expect. The score of the likeliest of several classes is the probability that it is the
    true one; predictions of a regression are no scores.
    """
    if scores is None or isinstance(labels, Errors):
        return None
    if isinstance(labels, Classes):
        called = expected_labels(scores, labels.called, known)
        return Classes(called) if called else None
    return expected_labels(scores, labels, known)


def expected_labels(scores: Outputs, labels: Labels | None, known: Rows = ()) -> Labels | None:
    """The labels to expect of so many scores; None where predictions are no scores. The scores are
    calibrated by the labels of the window, else by those of held-out rows (`known`), where they are enough
    and that brings them closer.
    """
    if scores.first < 0 or ldexp(scores.first + len(scores.bins), scores.exponent) > 1:
        return None
    by = rows(labels) if labels and _calibrating(labels) else known if _enough(known) else ()
    calibration = isotonic(by)
    if by and calibration_error(by, calibration) >= calibration_error(by, itself):
        calibration = itself
    middles = (ldexp(scores.first + place + 0.5, scores.exponent) for place in range(len(scores.bins)))
    negatives, positives = [0.0] * SCORE_BINS, [0.0] * SCORE_BINS
    for score, negative, positive in expected(list(zip(middles, scores.bins, strict=True)), calibration):
        negatives[int(score * SCORE_BINS)] += negative
        positives[int(score * SCORE_BINS)] += positive
    return Labels.of(negatives, positives)
