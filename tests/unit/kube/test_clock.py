"""Of the operator's clock and the API server's, one that is ahead of the other is not believed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.kube.api_server import Scripted, obj, refusal

from noria_operator.domain.training_times import TOLERANCE
from noria_operator.domain.triggers_gap import Gap
from noria_operator.kube import errors
from noria_operator.kube.client import Answer
from noria_operator.kube.clock import AGREED, Attention, CheckedClock, ServerTime
from noria_operator.kube.kinds import SERVICE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, YEAR = timedelta(seconds=1), timedelta(hours=1), timedelta(days=365)


@dataclass
class Machine:
    """Its clocks: `wall` is set by hand, `passed` is what its monotonic clock counts."""

    wall: datetime = NOW
    passed: float = 0.0
    server: ServerTime = field(init=False)

    def __post_init__(self) -> None:
        self.server = ServerTime(self.monotonic)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.passed

    def wait(self, time: timedelta) -> None:
        self.wall += time
        self.passed += time.total_seconds()


@pytest.mark.parametrize(
    ("told", "wall", "believed"),
    [
        (None, YEAR, YEAR),
        (timedelta(), TOLERANCE, TOLERANCE),
        (timedelta(), TOLERANCE + SECOND, timedelta()),
        (timedelta(), YEAR, timedelta()),
        (timedelta(), -YEAR, -YEAR),
        (YEAR, timedelta(), timedelta()),
    ],
)
def test_the_later_one_of_two_clocks_that_differ_by_much_is_not_believed(
    told: timedelta | None, wall: timedelta, believed: timedelta
) -> None:
    machine = Machine(NOW + wall)
    clock = CheckedClock(machine.server, machine)
    if told is not None:
        machine.server.heard(NOW + told)
    assert clock.now() == NOW + believed


def test_a_clock_that_leaps_is_not_believed_until_it_is_right_again(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = CheckedClock(machine.server, machine)
    machine.server.heard(NOW)
    machine.wait(HOUR)
    assert clock.now() == NOW + HOUR
    with caplog.at_level(logging.INFO):
        machine.wall += YEAR
        for minutes in (0, 1):
            machine.wait(timedelta(minutes=minutes))
            assert clock.now() == NOW + HOUR + timedelta(minutes=minutes)
        machine.wall -= YEAR
        assert clock.now() == machine.wall
        assert clock.now() == machine.wall
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"], "each change is told once"


def test_the_servers_time_does_not_go_back_because_an_answer_is_old_or_its_date_is_cut() -> None:
    machine = Machine()
    machine.server.heard(NOW)
    machine.wait(timedelta(seconds=1.5))
    for late in (timedelta(seconds=0.5), timedelta(seconds=30), TOLERANCE):
        machine.server.heard(machine.wall - late)
        assert machine.server.now() == machine.wall
    machine.server.heard(machine.wall + SECOND)
    assert machine.server.now() == machine.wall + SECOND


def test_of_several_servers_one_that_is_behind_changes_nothing_and_one_that_is_set_back_does() -> None:
    machine = Machine()
    for _ in range(5):
        machine.server.heard(machine.wall)
        machine.wait(AGREED / 2 * SECOND)
        machine.server.heard(machine.wall - HOUR)
        assert machine.server.now() == machine.wall
    machine.wait(AGREED * SECOND)
    machine.server.heard(machine.wall - HOUR)
    assert machine.server.now() == machine.wall - HOUR
    machine.server.heard(machine.wall)
    machine.server.heard(machine.wall - HOUR)
    assert machine.server.now() == machine.wall


def test_nobody_looked_before_the_operator_led_nor_while_its_clock_leapt() -> None:
    machine = Machine()
    attention = Attention(machine, monotonic=machine.monotonic)
    machine.wait(HOUR)
    attention.begin()
    for _ in range(3):
        assert attention.gap() == Gap(NOW + HOUR, NOW + HOUR), "however long nobody asks"
        machine.wait(HOUR)
    machine.wall += YEAR
    for _ in range(2):
        assert attention.gap() == Gap(NOW + 4 * HOUR, NOW + 4 * HOUR + YEAR)
        machine.wait(TOLERANCE)
    machine.wall -= YEAR
    back = machine.wall
    for _ in range(2):
        assert attention.gap() == Gap(back, back), "what falls due a year from now is no time that was missed"
        machine.wait(HOUR)


def test_a_clock_that_is_corrected_a_little_is_looked_at_all_the_time() -> None:
    machine = Machine()
    attention = Attention(machine, monotonic=machine.monotonic)
    for correction in (TOLERANCE, -TOLERANCE):
        machine.wait(HOUR)
        machine.wall += correction
        assert attention.gap() == Gap(NOW, NOW)


async def test_the_clients_answers_tell_the_servers_time_and_a_proxys_do_not() -> None:
    answers = iter(
        [
            refusal(404, "NotFound", date=NOW + YEAR),
            Answer(200, "<html>", date=NOW + YEAR),
            Answer(200, obj()),
            Answer(200, obj(), date=NOW),
        ]
    )
    client = Scripted(lambda _: next(answers))
    with pytest.raises(errors.NotFound):
        await client.get(SERVICE, "ns", "a")
    assert client.time.now() is None
    await client.get(SERVICE, "ns", "a")
    assert client.time.now() is None
    await client.get(SERVICE, "ns", "a")
    told = client.time.now()
    assert told is not None
    assert NOW <= told < NOW + HOUR
