"""Counts from a Prometheus over real HTTP on loopback: never waited for, and a reason for each failure.

What a real one answers is in tests/integration/sources/test_prometheus_counts.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiohttp import web

from noria_operator.domain.metric_sources import Source
from noria_operator.evidence import prometheus_counts, prometheus_kept
from noria_operator.evidence.background import Look
from noria_operator.evidence.prometheus_counts import ANSWER_LIMIT, PrometheusCounts
from noria_operator.evidence.server import CounterReader

Json = dict[str, Any]
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = SINCE + timedelta(hours=1, milliseconds=300)
PLACE = ("shop", "late")
STARTED = SINCE.timestamp() - 5000


def pod(name: str = "a", ready_at: str = "2026-01-01T00:00:00Z") -> Json:
    return {
        "metadata": {"uid": name, "name": name, "namespace": "shop"},
        "spec": {"containers": [{"ports": [{"name": "counters"}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready_at}]},
    }


class Prometheus:
    """One pod `a`, which had counted 5 rows at the window's beginning and 12 at its end."""

    def __init__(self) -> None:
        self.forms: list[Json] = []
        self.headers: list[Any] = []
        self.change: Callable[[Json, str], Json] = lambda answer, query: answer

    def answer(self, query: str, at: float) -> Json:
        if "sum by" in query:
            counted = "5" if at < NOW.timestamp() - 60 else "12"
            labels = {"place": "predictions", "index": "0", "of": "1"}
        else:
            counted, labels = ("0" if "changes" in query else repr(STARTED)), {"pod": "a"}
        samples = [{"metric": labels, "value": [at, counted]}]
        if "sum by" in query:
            samples.append({"metric": {"pod": "a"}, "value": [at, repr(self.serves(at))]})
        return {"status": "success", "data": {"resultType": "vector", "result": samples}}

    def serves(self, at: float) -> float:
        """Since when the process counts that was there at a moment."""
        return STARTED

    async def __call__(self, request: web.Request) -> web.Response:
        form = cast(Json, dict(await request.post()))
        self.forms.append(form)
        self.headers.append(request.headers)
        return web.json_response(self.change(self.answer(form["query"], float(form["time"])), form["query"]))


@asynccontextmanager
async def running(served: Prometheus, **more: Any) -> AsyncIterator[PrometheusCounts]:
    application = web.Application()
    application.router.add_post("/api/v1/query", served.__call__)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source = Source("prom", f"http://127.0.0.1:{runner.addresses[0][1]}", **more)
    counts = PrometheusCounts(source, cast(CounterReader, None), lambda: NOW)
    try:
        yield counts
    finally:
        await counts.close()
        await runner.cleanup()


async def read(counts: PrometheusCounts, *pods: Json) -> int | str:
    """The rows that were predicted, or why nobody knows."""
    assert await counts.complete(*PLACE, pods, since=SINCE) is None, "no pass waits"
    await counts.settled()
    found = await counts.complete(*PLACE, pods, since=SINCE)
    if found is None:
        return counts.problem(*PLACE, SINCE)
    assert found.until == NOW.replace(microsecond=0), "the next window begins there"
    return found.number("predictions")


async def test_a_window_is_what_was_counted_between_two_moments_a_delay_ago(tmp_path: Path) -> None:
    served, token = Prometheus(), tmp_path / "token"
    token.write_text("secret\n")
    async with running(served, tenant="shop", token_file=token, delay=timedelta(seconds=20)) as counts:
        assert await read(counts, pod()) == 7
    times = {float(form["time"]) for form in served.forms}
    assert times == {SINCE.timestamp() - 20, NOW.replace(microsecond=0).timestamp() - 20}
    for name, wanted in (("partial_response", "false"), ("dedup", "true"), ("max_source_resolution", "0s")):
        assert {form[name] for form in served.forms} == {wanted}
    assert {form["lookback_delta"] for form in served.forms} == {"300s"}, "of which the rules make use"
    assert {(one["X-Scope-OrgID"], one["Authorization"]) for one in served.headers} == {
        ("shop", "Bearer secret")
    }


async def test_what_was_counted_before_the_window_is_asked_for_once() -> None:
    served = Prometheus()
    async with running(served, interval=timedelta()) as counts:
        for _ in range(3):
            await counts.complete(*PLACE, [pod()], since=SINCE)
            await counts.settled()
    sums = [float(form["time"]) for form in served.forms if "sum by" in form["query"]]
    assert sums.count(SINCE.timestamp() - 30) == 1


async def test_a_window_is_asked_for_while_it_is_open_where_somebody_looks_into_it() -> None:
    served = Prometheus()
    async with running(served, interval=timedelta()) as counts:
        await counts.keep(*PLACE, [pod()], since=[SINCE])
        await counts.settled()
        assert served.forms == []
        await counts.keep(*PLACE, [pod()], asked=[SINCE])
        await counts.settled()
        assert served.forms != []


class Restarted(Prometheus):
    """Pod `a` began anew a minute before the window's end, and goes on."""

    def answer(self, query: str, at: float) -> Json:
        answer = super().answer(query, at)
        ended, sample = NOW.timestamp(), answer["data"]["result"][0]
        if "changes" in query:
            sample["value"][1] = "1"
        elif "ms]" in query:
            values = [[ended - 3000, repr(STARTED)], [ended - 90, repr(STARTED)], [at, repr(ended - 60)]]
            answer["data"] = {
                "resultType": "matrix",
                "result": [{"metric": {"pod": "a"}, "values": values}],
            }
        elif "sum by" not in query and at > ended - 60:
            sample["value"][1] = repr(ended - 60)
        return answer

    def serves(self, at: float) -> float:
        return NOW.timestamp() - 60 if at > NOW.timestamp() - 60 else STARTED


async def test_what_a_process_that_goes_on_had_counted_is_not_kept() -> None:
    """It is another moment each time that somebody asks: kept, these fill the memory of an operator."""
    now = [NOW]
    async with running(Restarted(), interval=timedelta()) as counts:
        counts._now = lambda: now[0]
        for _ in range(4):
            now[0] += timedelta(seconds=15)
            await counts.complete(*PLACE, [pod()], since=SINCE)
            await counts.settled()
            assert not counts.problem(*PLACE, SINCE)
    assert {at for _, (_, at) in counts._kept._answers} == {SINCE.timestamp() - 30}


def whole(answer: Json, _: str) -> Json:
    return answer


def no_samples(answer: Json, query: str) -> Json:
    return refused(answer, query) if query.endswith("ms]") else answer


def lengths(served: Prometheus) -> list[int]:
    """Milliseconds of samples that were asked for, question by question."""
    asked = [form["query"].rpartition("[")[2] for form in served.forms if "ms]" in form["query"]]
    return [int(text.partition("ms]")[0]) for text in asked if text.endswith("ms]")]


async def test_samples_of_processes_are_read_once() -> None:
    now, served = [NOW], Restarted()
    async with running(served, interval=timedelta()) as counts:
        counts._now = lambda: now[0]
        for _ in range(3):
            now[0] += timedelta(seconds=15)
            await counts.complete(*PLACE, [pod()], since=SINCE)
            await counts.settled()
    assert lengths(served) == [3_615_000, 15_000, 15_000]


async def test_what_samples_told_outlasts_a_question_that_fails() -> None:
    now, served = [NOW], Restarted()
    async with running(served, interval=timedelta()) as counts:
        counts._now = lambda: now[0]
        for change in (whole, no_samples, whole):
            now[0] += timedelta(seconds=15)
            served.change = change
            await counts.complete(*PLACE, [pod()], since=SINCE)
            await counts.settled()
        assert not counts.problem(*PLACE, SINCE)
    assert lengths(served) == [3_615_000, 15_000, 30_000]


async def test_answers_that_take_too_long_together_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_counts, "LONGEST_LOOK", 0.0)
    async with running(Prometheus()) as counts:
        assert "took more than" in str(await read(counts, pod()))


async def test_sums_that_are_kept_are_bounded_in_counts_and_go_with_their_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prometheus_kept, "MAX_NUMBERS", 2)
    async with running(Prometheus(), interval=timedelta()) as counts:
        for hour in range(4):
            await counts.complete(*PLACE, [pod()], since=SINCE - timedelta(hours=hour))
            await counts.settled()
        assert len(counts._kept) == counts._kept.numbers == 2
        counts._servers = cast(CounterReader, Mock())
        counts.forget(*PLACE)
        assert len(counts._kept) == counts._kept.numbers == 0


def partial(answer: Json, _: str) -> Json:
    return answer | {"warnings": ["a store is away"]}


def scalar(answer: Json, _: str) -> Json:
    return answer | {"data": {"resultType": "scalar", "result": [0, "7"]}}


def strange(answer: Json, _: str) -> Json:
    return answer | {"data": {"resultType": "vector", "result": [{"metric": {"pod": "a"}}]}}


def refused(answer: Json, _: str) -> Json:
    return {"status": "error", "error": "query processing would load too many samples"}


def fewer(answer: Json, query: str) -> Json:
    if "sum by" in query and answer["data"]["result"][0]["value"][1] == "12":
        answer["data"]["result"][0]["value"][1] = "4"
    return answer


def not_a_number(answer: Json, query: str) -> Json:
    answer["data"]["result"][0]["value"][1] = "NaN"
    return answer


def endless(answer: Json, _: str) -> Json:
    return answer | {"infos": ["x" * ANSWER_LIMIT]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (partial, "not whole: a store is away"),
        (scalar, "a result of type scalar"),
        (strange, "not understood: KeyError"),
        (refused, "too many samples"),
        (fewer, "predictions counted less at the end"),
        (not_a_number, "NaN is no count"),
        (endless, "more than"),
    ],
)
async def test_an_answer_that_counts_cannot_be_taken_from_is_a_problem(
    change: Callable[[Json, str], Json], why: str
) -> None:
    served = Prometheus()
    served.change = change
    async with running(served) as counts:
        assert why in str(await read(counts, pod()))


async def test_a_ready_pod_without_samples_is_a_problem_unless_it_became_ready_just_now() -> None:
    async with running(Prometheus()) as counts:
        assert "no samples of b: does it scrape /metrics/counts" in str(await read(counts, pod(), pod("b")))
    for ready_at in ("2026-01-01T00:59:50Z", "2026-01-01T00:58:30Z"):
        async with running(Prometheus()) as counts:
            assert await read(counts, pod(), pod("b", ready_at)) == 7, "it may not have been scraped yet"


async def test_a_token_or_an_authority_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "two lines").write_text("a\nb")
    (tmp_path / "no authority").write_text("x")
    for more, why in (
        ({"token_file": tmp_path / "gone"}, "token cannot be read: FileNotFoundError"),
        ({"token_file": tmp_path / "two lines"}, "no bearer token"),
        ({"ca_file": tmp_path / "gone"}, "authority cannot be read: FileNotFoundError"),
        ({"ca_file": tmp_path / "no authority"}, "authority cannot be read: SSLError"),
    ):
        async with running(Prometheus(), **more) as counts:
            assert why in str(await read(counts, pod()))


class Away(Prometheus):
    """It has scraped since half an hour after the window began."""

    def answer(self, query: str, at: float) -> Json:
        answer, begun = super().answer(query, at), SINCE.timestamp() + 1800
        if at < begun:
            answer["data"]["result"] = []
        elif "ms]" in query and "changes" not in query:
            values = [[begun, repr(STARTED)], [at, repr(STARTED)]]
            answer["data"] = {"resultType": "matrix", "result": [{"metric": {"pod": "a"}, "values": values}]}
        return answer


@pytest.mark.parametrize(("served", "known"), [(Prometheus(), True), (Restarted(), True), (Away(), False)])
async def test_a_window_of_which_the_beginning_was_not_scraped_is_known_in_part(
    served: Prometheus, *, known: bool
) -> None:
    """What came before is no row less than usual: nothing is said of volume and freshness then."""
    async with running(served) as counts:
        assert isinstance(await read(counts, pod()), int)
        found = await counts.complete(*PLACE, [pod()], since=SINCE)
        assert found is not None and found.whole is known


class Shared(Prometheus):
    """Two stores, of which one knows a pod `b` that was there in the window and went."""

    away = False

    def answer(self, query: str, at: float) -> Json:
        answer = super().answer(query, at)
        if "changes" in query:
            if not self.away:
                answer["data"]["result"].append({"metric": {"pod": "b"}, "value": [at, "0"]})
        elif "ms]" in query:
            values = [[at - 2000, repr(STARTED)], [at - 1000, repr(STARTED)]]
            answer["data"] = {"resultType": "matrix", "result": [{"metric": {"pod": "b"}, "values": values}]}
        elif "sum by" in query:
            answer["data"]["result"].append({"metric": {"pod": "b"}, "value": [at, repr(STARTED)]})
        return answer


async def test_a_pod_that_was_told_of_and_is_no_more_is_a_problem_until_it_is_again() -> None:
    """A querier over several stores says nothing of one that is away."""
    served = Shared()
    async with running(served, interval=timedelta()) as counts:
        for served.away in (False, True, False):
            await counts.complete(*PLACE, [pod()], since=SINCE)
            await counts.settled()
            assert ("no longer tells of b" in counts.problem(*PLACE, SINCE)) is served.away
        counts._servers = cast(CounterReader, Mock())
        counts.forget(*PLACE)
        served.away = True
        await counts.complete(*PLACE, [pod()], since=SINCE)
        await counts.settled()
        assert counts.problem(*PLACE, SINCE) == ""


class Replicas(Restarted):
    """Two that scrape at different times: one has seen the process that began anew, the other has not yet,
    and answers about the moment are of what was there before.
    """

    def answer(self, query: str, at: float) -> Json:
        answer = super().answer(query, at)
        if "sum by" in query:
            answer["data"]["result"][0]["value"][1] = "5" if at < SINCE.timestamp() else "12"
        return answer

    def serves(self, at: float) -> float:
        return STARTED


async def test_what_replicas_tell_differently_is_left_out_and_not_counted_twice() -> None:
    async with running(Replicas()) as counts:
        assert await read(counts, pod()) == 7, "what the process that was there before had counted"


async def test_pods_that_an_answer_leaves_out_are_a_problem() -> None:
    served = Prometheus()

    def less(answer: Json, query: str) -> Json:
        if "sum by" in query:
            answer["data"]["result"].pop()
        return answer

    served.change = less
    async with running(served) as counts:
        assert "does not tell what a had counted" in str(await read(counts, pod()))


# -- windows of earlier weeks ------------------------------------------------------------------------------

WEEKS = [(SINCE - timedelta(weeks=n), SINCE - timedelta(weeks=n) + timedelta(hours=1)) for n in range(1, 5)]


class Remembers(Prometheus):
    """Two weeks, each with ten rows in its first hour; of the time before, nothing."""

    def answer(self, query: str, at: float) -> Json:
        answer = super().answer(query, at)
        if at < WEEKS[1][0].timestamp() - 60:
            answer["data"]["result"] = []
        elif "sum by" in query:
            ended = sum(end.timestamp() - 60 <= at for _, end in WEEKS)
            answer["data"]["result"][0]["value"][1] = str(10 * ended)
        elif "changes" not in query:
            answer["data"]["result"][0]["value"][1] = repr(self.serves(at))
        return answer

    def serves(self, at: float) -> float:
        return WEEKS[3][0].timestamp() - 5000


async def look_back(counts: PrometheusCounts, windows: Any = WEEKS, asker: str = "season") -> Any:
    await counts.earlier(*PLACE, windows=windows, asker=asker)
    await counts.settled()
    return await counts.earlier(*PLACE, windows=windows, asker=asker)


async def test_earlier_weeks_are_asked_for_once_and_those_that_are_forgotten_are_empty() -> None:
    served = Remembers()
    async with running(served, interval=timedelta()) as counts:
        assert await counts.earlier(*PLACE, windows=WEEKS, asker="season") == Look(), "no pass waits"
        told = await look_back(counts)
        asked = len(served.forms)
        longer = [(begin, end + timedelta(seconds=15)) for begin, end in WEEKS]
        assert await look_back(counts, longer) == told, "the window went on while nothing was known"
    assert [one.number("predictions") for one in told.found] == [10, 10, 0, 0]
    assert [one.until for one in told.found] == [end for _, end in WEEKS]
    assert (told.problem, len(served.forms)) == ("", asked)


async def test_triggers_whose_windows_began_together_are_told_of_their_own_weeks() -> None:
    """One of another length, one of another time zone: of the same moment, and of the same length."""
    longer = [(begin, end + timedelta(hours=23)) for begin, end in WEEKS]
    moved = [(begin + timedelta(hours=1), end + timedelta(hours=1)) for begin, end in WEEKS]
    async with running(Remembers()) as counts:
        for asker, windows in (("hour", WEEKS), ("day", longer), ("hour", moved)):
            told = await look_back(counts, windows, asker)
            assert [one.until for one in told.found] == [end for _, end in windows]


async def test_weeks_that_follow_each_other_and_looks_that_failed_ask_nothing_twice() -> None:
    served = Remembers()
    async with running(served, interval=timedelta()) as counts:
        served.change = lambda answer, query: (
            refused(answer, query) if "sum by" in query and len(served.forms) > 9 else answer
        )
        assert "too many samples" in (await look_back(counts)).problem
        served.change = whole
        await counts.settled()
        assert len((await look_back(counts)).found) == 4
        next_ones = [(end, end + timedelta(hours=1)) for _, end in WEEKS]
        assert len((await look_back(counts, next_ones)).found) == 4
    told = [
        (form["query"], form["time"])
        for form in served.forms
        if served.answer(form["query"], float(form["time"]))["data"]["result"]
    ]
    assert len(told) == len(set(told)) + 1, "once more alone what was refused"


async def test_a_source_that_does_not_answer_is_a_problem_and_no_week_without_rows() -> None:
    served = Remembers()
    served.change = lambda answer, query: {"status": "error", "error": "out of memory"}
    async with running(served, interval=timedelta()) as counts:
        told = await look_back(counts)
        assert told.found is None and "out of memory" in told.problem
        assert counts.problem(*PLACE, SINCE) == "", "the window itself can be read"
        served.change = lambda answer, query: answer
        await counts.settled()
        told = await look_back(counts)
        assert (len(told.found), told.problem) == (4, "")


async def test_a_week_that_cannot_be_read_is_left_out() -> None:
    served = Remembers()

    def twice(answer: Json, query: str) -> Json:
        at = answer["data"]["result"] and answer["data"]["result"][0]["value"][0]
        strange = "sum by" not in query and at and at < SINCE.timestamp() - 8 * 86400
        return (
            answer | {"data": answer["data"] | {"result": answer["data"]["result"] * 2}}
            if strange
            else answer
        )

    served.change = twice
    async with running(served) as counts:
        assert [one.number("predictions") for one in (await look_back(counts)).found] == [10, 0, 0]
