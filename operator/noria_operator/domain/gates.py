"""Gates: whether a trained model is kept, judged on our evaluation alone.

Comes in: the gates of a TrainingJob and the metrics of challenger and champion on the same held-out rows.
Goes out: one verdict a gate, with the numbers that led to it. Invariant: what the trainer claims about
itself is never read here. A comparison is by the metric's direction (`quality.DIRECTIONS`); while there is
no champion yet it passes and says so (`evaluation` knows who is, also while nothing serves).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from noria_operator.api.trainingjob import Gate
from noria_operator.domain.gates_slices import Sliced, worst
from noria_operator.domain.quality import DIRECTIONS
from noria_serving.contract import NO_PROBABILITIES, OF_PROBABILITIES


@dataclass(frozen=True)
class Scores:
    """Metrics as decimal strings; `champion` is None where there is none yet."""

    challenger: Mapping[str, str]
    champion: Mapping[str, str] | None = None
    champion_version: str = ""
    slices: tuple[Sliced, ...] = ()
    left_out: int = 0
    seen: str = ""
    """What of the held-out rows the champion was trained on, in a sentence; empty: nothing that is known."""
    unknown: str = ""
    """The same of the challenger, where nobody knows it."""


@dataclass(frozen=True)
class GateResult:
    """Verdict of one gate; `detail` holds the figures."""

    metric: str
    passed: bool
    detail: str


def judge(gates: Iterable[Gate], scores: Scores) -> tuple[GateResult, ...]:
    """Every gate's verdict; one Fail refuses the model. Those that failed come first, for `kubectl get` shows
    one; else in the order of the spec.
    """
    results = []
    for gate in gates:
        result = _judge(gate, scores)
        told = (result.detail, scores.seen if gate.versus else "", scores.unknown)
        results.append(replace(result, detail="; ".join(filter(None, told))))
    return tuple(sorted(results, key=lambda result: result.passed))


def _judge(gate: Gate, scores: Scores) -> GateResult:
    text = scores.challenger.get(gate.metric)
    if text is None:
        known = ", ".join(sorted(scores.challenger)) or "none"
        why = _why(gate.metric, scores.challenger, "the model")
        return GateResult(gate.metric, False, f"the evaluation has no {gate.metric}{why}; it has: {known}")
    value = Decimal(text)
    if gate.versus is not None:
        return _compare(gate, value, scores)
    if gate.min is not None:
        passed = value >= gate.min
        return GateResult(gate.metric, passed, f"{value:f} {'>=' if passed else '<'} minimum {gate.min:f}")
    if gate.max is not None:
        passed = value <= gate.max
        return GateResult(gate.metric, passed, f"{value:f} {'<=' if passed else '>'} maximum {gate.max:f}")
    return GateResult(gate.metric, False, "the gate sets none of min, max and versus")


def _why(metric: str, figures: Mapping[str, str], who: str) -> str:
    """Whoever has neither a log loss nor an RMSE gives labels alone: of all others the evaluation has what is
    named, or fails, and where nothing is named one of these.
    """
    alone = figures.keys().isdisjoint(("logloss", "rmse"))
    return f", as {who} {NO_PROBABILITIES}" if alone and metric in OF_PROBABILITIES else ""


def _compare(gate: Gate, value: Decimal, scores: Scores) -> GateResult:
    if scores.champion is None:
        return GateResult(gate.metric, True, f"{value:f}; there is no champion to compare with yet")
    text = scores.champion.get(gate.metric)
    if text is None:
        why = _why(gate.metric, scores.champion, f"champion {scores.champion_version}")
        return GateResult(gate.metric, False, f"the evaluation has no {gate.metric} of the champion{why}")
    direction = DIRECTIONS[gate.metric]
    if gate.by_slice:
        told = scores.slices, scores.champion_version, scores.left_out
        return GateResult(gate.metric, *worst(gate, direction, *told))
    champion = Decimal(text)
    gain = direction.gain(value, champion)
    drop = gate.max_drop or Decimal(0)
    least = gate.min_delta if gate.min_delta is not None else -drop
    rule = f"must gain {least:f}" if gate.min_delta is not None else f"may lose {drop:f}"
    versus = f"{champion:f} of champion {scores.champion_version}"
    detail = f"{value:f} against {versus} ({direction.value} is better): {rule}"
    return GateResult(gate.metric, gain >= least, detail)
