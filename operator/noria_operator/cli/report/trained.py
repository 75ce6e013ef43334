"""What the pages of a run and of its version share: why it was trained, how good it is. Pure.

In: parts of a TrainingJob's status or of a ModelVersion's spec. Out: parts of a page. Invariant: figures are
those that stand in the objects; bounds are computed from counts and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from noria_operator.cli.report.page import Html, table, text
from noria_operator.cli.report.pictures import CHALLENGER, CHAMPION, Bar, bars, number
from noria_operator.domain.proportions import Z95, wilson

Json = dict[str, Any]


def why(trigger: Json | None) -> Iterator[Html]:
    """What started the run; a trigger measures a number, or a word such as a digest or an age."""
    if not trigger:
        yield text("A person, or a program of theirs, started the run.")
        return
    yield text(f"{trigger.get('reason', '')} ({trigger.get('name', '')}), decided {trigger.get('at', '')}.")
    if (measured := trigger.get("value")) is None:
        return
    rows = f", on {trigger['samples']} rows" if trigger.get("samples") else ""
    limit = trigger.get("threshold")
    value, mark = number(measured), number(limit)
    line = " (red line)" if value is not None and mark is not None else ""
    interval = str(trigger.get("interval") or "")
    sure = f" (within {interval} with 95 %)" if interval else ""
    yield text(f"Measured {measured}{sure}, compared with {limit or 'nothing'}{rows}{line}.")
    if value is not None:
        low, _, high = interval.partition(" to ")
        yield bars([Bar("measured", value, low=number(low), high=number(high), mark=mark)])


def quality(evaluation: Json | None) -> Iterator[Html]:
    """`evaluation` is that of a ModelVersion."""
    if not evaluation:
        yield text("It was not evaluated: nothing compares it with the champion of its time.")
        return
    versus = evaluation.get("versus") or {}
    rows = f" on {evaluation['rows']} rows" if evaluation.get("rows") else ""
    against = f", beside {versus['version']} on the same rows (grey)" if versus else ""
    yield text(f"Measured{rows}{against}.")
    for metric, told in sorted(evaluation["metrics"].items()):
        others = versus.get("metrics", {})
        pair = [(metric, told, CHALLENGER)]
        pair += [(versus["version"], others[metric], CHAMPION)] if metric in others else []
        yield bars(
            [
                _bar(name, metric, value, evaluation.get("rows"), colour)
                for name, figure, colour in pair
                if (value := number(figure)) is not None
            ]
        )
        yield bars(list(_difference(metric, told, versus)))
    if "accuracy" in evaluation["metrics"] and evaluation.get("rows"):
        yield text("The bounds of accuracy are Wilson's, at 95 %.")
    yield from _errors_told(evaluation["metrics"], versus)
    if slices := evaluation.get("slices"):
        yield text("By slice; the error is that of the difference, on the same rows:")
        heads = ["feature", "group", "rows", "metric", "challenger", "champion", "error"]
        yield table(heads, [[str(one.get(head, "")) for head in heads] for one in slices])


def gates(judged: Sequence[Json]) -> Html:
    """How each gate of the run went."""
    rows = [[one["metric"], one["result"], one.get("detail", "")] for one in judged]
    return table(["gate", "result", "in figures"], rows)


def partitions(chosen: Json) -> str:
    """Which partitions were read."""
    return f"{chosen['oldest']} to {chosen['newest']} ({chosen['count']})"


def _difference(metric: str, told: Any, versus: Json) -> Iterator[Bar]:
    """How far the version is from its champion, on a scale of its own: it is small beside the values."""
    own, other, error = (
        number(one)
        for one in (told, versus.get("metrics", {}).get(metric), (versus.get("errors") or {}).get(metric))
    )
    if own is not None and other is not None and error is not None:
        far, half = own - other, Z95 * error
        yield Bar(f"{metric}: difference", far, low=far - half, high=far + half, mark=0.0)


def _errors_told(metrics: Json, versus: Json) -> Iterator[Html]:
    """What bounds differences have, and which metrics have none."""
    errors = versus.get("errors") or {}
    if errors:
        yield text(
            "The bounds of a difference (zero is the red line) are 1.96 standard errors either way, paired "
            "on the same rows, at 95 %."
        )
    if bare := sorted(metric for metric in versus.get("metrics", {}) if metric in metrics.keys() - errors):
        yield text(f"No standard error of the difference is known of {', '.join(bare)}.")


def _bar(name: str, metric: str, value: float, rows: int | None, colour: str) -> Bar:
    """The value of a metric, with bounds where it is a share of rows."""
    if metric != "accuracy" or not rows:
        return Bar(name, value, colour=colour)
    low, high = wilson(round(value * rows), rows)
    return Bar(name, value, colour=colour, low=low, high=high)
