from __future__ import annotations

from datetime import UTC, datetime

from noria_operator import health
from noria_operator.kube.kinds import POD, SERVICE
from noria_operator.kube.store import Store

NOW = datetime(2020, 2, 1, tzinfo=UTC)


def vitals(
    *,
    age: float = 1,
    stalled: float = 0,
    leading: bool = True,
    synced: bool = True,
    blind: bool = False,
) -> health.Vitals:
    store = Store()
    if synced:
        store.mark_synced(POD)
        store.mark_synced(SERVICE)
    kinds = (POD, SERVICE)
    return health.Vitals(
        watch_age=lambda: age,
        queue_stalled=lambda: stalled,
        leading=lambda: leading,
        blind=lambda: blind,
        store=store,
        kinds=kinds,
        now=lambda: NOW,
    )


def test_a_healthy_operator_is_alive_and_ready() -> None:
    assert vitals().dead() == []
    assert vitals().unready() == []


def test_an_operator_that_has_not_listed_everything_is_not_ready_but_alive() -> None:
    starting = vitals(synced=False)
    assert starting.unready() == ["not listed yet: pods, services"]
    assert starting.dead() == []


def test_silent_watches_cost_readiness_first_and_life_later() -> None:
    assert vitals(age=361).unready() == ["a watch has been silent for 361 s"]
    assert vitals(age=361).dead() == []
    assert vitals(age=601).dead() == ["a watch has been silent for 601 s"]


def test_an_operator_that_hears_nothing_of_its_lease_is_not_ready_but_alive() -> None:
    cut_off = vitals(leading=False, blind=True)
    assert cut_off.unready() == ["the API server tells nothing of the lease"]
    assert cut_off.dead() == []


def test_a_queue_that_does_not_move_is_deadly_for_a_leader_and_normal_for_a_follower() -> None:
    assert vitals(stalled=181).dead() == ["the queue has not moved for 181 s"]
    assert vitals(stalled=181, leading=False).dead() == []
