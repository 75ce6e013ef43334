"""What Envoy's statistics say of versions: requests and errors, requests under way, times of answers.

Comes in: the body of an answer of `/stats?format=json`. Goes out: figures by revision (its clusters for HTTP
and gRPC together; those for feedback, and for requests that no weight divides, only in what is under way), or
None when it is no such answer. Invariant: every way of failing is an error of the version that was to
answer: a 5xx of its own or the gRPC status of a fault, a 429 (it could not take the request), and what the
router answered in its place (503 for a reset, refused or impossible connection, 504 for a time-out), a
request that the client gave up waiting for, one that a pod dropped, whoever answered it then, and an answer
that began well and never ended. Other 4xx and 3xx are refusals.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

from noria_operator.api import names
from noria_operator.domain.latency import Histogram
from noria_operator.domain.verdict import Counts

Json = dict[str, Any]

_COMPLETED, _FAILED, _BUSY = "upstream_rq_completed", "upstream_rq_5xx", "upstream_rq_429"
_CLIENTS_FAULT, _ELSEWHERE = "upstream_rq_4xx", "upstream_rq_3xx"
_CUT, _TIMED_OUT = "upstream_cx_destroy_local_with_active_rq", "upstream_rq_timeout"
_RESET, _TOLD_LATE = "upstream_rq_tx_reset", "upstream_rq_504"
_NEVER_WHOLE = "upstream_rq_408"
_SAVED, _DROPPED = "upstream_rq_retry_success", "upstream_cx_destroy_remote_with_active_rq"
_RETRIED, _UNANSWERED = "upstream_rq_retry", "upstream_rq_503"
_UNREACHED, _NOBODY = "upstream_rq_pending_failure_eject", "upstream_cx_none_healthy"
_REFUSALS = tuple(f"grpc.{code}" for code in (1, 3, 5, 6, 7, 9, 11, 12, 16))
"""CANCELLED by the server, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED: other 4xx of HTTP. ABORTED is none: with it
a model server ends streams when it goes away, and calls of clients that send nothing."""
_FAULTS = tuple(f"grpc.{code}" for code in (2, 4, 8, 13, 14, 15))
"""UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS: what HTTP calls 5xx and
429 (and 413, which gRPC does not tell apart; clients that send too much do so to every version)."""
_ABORTED = "grpc.10"
_NEITHER = ("grpc.0", _ABORTED)
"""OK, ABORTED."""
ACTIVE = "upstream_rq_active"
_UNDER_WAY = re.compile(rf"cluster\.([^.]+)\.{ACTIVE}")
_OUTCOMES = (_COMPLETED, _FAILED, _BUSY, _CLIENTS_FAULT, _ELSEWHERE, _TOLD_LATE)
_TRIES = (_SAVED, _DROPPED, _RETRIED, _UNANSWERED, _UNREACHED, _NOBODY)
_STATUSES = (*_NEITHER, *_FAULTS, *_REFUSALS)
_STATS = (*_OUTCOMES, _NEVER_WHOLE, _CUT, _TIMED_OUT, _RESET, *_TRIES, *_STATUSES)
COUNTED = "|".join(map(re.escape, _STATS))
_COMPARED = (names.GRPC_SUFFIX,)
_BESIDE = (names.ASIDE_SUFFIX, names.FEEDBACK_SUFFIX)
_SUFFIXES = (f"{names.GRPC_SUFFIX}{names.ASIDE_SUFFIX}", *_BESIDE, *_COMPARED)
_NAME = re.compile(rf"cluster\.([^.]+)\.({COUNTED})")
TIME = "upstream_rq_time"
_TIMED = re.compile(rf"cluster\.([^.]+)\.{TIME}")


def pattern(clusters: Collection[str] | None, stat: str, *, beside: bool = False) -> str:
    """What to filter statistics by: `stat` (a regular expression) of these clusters, or of all; with those
    `beside` them, of feedback and of requests that no weight divides.
    """
    names_ = "[^.]+" if clusters is None else f"({'|'.join(re.escape(name) for name in sorted(clusters))})"
    suffixes = _SUFFIXES if beside else _COMPARED
    return rf"^cluster\.{names_}({'|'.join(suffixes)})?\.({stat})$"


def counted(body: Any) -> dict[str, Counts] | None:
    """The counts in an answer of Envoy's `/stats?format=json`; None when it is no such answer."""
    stats = _listed(body)
    if stats is None:
        return None
    figures: dict[str, dict[str, int]] = {}
    for match, value in _valued(stats, _NAME):
        if match[1].endswith(_BESIDE):
            continue
        figures.setdefault(match[1], dict.fromkeys(_STATS, 0))[match[2]] = value
    found: dict[str, Counts] = {}
    for cluster, values in figures.items():
        revision = _revision(cluster)
        now = _grpc_counts(values) if cluster.endswith(names.GRPC_SUFFIX) else _counts(values)
        found[revision] = found.get(revision, Counts()) + now
    return found


def waiting(body: Any) -> dict[str, int] | None:
    """Requests under way by revision; None when it is no answer of Envoy's `/stats?format=json`."""
    stats = _listed(body)
    if stats is None:
        return None
    found: dict[str, int] = {}
    for match, value in _valued(stats, _UNDER_WAY):
        revision = _revision(match[1])
        found[revision] = found.get(revision, 0) + value
    return found


def timed(body: Any) -> dict[str, Histogram] | None:
    """The histograms in an answer of `/stats?format=json&histogram_buckets=cumulative`, all clusters of a
    revision together; None when it is no such answer."""
    stats = _listed(body)
    if stats is None:
        return None
    found: dict[str, Histogram] = {}
    given = (stat.get("histograms") or () for stat in stats)
    for one in chain.from_iterable(given):
        match = _TIMED.fullmatch(str(one.get("name", "")))
        if match:
            revision = _revision(match[1])
            found[revision] = found.get(revision, Histogram()) + _histogram(one["buckets"])
    return found


def _revision(cluster: str) -> str:
    """Whose cluster it is."""
    kind = next(filter(cluster.endswith, _SUFFIXES), "")
    return cluster.removesuffix(kind)


def _listed(body: Any) -> list[Json] | None:
    """What an answer of Envoy's `/stats?format=json` lists; None when it is no such answer."""
    if not isinstance(body, dict) or not isinstance(body.get("stats"), list):
        return None
    return [stat for stat in body["stats"] if isinstance(stat, dict)]


def _valued(stats: Iterable[Json], name: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int]]:
    """Statistics of such a name that count something, with their value."""
    for stat in stats:
        match = name.fullmatch(str(stat.get("name", "")))
        if match and isinstance(stat.get("value"), int):
            yield match, stat["value"]


def _histogram(buckets: Iterable[Json]) -> Histogram:
    rows = [(float(one["upper_bound"]), int(one["cumulative"])) for one in buckets]
    return Histogram(tuple(bound for bound, _ in rows), tuple(count for _, count in rows))


def _counts(values: dict[str, int]) -> Counts:
    """A request that the client gave up on is in none of Envoy's response counters: it shows as a connection
    to a pod that the router cut in mid-request without a time-out (one request a connection: HTTP/1.1). It
    does so, too, where a server did not wait any longer for the rest of a request (408).
    One that a pod dropped and another one answered is an error of the version too, though no client saw it.
    Envoy counts an answer that ends too soon as the 200 that it began with; when it does, it counts here once
    more, as an error: requests of its window may be others.
    """
    given_up = max(0, values[_CUT] - values[_TIMED_OUT] - values[_NEVER_WHOLE])
    dropped = min(values[_SAVED], values[_DROPPED])
    broken = _torn(values, values[_DROPPED]) + _unended(values)
    errors = values[_FAILED] + values[_BUSY] + given_up + dropped + broken
    return Counts(values[_COMPLETED] + given_up + broken, errors, _refused(values))


def _grpc_counts(values: dict[str, int]) -> Counts:
    """A call that fails is a 200 with a status behind it. What the router answers itself counts as both, so
    the larger number is that of all; a container may answer otherwise than with 200, too, and give no status.
    A 200 whose status nobody tells is no answer that is known, and counts for nothing: of a stream that goes
    on, of a copy, as routers look at none of what answers it, and of a server that knows no gRPC. A call that
    was given up is a stream that the router reset, as it does with those that a server ends before its
    client has: a model server does so with ABORTED.
    """
    given_up = max(0, values[_RESET] - values[_TIMED_OUT] - values[_ABORTED])
    faults = max(sum(values[name] for name in _FAULTS), values[_FAILED] + values[_BUSY])
    refused = max(sum(values[name] for name in _REFUSALS), _refused(values))
    broken = _torn(values, 0) + _unended(values)
    errors = faults + given_up + values[_SAVED] + broken
    told = sum(values[name] for name in (*_STATUSES, _FAILED, _BUSY)) + _refused(values)
    return Counts(min(values[_COMPLETED], told) + given_up + broken, errors, refused)


def _refused(values: dict[str, int]) -> int:
    """Whoever is sent elsewhere has no prediction either."""
    return max(0, values[_CLIENTS_FAULT] - values[_BUSY]) + values[_ELSEWHERE]


def _torn(values: dict[str, int], dropped: int) -> int:
    """Answers that began and were cut off by their pod. A try that ends before its answer begins (dropped by
    its pod, or without having reached one) is followed by another one or by a 503 of the router's; what more
    ended had begun. Where pods say 503 themselves these are fewer than there were. `dropped`: those that are
    not counted as unreached, which HTTP/2's are.
    """
    ended = dropped + values[_UNREACHED] + values[_NOBODY]
    return max(0, ended - values[_RETRIED] - values[_UNANSWERED])


def _unended(values: dict[str, int]) -> int:
    """Answers that began and timed out."""
    return max(0, values[_TIMED_OUT] - values[_TOLD_LATE])
