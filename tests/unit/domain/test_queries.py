"""Custom queries: conditions, Argo's limits without its quirks, and what each kind of result counts as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import inf, nan

import pytest
from tests.unit.domain.rollout_world import START, World, canary, revision, seconds

from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.domain.analysis import Said
from noria_operator.domain.queries import (
    Answer,
    Asked,
    Measured,
    Outcome,
    QueryPolicy,
    due,
    further,
    judge,
    measure,
    problem,
)
from noria_operator.domain.query_conditions import InvalidCondition, Result, holds
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.verdict import Verdict

NEW = revision(2).name
BELOW = "result[0] < 0.05"
ABOVE = "result[0] > 0.1"


# -- conditions


@pytest.mark.parametrize(
    ("condition", "result", "expected"),
    [
        (BELOW, (0.01,), True),
        (BELOW, (0.05,), False),
        ("result < 1 and not result > 0.5", 0.7, False),
        ("result[0] < 1 && result[1] < 1 || len(result) == 2", (2.0, 2.0), True),
        ("max(result) - min(result) <= abs(-0.5) * 2", (1.0, 2.0), True),
        ("0 <= result <= 1", 0.5, True),
        ("sum(result) / len(result) != 3", (1.0, 2.0), True),
        ("!(result[0] > 0.1) && +result[0] != 1", (0.05,), True),
        ("!isNaN(result[0]) && !isInf(result[0]) && asFloat(result[0]) < 1", (0.05,), True),
        ("!(result[0] < 1) == (result[0] < 1)", (0.5,), False),
        ("default(result, 0) < 0.05", 0.04, True),
        ("result[0] in [200, 204]", (204.0,), True),
        ("result[0] not in [200, 204] or 3 in result", (204.0,), False),
        ("204 in result", (204.0,), True),
        ("result[0] % 2 == -1", (-3.0,), True),
        ("max(result) < 1 and min(result) > 0 and len(result) == 1", (nan, 0.5), True),
        ("sum(result) == 0.5 || max(1, 2) == 2", (0.5, inf), True),
    ],
)
def test_a_condition_is_true_or_false(condition: str, result: Result, expected: bool) -> None:
    assert problem(QueryPolicy("q", "t", success=condition)) == ""
    assert holds(condition, result) is expected


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('true')",
        "result.__class__",
        "result.clear()",
        "(lambda: 1)()",
        "[x for x in result]",
        "9 ** 9 ** 9",
        "'a' * 100000",
        "open('/etc/passwd')",
        "rand() < 1",
        "f'{result}' == ''",
        "result if result else 1",
        "result = 1",
        "value < 1",
        "list(result) == [1]",
        "'%s' % result == ''",
        "[1] * 10 ** 9 == 1",
        "result[0] ?? 1",
        "result[0] < 1 ? true : false",
        "{'a': 1}['a'] == 1",
        "result[0:1] == 1",
        "result[0",
        " ",
        "(" * 200 + ")" * 200,
    ],
)
def test_nothing_but_a_condition_can_be_said(condition: str) -> None:
    """It is refused before it is asked, and again when it is evaluated."""
    assert problem(QueryPolicy("q", "t", failure=condition)) != ""
    with pytest.raises(InvalidCondition):
        holds(condition, (1.0,))


@pytest.mark.parametrize(
    ("condition", "result", "message"),
    [
        ("result < 1", (1.0,), "write result[0]"),
        ("result[0] < 1", 1.0, "write result"),
        ("result[3] < 1", (1.0,), "index"),
        ("result[0] + 1", (1.0,), "neither true nor false"),
        ("1 / result[0] > 1", (0.0,), "division"),
        ("(result * 1)[0] < 1", (nan, 0.0), "write result[0]"),
        ("[1] * 1000000000 == 1", (0.0,), "that long"),
        ("!result[0]", (0.0,), "neither true nor false"),
        ("1 % result[0] > 1", (0.0,), "math domain"),
    ],
)
def test_a_condition_that_does_not_fit_the_result_says_why(
    condition: str, result: Result, message: str
) -> None:
    with pytest.raises(InvalidCondition) as error:
        holds(condition, result)
    assert message in str(error.value)


# -- measurements


def measured(policy: QueryPolicy, *results: Result | str) -> Measured:
    """Answers ten seconds apart; a string is an error."""
    found = Measured()
    for index, result in enumerate(results, 1):
        at = START + seconds(10 * index)
        answer = Answer(at, error=result) if isinstance(result, str) else Answer(at, result)
        found = measure(policy, found, Asked("q", answer), START)
    return found


def verdict(policy: QueryPolicy, *results: Result | str) -> Verdict:
    return judge(policy, measured(policy, *results), Asked("q")).verdict


ONCE = QueryPolicy("q", "t", success=BELOW)
EVERY = QueryPolicy("q", "t", success=BELOW, interval=seconds(30), count=3)
BOTH = QueryPolicy("q", "t", success=BELOW, failure=ABOVE, interval=seconds(30), count=3)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ((0.01,), Outcome.SUCCESSFUL),
        ((0.2,), Outcome.FAILED),
        ((), Outcome.NO_DATA),
        ((nan,), Outcome.NO_DATA),
        ((0.01, nan), Outcome.NO_DATA),
        ((inf,), Outcome.NO_DATA),
        ((-inf,), Outcome.NO_DATA),
        (nan, Outcome.NO_DATA),
        (0.01, Outcome.ERROR),
        ("a result of type string", Outcome.ERROR),
    ],
)
def test_case_30_every_kind_of_result_has_a_defined_outcome(result: Result | str, outcome: Outcome) -> None:
    """NaN promoted in Flagger (#1098) and failed in Argo; here no data is no evidence."""
    assert measured(ONCE, result).last is outcome
    expected = {Outcome.SUCCESSFUL: Verdict.PASS, Outcome.FAILED: Verdict.FAIL}.get(outcome, Verdict.HOLD)
    assert verdict(ONCE, result) is expected


HIGH, ALL_LOW = "max(result) > 0.1", "max(result) < 0.05"


@pytest.mark.parametrize(
    ("policy", "result", "outcome"),
    [
        (QueryPolicy("q", "t", failure=HIGH), (0.9, nan), Outcome.FAILED),
        (QueryPolicy("q", "t", failure=HIGH), (nan, 0.9), Outcome.FAILED),
        (QueryPolicy("q", "t", success=ALL_LOW), (nan, 0.9), Outcome.FAILED),
        (QueryPolicy("q", "t", success=BELOW), (0.9, inf), Outcome.FAILED),
        (QueryPolicy("q", "t", success=BELOW), (nan, 0.9), Outcome.NO_DATA),
        (QueryPolicy("q", "t", failure=ABOVE), (nan, 0.9), Outcome.NO_DATA),
        (QueryPolicy("q", "t", failure="!(result[0] < 0.05)"), (nan, 0.9), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success="!(result[0] > 0.1)"), (nan, 0.0), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success="isNaN(result[0]) || result[0] < 0.05"), (nan,), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success="isNaN(result[0]) || result[0] < 0.05"), (nan, 0.0), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success="result[1] < 0.05 || result[0] < 0.05"), (nan, 0.0), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success=ALL_LOW, failure=HIGH), (0.07, nan), Outcome.NO_DATA),
        (QueryPolicy("q", "t", success="3 in result"), (nan, 3.0), Outcome.NO_DATA),
        (QueryPolicy("q", "t", failure=HIGH), (0.0, nan), Outcome.NO_DATA),
    ],
)
def test_case_30_a_bad_series_fails_beside_one_without_data_which_never_passes(
    policy: QueryPolicy, result: Result, outcome: Outcome
) -> None:
    assert measured(policy, result).last is outcome


@pytest.mark.parametrize(
    ("policy", "results", "expected"),
    [
        (EVERY, (), Verdict.HOLD),
        (EVERY, [(0.0,)] * 2, Verdict.HOLD),
        (EVERY, [(0.0,)] * 3, Verdict.PASS),
        (EVERY, [(0.2,)], Verdict.FAIL),
        (QueryPolicy("q", "t", success=BELOW, interval=seconds(30)), [(0.0,)], Verdict.PASS),
        (QueryPolicy("q", "t", failure=ABOVE), [(0.1,)], Verdict.PASS),
        (QueryPolicy("q", "t", failure=ABOVE), [(0.11,)], Verdict.FAIL),
        (BOTH, [(0.07,)], Verdict.HOLD),
        (BOTH, [(0.07,), (0.0,), (0.0,), (0.0,)], Verdict.HOLD),
        (BOTH, [(0.2,), (0.07,)], Verdict.FAIL),
    ],
)
def test_limits_and_counts_mean_what_they_mean_in_argo(
    policy: QueryPolicy, results: list[Result], expected: Verdict
) -> None:
    """Without a measurement nothing is a success (case 28), and Inconclusive never hides Failed (case 31)."""
    assert verdict(policy, *results) is expected


def test_a_limit_is_what_is_borne() -> None:
    lenient = QueryPolicy("q", "t", success=BELOW, interval=seconds(30), count=4, failure_limit=1)
    assert verdict(lenient, (0.2,), (0.0,), (0.0,), (0.0,)) is Verdict.PASS
    assert verdict(lenient, (0.2,), (0.0,), (0.2,)) is Verdict.FAIL


def test_a_source_that_is_away_holds_and_goes_on_when_it_is_back() -> None:
    """Argo aborts after five errors in a row; here nobody is to blame for an outage of the monitoring."""
    away = ["away"] * 4
    assert verdict(EVERY, *away) is Verdict.HOLD
    assert verdict(EVERY, *away, "away") is Verdict.ERROR
    assert verdict(EVERY, *away, "away", (0.0,)) is Verdict.HOLD
    assert verdict(EVERY, *away, "away", (0.0,), (0.0,), (0.0,)) is Verdict.PASS


def test_a_fail_stays_whatever_comes_later() -> None:
    assert verdict(EVERY, (0.2,), (0.0,), (0.0,), (0.0,)) is Verdict.FAIL
    assert measured(EVERY, (0.2,), (0.0,)).taken == 1


def test_an_answer_counts_once_and_not_for_what_was_before_it() -> None:
    answer = Asked("q", Answer(START + seconds(10), (0.0,)))
    once = measure(EVERY, Measured(), answer, START)
    assert measure(EVERY, once, answer, START) == once
    assert measure(EVERY, Measured(), answer, START + seconds(11)) == Measured()


def test_when_to_ask_again() -> None:
    delayed = QueryPolicy("q", "t", success=BELOW, interval=seconds(30), initial_delay=seconds(60))
    assert due(delayed, Measured(), START) == START + seconds(60)
    assert due(EVERY, measured(EVERY, (0.0,)), START) == START + seconds(40)
    assert due(EVERY, measured(EVERY, "away"), START) == START + seconds(20), "an error is asked again soon"
    quick = QueryPolicy("q", "t", success=BELOW, interval=seconds(2))
    assert due(quick, measured(quick, ()), START) == START + seconds(12)
    assert due(ONCE, measured(ONCE, (nan,)), START) == START + seconds(20)
    assert due(ONCE, measured(ONCE, (0.0,)), START) is None
    assert due(EVERY, measured(EVERY, (0.2,)), START) is None


def test_a_query_that_cannot_be_asked_is_an_error() -> None:
    """Case 45: an unknown name is no pass."""
    judgement = judge(EVERY, Measured(), Asked(problem="there is no query template t"))
    assert (judgement.verdict, judgement.message) == (Verdict.ERROR, "there is no query template t")


# -- in a rollout


def judged(world: World) -> Said:
    assert world.state.analysis is not None
    return world.state.analysis.said[-1]


def answered(world: World, value: float) -> None:
    world.queries = {"q": Asked('late{v="m-2"}', Answer(world.now, (value,)))}
    world.reconcile()


def rollout() -> World:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, timedelta(hours=1)),), queries=(EVERY,)))
    world.settle()
    world.pass_time(seconds(1))
    return world


def test_a_failed_measurement_aborts_with_its_value_and_a_good_one_is_kept() -> None:
    world = rollout()
    answered(world, 0.01)
    kept = world.state
    assert judged(world).figures["successful"] == "1"
    assert judged(world).query == 'late{v="m-2"}'
    world.reconcile()
    assert world.state == kept, "the same answer writes nothing"
    world.pass_time(seconds(30))
    answered(world, 0.3)
    assert world.state.weight(NEW) == 0
    assert world.plan is not None
    assert [note.cause for note in world.plan.events] == ["query"], "the name of a query is its user's"
    said = 'query q: 1 measurements failed, failureLimit 0; last: 0.3; asked: late{v="m-2"}'
    assert said in world.state.rejected[0].reason
    assert said in world.state.history[-1].message, "and the Event says it, too"


def test_a_decision_tells_a_long_query_by_its_beginning() -> None:
    found = judge(ONCE, measured(ONCE, (0.3,)), Asked("up " * 200))
    assert found.message.endswith("…")
    assert len(found.message) < 400
    assert found.query == "up " * 200
    undecided = judge(EVERY, measured(EVERY, (0.0,)), Asked("up"))
    assert "asked" not in undecided.message


def test_nothing_is_promoted_before_its_queries_pass() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, seconds(1)),), queries=(EVERY,)))
    world.run(5, requests=2000)
    assert world.state.candidate is not None
    for _ in range(3):
        world.pass_time(seconds(30))
        answered(world, 0.0)
    world.settle()
    assert world.state.stable == revision(2)


GATES = (
    PolicyStep(5, gate=True),
    PolicyStep(50, gate=True),
    PolicyStep(gate=True),
    PolicyStep(60, timedelta(hours=1)),
)


def gated(query: QueryPolicy = ONCE) -> World:
    """A rollout whose first gate was passed by the answers that it takes, the last one of now."""
    world = canary(Policy(replicas=2, steps=GATES, queries=(query,), counted=False))
    for _ in range(query.count or 1):
        world.pass_time(seconds(10))
        answered(world, 0.0)
        world.settle()
    return world


def gate(world: World) -> tuple[int, int]:
    assert world.state.step is not None
    return world.state.step.index, world.state.weight(NEW)


def test_a_query_that_ends_is_measured_anew_in_each_step_with_analysis() -> None:
    """As Argo does; what was good at weight 5 says nothing of weight 50."""
    world = gated()
    for reached in ((1, 50), (2, 50)):
        for _ in range(3):
            assert gate(world) == reached
            assert judged(world).verdict is Verdict.HOLD
            world.pass_time(seconds(10))
            world.settle()
        answered(world, 0.0)
        world.settle()
    assert gate(world) == (3, 60)
    assert judged(world).verdict is Verdict.PASS


def test_a_query_that_was_good_may_fail_at_the_next_step_with_analysis() -> None:
    world = gated()
    world.pass_time(seconds(1))
    answered(world, 0.3)
    assert world.state.is_rejected(revision(2))


def test_a_break_of_a_step_with_analysis_begins_no_query_anew() -> None:
    world = gated(QueryPolicy("q", "t", success=BELOW, interval=seconds(10), count=3))
    for lost in (False, True, False):
        assert gate(world) == (1, 50)
        if lost:
            world.lose_pods(NEW)
            world.reconcile()
            world.routers_follow()
        world.pass_time(seconds(10))
        answered(world, 0.0)
        world.settle()
    assert gate(world) == (2, 50)


SLOW = QueryPolicy("q", "t", success=BELOW, interval=seconds(60), count=5, failure_limit=1)


def climbing(
    answer: Callable[[int], float], query: QueryPolicy = SLOW
) -> tuple[World, list[tuple[datetime, int]]]:
    """A ramp with analysis, up to its weight or the end, and when and at what weights its query was asked."""
    ramp = PolicyStep(80, ramp_from=5, gate=True)
    world = canary(Policy(replicas=10, steps=(ramp, PolicyStep(90, timedelta(hours=1))), queries=(query,)))
    times: list[tuple[datetime, int]] = []
    for _ in range(40):
        analysis = world.state.analysis
        if world.state.candidate is None or world.state.weight(NEW) == 80:
            break
        assert analysis is not None
        assert analysis.since is not None
        asked = due(query, analysis.queries.get("q", Measured()), analysis.since)
        world.send(100)
        world.pass_time(seconds(10))
        if asked is not None and asked <= world.now:
            weight = world.state.weight(NEW)
            times += [(world.now, weight)]
            answered(world, answer(weight))
        world.settle()
    return world, times


def test_a_ramp_with_analysis_forgets_no_answer_as_it_climbs() -> None:
    world, times = climbing(lambda _: 0.3)
    assert world.state.is_rejected(revision(2))
    assert [at - times[0][0] for at, _ in times] == [timedelta(), seconds(60)]


@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize(
    "query",
    [ONCE, QueryPolicy("q", "t", success=BELOW, interval=seconds(10), count=3)],
    ids=["once", "thrice"],
)
def test_a_query_that_ended_is_asked_again_at_each_climb_of_a_ramp_with_analysis(
    query: QueryPolicy, limit: int
) -> None:
    """What fails above weight 10 alone is found long before the top, and no failure is forgotten."""
    query = replace(query, failure_limit=limit)
    world, times = climbing(lambda weight: 0.3 if weight > 10 else 0.0, query)
    assert world.state.is_rejected(revision(2))
    weights = [weight for _, weight in times]
    assert sum(weight > 10 for weight in weights) == limit + 1
    assert weights[-1] < 40
    gaps = [later[0] - one[0] for one, later in pairwise(times)]
    assert min(gaps) >= seconds(10)


def test_a_query_that_ended_tells_at_a_climb_how_many_good_answers_this_weight_has() -> None:
    lenient = QueryPolicy("q", "t", success=BELOW, interval=seconds(10), count=2, failure_limit=1)
    (known,) = further([lenient], {"q": measured(lenient, (0.2,), (0.0,))}).values()
    assert judge(lenient, known, Asked()).message == "0 of 2 measurements; last: 0"
    assert due(lenient, known, START) == START + seconds(30), "its interval holds"
    under_way = {"q": measured(lenient, (0.0,))}
    assert further([lenient], under_way) == under_way
    for_good = {"q": measured(lenient, (0.2,), (0.2,))}
    assert further([lenient], for_good) == for_good


def test_a_query_of_a_ramp_with_analysis_is_measured_anew_at_its_weight() -> None:
    world, times = climbing(lambda _: 0.0)
    assert gate(world) == (0, 80)
    assert 1 < len(times) < 5
    assert world.state.analysis is not None
    assert world.state.analysis.queries["q"] == Measured(since=world.now)


def test_a_query_without_an_end_goes_on_from_step_to_step() -> None:
    world = gated(QueryPolicy("q", "t", success=BELOW, interval=seconds(10)))
    assert gate(world) == (3, 60)
    assert judged(world).figures["successful"] == "1"


def test_a_query_of_a_step_is_asked_after_its_delay_from_the_beginning_of_the_step() -> None:
    delayed = QueryPolicy("q", "t", success=BELOW, initial_delay=seconds(60))
    begun = Measured(since=START + seconds(100))
    assert due(delayed, begun, START) == START + seconds(160)
    early = Asked("q", Answer(START + seconds(99), (0.0,)))
    assert measure(delayed, begun, early, START) == begun


def test_measurements_of_a_query_that_was_renamed_or_taken_out_are_forgotten() -> None:
    world = rollout()
    answered(world, 0.01)
    world.edit(queries=())
    world.reconcile()
    assert world.state.analysis is not None
    assert world.state.analysis.queries == {}
    assert [one.measure for one in world.state.analysis.said] == ["errors"]


@pytest.mark.parametrize(("counted", "promoted"), [(False, True), (True, False)])
def test_queries_alone_judge_where_nobody_counts_errors(counted: bool, promoted: bool) -> None:
    steps = (PolicyStep(50, seconds(1)),)
    world = canary(Policy(replicas=2, steps=steps, queries=(EVERY,), counted=counted))
    world.readable = False
    for _ in range(4):
        world.settle()
        world.pass_time(seconds(60))
        answered(world, 0.0)
    world.settle()
    assert (world.state.stable == revision(2)) is promoted


def test_the_sentences_of_many_measures_fit_into_a_status() -> None:
    """The API server refuses longer ones, and with them the abort."""
    many = tuple(QueryPolicy(f"q{index}", "t", success=BELOW) for index in range(8))
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, timedelta(hours=1)),), queries=many))
    world.settle()
    world.queries = {one.name: Asked(problem="there is no such template, " * 40) for one in many}
    world.reconcile()
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.ERROR
    assert len(world.state.analysis.message) == MESSAGE_LIMIT
    assert world.plan is not None
    assert len(world.plan.message) >= MESSAGE_LIMIT, "the whole status clips it again"
