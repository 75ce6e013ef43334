"""The outcomes as Markdown tables, and which policies no other one beats. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.policies.trial import Outcome

Outcomes = Mapping[str, Outcome]
Found = Mapping[str, Outcomes]
"""By stream and policy."""
DIGITS = 4
"""Of a loss; what differs by less is equal."""


def front(outcomes: Outcomes) -> list[str]:
    """Policies such that every other one that loses less trains more (the Pareto front)."""
    return [
        name for name, one in outcomes.items() if not any(_beats(other, one) for other in outcomes.values())
    ]


def markdown(found: Found) -> str:
    """A table a stream; what is on the front is bold."""
    return "\n".join(_table(stream, outcomes) for stream, outcomes in found.items())


def _beats(other: Outcome, one: Outcome) -> bool:
    mine, others = (one.runs, round(one.loss, DIGITS)), (other.runs, round(other.loss, DIGITS))
    return others[0] <= mine[0] and others[1] <= mine[1] and others != mine


def _table(stream: str, outcomes: Outcomes) -> str:
    best = front(outcomes)
    rows = [
        f"| {f'**{name}**' if name in best else name} | {one.runs:.3g} | {one.promoted:.3g} | {_loss(one)} |"
        for name, one in outcomes.items()
    ]
    head = "| policy | trainings | promoted | 1 - AUC |\n|---|---|---|---|"
    return "\n".join([f"### {stream[0].upper()}{stream[1:]}", "", head, *rows, ""])


def _loss(one: Outcome) -> str:
    return f"{one.loss:.{DIGITS}f}"
