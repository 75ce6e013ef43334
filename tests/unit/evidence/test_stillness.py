from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from noria_operator.evidence import stillness
from noria_operator.evidence.stillness import Stillness

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("looks", "busy"),
    [
        ([(0, 5)], True),
        ([(0, 5), (1, 5)], True),
        ([(0, 5), (2, 5)], False),
        ([(0, 5), (1, 6), (2, 6)], True),
        ([(0, 5), (1, 6), (2, 6), (3, 6)], False),
        ([(0, 5), (3, 6)], True),
        ([(0, 5), (2, 5), (3, 6)], True),
        ([(0, 9), (1, 0), (2, 0)], True),  # the server began anew
        ([(0, 0), (2, 0)], False),
    ],
)
def test_a_pod_is_left_alone_once_it_counts_nothing_new_for_two_seconds(
    looks: list[tuple[float, int]], busy: bool
) -> None:
    seen = Stillness()
    found = [seen.busy("a", requests, START + timedelta(seconds=at)) for at, requests in looks]
    assert found[-1] is busy


def test_of_many_pods_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stillness, "MOST", 2)
    seen = Stillness()
    for uid in ("a", "b", "c"):
        seen.busy(uid, 1, START)
    later = START + timedelta(seconds=5)
    assert [seen.busy(uid, 1, later) for uid in ("c", "b", "a")] == [False, False, True]
