"""Counts from raw samples: which processes there were, what is added and taken away, what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from noria_operator.domain.promql_counts import (
    AT_ONCE,
    LOOKBACK,
    MOST_MOMENTS,
    Beginning,
    Term,
    plain,
    rows,
    samples,
    started,
    sums,
    terms,
    total,
)
from noria_operator.domain.promql_samples import (
    SAMPLES_AT_ONCE,
    Life,
    Moment,
    OtherProcesses,
    Process,
    WrongCounts,
    by_pod,
    joined,
    lives,
    packed,
    witnessed,
)

SINCE, UNTIL = 1000.0, 2000.0
OLD = SINCE - 10 * LOOKBACK


def told(pod: str, value: float, **labels: str) -> dict[str, Any]:
    return {"metric": {"pod": pod, **labels}, "value": [0, str(value)]}


def moment(at: float, **started: float) -> Moment:
    return Moment(at, tuple(Process(pod, value) for pod, value in started.items()))


def counted(place: str, *row: float, of: int | None = None) -> list[dict[str, Any]]:
    length = str(of or len(row))
    return [
        {"metric": {"place": place, "index": str(index), "of": length}, "value": [0, str(count)]}
        for index, count in enumerate(row)
        if count or not index
    ]


def test_names_are_escaped_wherever_they_stand() -> None:
    place = 'a"b', "c\\d"
    assert started(*place).endswith('{namespace="a\\"b",deployment="c\\\\d"}')
    assert sums("ns", "d", [moment(5, **{"p.1": 1, "p-2": 2})]).endswith('pod=~"p\\\\-2|p\\\\.1"})')
    assert samples("ns", "d", ["p"], seconds=1.5).endswith('pod=~"p"}[1500ms]')


@pytest.mark.parametrize(
    ("before", "after", "changed", "expected"),
    [
        ({"p": OLD}, {"p": OLD}, {"p": 0}, {"p"}),
        ({}, {"p": SINCE + 1}, {"p": 0}, {"p"}),
        ({}, {"p": SINCE - 5}, {"p": 0}, {"p"}),  # it began just before and was not scraped yet
        ({}, {"p": OLD}, {"p": 0}, set()),  # nobody knows what it had counted
        ({"p": OLD}, {"p": SINCE + 9}, {"p": 1}, set()),
        ({"p": OLD}, {"p": SINCE + 9}, {"p": 0}, set()),  # the old process was not scraped in the window
        ({"p": OLD}, {}, {"p": 0}, set()),
    ],
)
def test_a_pod_is_simple_where_one_process_was_there_all_the_time(
    before: dict[str, float], after: dict[str, float], changed: dict[str, float], expected: set[str]
) -> None:
    assert plain(Beginning(SINCE, before), after, changed).keys() == expected


def test_simple_pods_are_two_sums_whatever_their_number() -> None:
    before = Beginning(SINCE, {"a": OLD, "b": OLD})
    assert terms(before, {"a": OLD, "b": OLD, "new": SINCE + 1}, [], UNTIL) == [
        Term(-1, (moment(SINCE, a=OLD, b=OLD),)),
        Term(1, (moment(UNTIL, a=OLD, b=OLD, new=SINCE + 1),)),
    ]


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (Life("p", OLD, 1010, 1400), {(-1, SINCE), (1, 1400.0)}),
        (Life("p", 1450.0, 1460, 1700), {(1, 1700.0)}),
        (Life("p", OLD - 1, 1010, 1400), {(-1, 1010.0), (1, 1400.0)}),
    ],
)
def test_a_process_counts_from_the_beginning_or_its_own_or_else_from_its_first_sample(
    life: Life, expected: set[tuple[int, float]]
) -> None:
    found = terms(Beginning(SINCE, {"p": OLD}), {}, [life], UNTIL)
    assert {(one.sign, moment.at) for one in found for moment in one.moments} == expected


def test_a_young_process_that_was_scraped_before_the_window_is_counted_from_its_first_sample_in_it() -> None:
    """Its last scrape failed just when the window began; the window before has what came until then."""
    known, young = Beginning(SINCE, {}, {"p"}), SINCE - 100
    assert plain(known, {"p": young}, {"p": 0}) == {}
    lived = [Life("p", young, 1010, 1400), Life("p", 1450, 1460, 1700)]
    assert terms(known, {}, lived, UNTIL) == [
        Term(-1, (moment(1010, p=young),)),
        Term(1, (moment(1400, p=young),)),
        Term(1, (moment(1700, p=1450),)),
    ]


def test_samples_tell_of_each_process_in_turn() -> None:
    values = [[10, "5"], [20, "5"], [30, "25.5"], [40, "25.5"], [50, "45"]]
    assert lives([{"metric": {"pod": "p"}, "values": values}]) == [
        Life("p", 5, 10, 20),
        Life("p", 25.5, 30, 40),
        Life("p", 45, 50, 50),
    ]


def summed(*parts: tuple[int, Iterable[Any]]) -> dict[str, tuple[int, ...]]:
    return total([(sign, rows(vector)) for sign, vector in parts])


def test_rows_are_added_up_by_place_and_zeros_that_were_not_told_are_zeros() -> None:
    parts = [(1, counted("bins", 0, 7, 9, of=5)), (-1, counted("bins", 0, 7)), (1, counted("bins", 1, of=5))]
    assert summed(*parts) == {"bins": (1, 0, 9, 0, 0)}
    nothing = {"metric": {"place": "task/m-1/regression", "index": "0", "of": "0"}, "value": [0, "0"]}
    assert summed((1, [nothing]), (-1, [nothing])) == {"task/m-1/regression": ()}


def test_a_count_that_is_told_twice_counts_twice() -> None:
    """Servers of two releases, whose rows may differ in length."""
    assert rows([*counted("bins", 1, 2), *counted("bins", 0, 5, 7)]) == {"bins": (1, 7, 7)}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([(1, counted("bins", 1.5))], "no count"),
        (
            [(1, [{"metric": {"place": "b", "index": "0", "of": "1"}, "value": [0, "NaN"]}])],
            "NaN is no count",
        ),
        ([(1, [{"metric": {"place": "b", "index": "3", "of": "2"}, "value": [0, "1"]}])], "at 3 of 2"),
        ([(1, [{"metric": {"place": "b", "index": "0", "of": "99999999"}, "value": [0, "1"]}])], "0 of 9999"),
        ([(1, counted("bins", 3)), (-1, counted("bins", 4))], "counted less"),
    ],
)
def test_what_no_counter_can_say_is_refused(parts: list[tuple[int, Iterable[Any]]], why: str) -> None:
    with pytest.raises(WrongCounts, match=why):
        summed(*parts)


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        ([told("p", 1), told("p", 1)], "two series tell of pod p"),
        ([{"metric": {}, "value": [0, "1"]}], "no label pod"),
        ([told("p", float("inf"))], "inf is no count"),
    ],
)
def test_series_that_nobody_can_tell_apart_are_refused(vector: list[Any], why: str) -> None:
    with pytest.raises(WrongCounts, match=why):
        by_pod(vector)


def crashing(times: int, every: float = 5.0) -> list[Life]:
    return [Life("p", 1000 + every * n, 1001 + every * n, 1002 + every * n) for n in range(times)]


def test_many_restarts_are_few_questions_and_those_about_the_past_stay_the_same() -> None:
    """What was answered about the past is kept, so later moments must not change how it was asked."""
    known, until = Beginning(SINCE, {}), SINCE + 5 * 200
    first = terms(known, {}, crashing(190), until)
    assert len(first) <= 190 / AT_ONCE + 2
    assert sum(len(one.moments) for one in first) == 190
    later = terms(known, {}, crashing(400), until + 1000)
    settled = [one for one in first if one.newest < until - LOOKBACK and len(one.moments) == AT_ONCE]
    assert len(settled) > 5
    assert set(settled) <= set(later)


def test_a_question_about_several_moments_keeps_the_series_of_one_pod_apart() -> None:
    found = sums("ns", "d", [moment(5, p=1), moment(7.25, p=6), moment(9, q=1)])
    assert found.count('@ 5.000, "moment", "0", "", "")') == 2, "what was counted, and by which process"
    assert found.count('@ 7.250, "moment", "1", "", "")') == 2
    assert "@" not in sums("ns", "d", [moment(5, p=1)]), "asked as of then, which every source can"


def test_counts_are_taken_of_exactly_the_processes_that_were_asked_about() -> None:
    counts, both = counted("bins", 3), [told("p", OLD), told("q", 5)]
    assert witnessed([*counts, *both], [moment(9, p=OLD, q=5)]) == counts
    with pytest.raises(WrongCounts, match="what q had counted: is a store of it away"):
        witnessed([*counts, told("p", OLD)], [moment(9, p=OLD, q=5)])
    at = [told("p", 1, moment="0"), told("p", 1, moment="1"), told("q", 5, moment="1")]
    with pytest.raises(OtherProcesses, match="p are not of one process") as found:
        witnessed([*counts, *at], [moment(9, p=1), moment(10, p=2, q=5)])
    assert found.value.processes == {Process("p", 2)}


def test_pods_that_begin_anew_all_the_time_are_refused() -> None:
    terms(Beginning(SINCE, {}), {}, crashing(MOST_MOMENTS, 0.5), UNTIL)
    with pytest.raises(WrongCounts, match="too often"):
        terms(Beginning(SINCE, {}), {}, crashing(MOST_MOMENTS + 1, 0.5), UNTIL)


def test_lives_that_later_samples_go_on_with_are_one_each() -> None:
    known = [Life("p", 5, 10, 20), Life("q", 7, 10, 20)]
    later = [Life("p", 5, 20, 30), Life("p", 31, 32, 40)]
    assert joined(known, later) == [Life("p", 5, 10, 30), Life("q", 7, 10, 20), Life("p", 31, 32, 40)]


def test_pods_are_asked_about_in_groups_whose_samples_fit_into_one_answer() -> None:
    half = SAMPLES_AT_ONCE / 2
    samples_of = {"a": half, "b": half, "c": 1, "huge": 3 * half, "i": 1}
    assert list(packed(samples_of)) == [("a", "b"), ("c",), ("huge",), ("i",)]
