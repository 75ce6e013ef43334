from __future__ import annotations

import asyncio
import random

import pytest

from noria_operator.kube.kinds import TRAININGJOB, Key
from noria_operator.kube.queue import BEFORE_LATE, URGENT_IN_A_ROW, Closed, Queue

A, B, C = (Key(TRAININGJOB, "ns", name) for name in "abc")


def queue() -> Queue:
    return Queue(rand=random.Random(1))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_key_added_twice_is_handed_out_once() -> None:
    q = queue()
    q.add(A)
    q.add(A)
    assert await q.get() == A
    q.done(A)
    assert q.idle()


async def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    q = queue()
    for key in (B, A, C):
        q.add(key)
    assert [await q.get() for _ in range(3)] == [B, A, C]


async def test_what_a_person_did_goes_first_even_if_it_waited_already() -> None:
    q = queue()
    for key in (A, B, C):
        q.add(key)
    q.add(C, urgent=True)
    assert [await q.get() for _ in range(3)] == [C, A, B]


async def test_a_key_that_is_worked_on_is_given_to_nobody_else_and_comes_again_after() -> None:
    q = queue()
    q.add(A)
    await q.get()
    q.add(A)
    q.add(A)
    q.add(B)
    assert await q.get() == B
    q.done(A)
    assert await q.get() == A
    q.done(A)
    q.done(B)
    assert q.idle()


async def test_a_delayed_key_comes_at_its_time() -> None:
    q = queue()
    q.add_after(A, 30)
    assert await q.get() == A
    assert now() == pytest.approx(30)


async def test_of_two_delays_the_earlier_counts_whatever_their_order() -> None:
    for delays in ((30.0, 10.0), (10.0, 30.0)):
        q, start = queue(), now()
        for delay in delays:
            q.add_after(A, delay)
        assert await q.get() == A
        q.done(A)
        assert now() - start == pytest.approx(10)
        q.add_after(B, 100)
        assert await q.get() == B, "the later delay of A was dropped"


async def test_a_delay_that_is_over_means_now() -> None:
    q = queue()
    q.add_after(A, -5)
    assert len(q) == 1


async def test_case_37_failures_back_off_exponentially_with_jitter_up_to_five_minutes() -> None:
    q = queue()
    delays = [q.retry(A) for _ in range(14)]
    for n, delay in enumerate(delays):
        middle = min(0.5 * 2**n, 300)
        assert 0.8 * middle <= delay <= 1.2 * middle
    assert len(set(delays)) == len(delays)


async def test_success_forgets_the_failures() -> None:
    q = queue()
    for _ in range(5):
        q.retry(A)
    q.forget(A)
    assert q.retry(A) <= 0.6


async def test_waiting_workers_are_woken_one_for_each_key() -> None:
    q, got = queue(), []

    async def worker() -> None:
        got.append(await q.get())

    tasks = [asyncio.create_task(worker()) for _ in range(3)]
    await asyncio.sleep(1)
    q.add(A)
    q.add(B)
    await asyncio.sleep(1)
    assert got == [A, B]
    tasks[2].cancel()


async def test_a_cancelled_worker_loses_no_key() -> None:
    q = queue()
    first, second = asyncio.create_task(q.get()), asyncio.create_task(q.get())
    await asyncio.sleep(1)
    q.add(A)
    first.cancel()
    assert await second == A


async def test_a_closed_queue_sends_its_workers_home() -> None:
    q = queue()
    waiting = [asyncio.create_task(q.get()) for _ in range(2)]
    await asyncio.sleep(1)
    q.close()
    for task in waiting:
        with pytest.raises(Closed):
            await task
    q.add(A)
    with pytest.raises(Closed):
        await q.get()


async def test_a_queue_that_does_not_move_shows_for_how_long() -> None:
    q = queue()
    assert q.stalled_for() == 0
    q.add(A)
    await asyncio.sleep(7)
    assert q.stalled_for() == pytest.approx(7)
    await q.get()
    await asyncio.sleep(3)
    assert q.stalled_for() == pytest.approx(3)
    q.done(A)
    assert q.stalled_for() == 0


async def test_a_long_queue_that_moves_is_not_stalled() -> None:
    q = queue()
    for n in range(100):
        q.add(Key(TRAININGJOB, "ns", str(n)))
    for _ in range(100):
        key = await q.get()
        await asyncio.sleep(3)
        assert q.stalled_for() == pytest.approx(3)
        q.done(key)


async def test_case_41_edits_by_the_thousand_do_not_keep_the_rest_waiting_for_ever() -> None:
    q, order = queue(), []
    q.add(A)
    for n in range(1000):
        q.add(Key(TRAININGJOB, "ns", str(n)), urgent=True)
    for _ in range(10):
        order.append(await q.get())
    assert order.index(A) == URGENT_IN_A_ROW
    assert all(key.name.isdigit() for key in order if key != A)


async def test_what_only_accounts_for_others_comes_last_and_has_its_turn() -> None:
    q = queue()
    q.add_after(A, 0.001, late=True)
    q.add_after(B, 0.001, late=True)
    q.add_after(C, 0.001)
    await asyncio.sleep(0.01)
    q.add(B)  # somebody needs it after all
    others = [Key(TRAININGJOB, "ns", f"other-{number}") for number in range(2 * BEFORE_LATE)]
    for each in others:
        q.add(each)
    order = [await q.get() for _ in range(len(q))]
    assert order[:2] == [C, B]
    assert order.index(A) == BEFORE_LATE
    assert [each for each in order if each in others] == others
    q.done(A)
    q.add_after(A, 0.001, late=True)
    assert await q.get() == A  # nothing else waits


async def test_case_41_many_keys_at_random_are_each_worked_on_by_one_and_none_is_lost() -> None:
    q, rand = queue(), random.Random(7)
    keys = [Key(TRAININGJOB, "ns", str(n)) for n in range(20)]
    held: set[Key] = set()
    last_added: dict[Key, float] = {}
    last_started: dict[Key, float] = {}

    async def worker() -> None:
        while True:
            try:
                key = await q.get()
            except Closed:
                return
            assert key not in held
            held.add(key)
            last_started[key] = now()
            await asyncio.sleep(rand.uniform(0, 2))
            held.discard(key)
            q.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(4)]
    for _ in range(500):
        key = rand.choice(keys)
        last_added[key] = now()
        q.add(key, urgent=rand.random() < 0.2)
        await asyncio.sleep(rand.uniform(0, 0.3))
    await asyncio.sleep(60)
    q.close()
    await asyncio.gather(*workers)
    assert all(last_started[key] >= last_added[key] for key in last_added)


async def test_a_failing_pass_does_not_wake_itself_by_what_it_wrote() -> None:
    q = queue()
    q.add(A)
    for _ in range(5):
        key = await q.get()
        q.add(key)  # the news of its own write
        q.retry(key)
        q.done(key)
    assert now() > 0.5 + 1 + 2 + 4 - 2, "each failure waits longer"
    key = await q.get()
    q.add(key, urgent=True)
    q.retry(key)
    q.done(key)
    before = now()
    assert await q.get() == A
    assert now() == before, "what a person did does not wait"
