"""Between `status.analysis` on the wire and the planner's `Analysis`.

Comes in and goes out: the typed status with its free part `state` on one side, frozen values on the other.
Invariants: what is written and read again is the same to the last bit; what a status of an earlier release
lacks begins afresh, so that an upgrade loses no running rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, replace
from datetime import datetime, timedelta
from typing import Any

from noria_operator.api.modeldeployment_status import AnalysisStatus, CountsStatus, MeasureStatus
from noria_operator.domain.analysis import Analysis, Said, Slowness, Turn
from noria_operator.domain.bursts import Bursts
from noria_operator.domain.disagreement import Compared, Pairs
from noria_operator.domain.overdispersion import Overdispersion
from noria_operator.domain.queries import Measured, Outcome
from noria_operator.domain.rollout_policy import LatencyPolicy
from noria_operator.domain.verdict import Counts, Evidence, Verdict, Window
from noria_operator.domain.windows import Marks

Json = dict[str, Any]

_EVIDENCE = "evidence"
_NONE = "none"
_SUMS = ("harm", "ok")
_COUNTED = ("successful", "failed", "inconclusive", "errors", "earlier")


def analysis_status(analysis: Analysis | None, kept: Json) -> AnalysisStatus | None:
    """`kept` is what else the free part holds."""
    if analysis is None:
        return AnalysisStatus(state={**kept, _NONE: True}) if kept else None
    evidence = analysis.evidence
    exact = _sums(evidence) | present(
        windowFrom=_text(analysis.window_from),
        since=_text(analysis.since),
        turns=list(map(_turn, analysis.turns)) or None,
        loneBurst=analysis.lone_burst,
        marks=_marks(analysis.marks),
        refused=_whole(analysis.refused) if analysis.refused.windows else None,
        latency=_slowness(analysis.latency) if analysis.latency else None,
        compared=_compared(analysis.compared) if analysis.compared.pairs.count else None,
        queries={name: _measured(one) for name, one in analysis.queries.items()} or None,
        divided=_divided(analysis.divided) or None,
        doubts={name: at.isoformat() for name, at in analysis.doubts.items()} or None,
    )
    return AnalysisStatus(
        version=analysis.version,
        verdict=analysis.verdict.value if analysis.verdict else None,
        windows=evidence.windows,
        champion=counts_status(evidence.champion),
        challenger=counts_status(evidence.challenger),
        measures=measures_status(analysis.said),
        message=analysis.message or None,
        state={**kept, _EVIDENCE: exact},
    )


def analysis_of(status: AnalysisStatus | None) -> Analysis | None:
    """The analysis that a status holds."""
    kept = (status.state if status else None) or {}
    if status is None or kept.get(_NONE):
        return None
    exact = kept.get(_EVIDENCE) or {}
    return Analysis(
        evidence=_evidence(exact, status.windows, counts_of(status.champion), counts_of(status.challenger)),
        marks=_marks_of(exact.get("marks")),
        refused=_whole_of(exact["refused"]) if exact.get("refused") else Evidence(),
        latency=_slowness_of(exact["latency"]) if exact.get("latency") else None,
        compared=_compared_of(exact["compared"]) if exact.get("compared") else Compared(),
        queries={name: _measured_of(one) for name, one in (exact.get("queries") or {}).items()},
        said=measures_of(status.measures),
        window_from=_time(exact.get("windowFrom")),
        since=_time(exact.get("since")),
        turns=tuple(map(_turn_of, exact.get("turns") or ())),
        verdict=Verdict(status.verdict) if status.verdict else None,
        message=status.message or "",
        lone_burst=exact.get("loneBurst", False),
        divided=_divided_of(exact.get("divided")),
        doubts={name: datetime.fromisoformat(at) for name, at in (exact.get("doubts") or {}).items()},
        version=status.version,
    )


def measures_status(said: Sequence[Said]) -> list[MeasureStatus]:
    """What was said of each measure."""
    return [
        MeasureStatus(
            name=one.measure,
            verdict=one.verdict.value,
            message=one.message,
            figures=dict(one.figures),
            query=one.query,
        )
        for one in said
    ]


def measures_of(status: Sequence[MeasureStatus]) -> tuple[Said, ...]:
    """The same, read."""
    return tuple(
        Said(one.name, Verdict(one.verdict), one.message, dict(one.figures), one.query) for one in status
    )


def counts_status(counts: Counts) -> CountsStatus:
    """Requests and errors of one arm."""
    return CountsStatus(requests=counts.requests, errors=counts.errors)


def counts_of(status: CountsStatus | None) -> Counts:
    """The same, read."""
    return Counts(status.requests, status.errors) if status else Counts()


def present(**fields: Any) -> Json:
    """Only what has a value: the API server knows no null inside a status."""
    return {name: value for name, value in fields.items() if value is not None}


def _turn(one: Turn) -> list[Any]:
    """Without a delay where none is known."""
    return [_text(one.at), *([] if one.delay is None else [one.delay.total_seconds()])]


def _turn_of(kept: Sequence[Any]) -> Turn:
    at, *delay = kept
    return Turn(datetime.fromisoformat(at), *(timedelta(seconds=one) for one in delay))


def _slowness(one: Slowness) -> Json:
    return {
        "edge": one.edge,
        **present(asked=[one.asked.quantile, one.asked.factor] if one.asked else None),
        "marks": _marks(one.marks),
        **present(divided=_divided(one.divided) or None),
        **_whole(one.evidence),
    }


def _slowness_of(kept: Mapping[str, Any]) -> Slowness:
    return Slowness(
        edge=float(kept["edge"]),
        asked=LatencyPolicy(*map(float, kept["asked"])) if "asked" in kept else None,
        evidence=_whole_of(kept),
        marks=_marks_of(kept.get("marks")),
        divided=_divided_of(kept.get("divided")),
    )


def _whole(evidence: Evidence) -> Json:
    """Evidence whose totals nothing else tells."""
    arms = {"champion": evidence.champion, "challenger": evidence.challenger}
    totals = {name: [arm.requests, arm.errors] for name, arm in arms.items()}
    return {"windows": evidence.windows, **_sums(evidence), **totals}


def _whole_of(kept: Mapping[str, Any]) -> Evidence:
    return _evidence(kept, kept["windows"], Counts(*kept["champion"]), Counts(*kept["challenger"]))


def _divided(divided: Mapping[str, Window]) -> Json:
    return {
        name: [one.champion.requests, one.champion.errors, one.challenger.requests, one.challenger.errors]
        for name, one in divided.items()
    }


def _divided_of(kept: Mapping[str, Any] | None) -> dict[str, Window]:
    return {name: Window(Counts(*one[:2]), Counts(*one[2:])) for name, one in (kept or {}).items()}


def _compared(one: Compared) -> Json:
    told = {"pairs": _pairs(one.pairs), "reader": one.reader, "mark": _pairs(one.mark)}
    return told if one.earlier is None else {**told, "earlier": _pairs(one.earlier)}


def _compared_of(kept: Mapping[str, Any]) -> Compared:
    earlier = _pairs_of(kept["earlier"]) if "earlier" in kept else None
    return Compared(_pairs_of(kept["pairs"]), kept["reader"], _pairs_of(kept["mark"]), earlier)


def _pairs(one: Pairs) -> list[float]:
    """Without a difference where answers are no numbers."""
    return [one.count, one.differing, *([] if one.difference is None else [one.difference])]


def _pairs_of(kept: Sequence[float]) -> Pairs:
    count, *sums = kept
    return Pairs(int(count), *map(float, sums))


def _measured(one: Measured) -> Json:
    return present(
        successful=one.successful,
        failed=one.failed,
        inconclusive=one.inconclusive,
        errors=one.errors,
        last=one.last.value if one.last else None,
        lastAt=_text(one.last_at),
        shown=one.shown,
        since=_text(one.since),
        earlier=one.earlier or None,
    )


def _measured_of(kept: Mapping[str, Any]) -> Measured:
    counts = {name: kept.get(name, 0) for name in _COUNTED}
    last = Outcome(kept["last"]) if "last" in kept else None
    last_at, since = _time(kept.get("lastAt")), _time(kept.get("since"))
    return Measured(**counts, last=last, last_at=last_at, shown=kept.get("shown", ""), since=since)


def _sums(evidence: Evidence) -> Json:
    sums = {name: list(getattr(evidence, name)) for name in _SUMS}
    bursts = _held(evidence.bursts) | {"wealth": list(evidence.bursts.wealth)}
    return sums | {"bursts": bursts, "overdispersion": _held(evidence.overdispersion)}


def _held(one: Bursts | Overdispersion) -> Json:
    """Its fields, of which none has fields of its own: dataclasses' `asdict` would copy each deeply."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


def _evidence(kept: Mapping[str, Any], windows: int, champion: Counts, challenger: Counts) -> Evidence:
    sums = {name: tuple(map(float, kept[name])) for name in _SUMS if name in kept}
    bursts = Bursts(**_known(Bursts, kept.get("bursts") or {}))
    bursts = replace(bursts, wealth=tuple(map(float, bursts.wealth)))
    overdispersion = Overdispersion(**_known(Overdispersion, kept.get("overdispersion") or {}))
    return Evidence(
        **sums,
        bursts=bursts,
        overdispersion=overdispersion,
        windows=windows,
        champion=champion,
        challenger=challenger,
    )


def _known(kind: type[Bursts] | type[Overdispersion], kept: Mapping[str, Any]) -> Json:
    """Without what another release kept beside it."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in kept.items() if name in names}


def _marks(marks: Marks) -> Json:
    return {
        pod: {name: list(astuple(one)) for name, one in clusters.items()} for pod, clusters in marks.items()
    }


def _marks_of(kept: Mapping[str, Any] | None) -> dict[str, dict[str, Counts]]:
    """Without those of an earlier release that say less, or counted feedback, too: all would look new."""
    return {
        pod: {name: Counts(*counts) for name, counts in clusters.items()}
        for pod, clusters in (kept or {}).items()
        if all(len(counts) == len(fields(Counts)) for counts in clusters.values())
    }


def _text(value: datetime | None) -> str | None:
    return value.isoformat() if value else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
