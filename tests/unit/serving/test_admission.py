"""The line of a version, with time as a number: what begins when, what is refused, what is joined."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria_serving.limits import Limits
from noria_serving.protocol.errors import RequestError
from noria_serving.server.admission import Admission, Refusal, Turn

LIMITS = Limits(max_queue=3, max_wait=1.0)


def taken(admission: Admission, now: float) -> list[Turn]:
    return admission.take(now)[0]


def test_the_first_request_begins_at_once() -> None:
    admission, turn = Admission(LIMITS, seconds=0.01), Turn(1)
    admission.enter(turn, 0.0)
    assert taken(admission, 0.0) == [turn]
    assert (turn.begun, admission.waiting, admission.running) == (True, 0, 1)


def test_a_full_line_is_429_with_the_time_to_come_back() -> None:
    admission = Admission(LIMITS, seconds=0.2)
    for _ in range(3):
        admission.enter(Turn(1), 0.0)
    with pytest.raises(RequestError, match="3 requests wait") as caught:
        admission.enter(Turn(1), 0.0)
    assert (caught.value.status, caught.value.headers) == (429, [(b"retry-after", b"1")])
    assert admission.refused[Refusal.QUEUE_FULL] == 1


def test_a_line_that_moves_slowly_takes_fewer() -> None:
    admission = Admission(LIMITS, seconds=0.6)
    admission.enter(Turn(1), 0.0)
    taken(admission, 0.0)
    admission.enter(Turn(1), 0.0)  # one may always wait, however slow the model
    with pytest.raises(RequestError) as caught:
        admission.enter(Turn(1), 0.0)
    assert caught.value.headers == [(b"retry-after", b"2")]
    assert admission.refused[Refusal.WAIT] == 1


def test_a_client_that_would_not_wait_so_long_is_told_at_once() -> None:
    admission = Admission(LIMITS, seconds=0.2)
    for _ in range(2):
        admission.enter(Turn(1, 5.0), 0.0)
    with pytest.raises(RequestError) as caught:
        admission.enter(Turn(1, 0.3), 0.0)
    assert caught.value.status == 429


def test_what_is_late_is_never_begun() -> None:
    admission = Admission(LIMITS, seconds=0.01)
    late, patient = Turn(1, deadline=0.5), Turn(1, deadline=2.0)
    admission.enter(late, 0.0)
    admission.enter(patient, 0.0)
    assert taken(admission, 0.5) == [patient]
    with pytest.raises(RequestError) as caught:
        admission.enter(Turn(1, deadline=0.5), 0.5)
    assert caught.value.status == 504


def test_a_request_that_waited_on_the_event_loop_is_refused_like_one_in_line() -> None:
    admission = Admission(LIMITS, seconds=0.01)
    admission.check(0.0, None, 1.0)
    with pytest.raises(RequestError, match="longer than 1 s"):
        admission.check(0.0, None, 1.01)
    with pytest.raises(RequestError, match="time was over"):
        admission.check(0.0, 0.5, 0.5)
    assert (admission.refused[Refusal.WAIT], admission.refused[Refusal.DEADLINE]) == (1, 1)


def test_who_leaves_frees_its_place_unless_its_turn_has_come() -> None:
    admission = Admission(LIMITS, seconds=0.01)
    first, second, third = Turn(1), Turn(1), Turn(1)
    for turn in (first, second, third):
        admission.enter(turn, 0.0)
    admission.leave(second)
    assert taken(admission, 0.0) == [first]
    admission.leave(first)
    assert taken(admission, 0.0) == [third]


def test_equal_requests_begin_together_and_nobody_is_overtaken() -> None:
    admission = Admission(LIMITS, seconds=0.01, batch_rows=8)
    turns = [Turn(1, key="a"), Turn(2, key="a"), Turn(1, key="b"), Turn(1, key="a")]
    for turn in turns[:3]:
        admission.enter(turn, 0.0)
    assert taken(admission, 0.0) == turns[:2]
    admission.enter(turns[3], 0.0)
    assert [taken(admission, 0.0), taken(admission, 0.0)] == [[turns[2]], [turns[3]]]


def test_the_mean_follows_what_requests_take() -> None:
    admission = Admission(LIMITS, seconds=1.0, batch_rows=4)
    for _ in range(60):
        for _ in range(2):
            admission.enter(Turn(1, key="a"), 0.0)
        taken(admission, 0.0)
        admission.done(0.2)
    assert admission.seconds == pytest.approx(0.1, rel=0.01)


HOLD = Limits(max_queue=50, max_wait=math.inf, batch_wait_ms=5)


def test_nobody_is_held_back_where_requests_come_seldom() -> None:
    admission = Admission(HOLD, seconds=0.001, batch_rows=4)
    for now in (0.0, 1.0, 2.0):
        turn = Turn(1, key="a")
        admission.enter(turn, now)
        assert taken(admission, now) == [turn]


def test_a_request_is_held_back_for_company_until_the_stated_wait_or_its_deadline() -> None:
    admission = Admission(HOLD, seconds=0.001, batch_rows=4)
    admission.enter(Turn(1, key="a"), 0.0)
    taken(admission, 0.0)
    first = Turn(1, key="a")
    admission.enter(first, 0.001)
    assert admission.take(0.001) == ([], 0.006)
    hurried = Turn(1, deadline=0.005, key="a")
    admission.enter(hurried, 0.002)
    assert admission.take(0.002) == ([], pytest.approx(0.0035)), "half of its time is for the answer"
    assert taken(admission, 0.0035) == [first, hurried]


ARRIVALS = st.lists(
    st.tuples(
        st.floats(0, 0.02), st.integers(1, 5), st.sampled_from(["a", "b", None]),
        st.none() | st.floats(0.001, 0.05), st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(arrivals=ARRIVALS, takes=st.lists(st.floats(0.0001, 0.02), min_size=1), hold=st.sampled_from([0, 5]))
def test_every_request_begins_once_in_order_or_is_refused_and_none_is_held_longer_than_stated(
    arrivals: list[tuple[float, int, str | None, float | None, bool]], takes: list[float], hold: float
) -> None:
    limits = Limits(max_queue=6, max_wait=0.05, batch_wait_ms=hold)
    admission = Admission(limits, seconds=0.002, batch_rows=6)
    now, free, calls = 0.0, 0.0, 0
    entered: list[Turn] = []
    begun: list[Turn] = []

    def run(until: float) -> None:
        """A thread that takes the next call whenever it is free, up to a time."""
        nonlocal now, free, calls
        while True:
            at = max(now, free)
            if at > until:
                return
            batch, later = admission.take(at)
            if not batch:
                if later is None or later > until:
                    return
                now = later
                continue
            assert len({turn.key for turn in batch}) == 1
            assert len(batch) == 1 or (batch[0].key and sum(turn.rows for turn in batch) <= 6)
            for turn in batch:
                assert turn.deadline is None or at < turn.deadline
            held = at - max(free, batch[0].since)
            assert held <= hold / 1000 + 1e-9
            begun.extend(batch)
            free = at + takes[calls % len(takes)]
            calls += 1
            admission.done(free - at)

    for gap, rows, key, patience, leaves in arrivals:
        run(now + gap)
        now = max(now, 0.0) + gap
        turn = Turn(rows, None if patience is None else now + patience, key)
        try:
            admission.enter(turn, now)
        except RequestError as refused:
            assert refused.status in (429, 504)
            continue
        entered.append(turn)
        assert admission.waiting <= 6
        if leaves:
            admission.leave(turn)
            entered.remove(turn)
    run(now + 1000)
    order = [entered.index(turn) for turn in begun]
    assert order == sorted(set(order))
    missed = [turn for turn in entered if turn not in begun]
    assert all(turn.deadline is not None for turn in missed)
    assert admission.waiting == 0
