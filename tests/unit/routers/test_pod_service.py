"""The Service that selects pods itself: whose pods, at which weights."""

from __future__ import annotations

import pytest

from noria_operator.domain.rollout_state import Revision, Share, State
from noria_operator.routers.pod_service import of_champion, of_weights, service

OWNER = {"metadata": {"name": "flights", "namespace": "prod", "uid": "u-1"}}
ONE, TWO = (
    Revision("flights-1", "aaaaaa", "flights-1-aaaaaa"),
    Revision("flights-2", "bbbbbb", "flights-2-bbbbbb"),
)
ALL = {"noria.dev/deployment": "flights", "noria.dev/owner-uid": "u-1"}


def of(one: Revision) -> dict[str, str]:
    return {**ALL, "noria.dev/version": one.version, "noria.dev/revision": one.revision}


def state(first: int, second: int) -> State:
    traffic = tuple(Share(*pair, verified=True) for pair in ((ONE, first), (TWO, second)))
    return State(stable=ONE, traffic=traffic)


@pytest.mark.parametrize(
    ("first", "second", "others", "wanted"),
    [
        (100, 0, False, of(ONE)),
        (90, 10, False, ALL),
        (90, 10, True, of(ONE)),
        (50, 50, False, ALL),
        (0, 100, False, of(TWO)),
        (0, 100, True, of(TWO)),
    ],
)
def test_both_versions_are_selected_only_while_both_have_weight_and_nobody_else_has_pods(
    first: int, second: int, others: bool, wanted: dict[str, str]
) -> None:
    assert of_weights(OWNER, state(first, second), others=others) == wanted


def test_a_first_version_is_found_before_there_is_a_champion() -> None:
    assert of_weights(OWNER, State(), others=False) == ALL
    assert of_champion(OWNER, State()) == ALL
    assert of_champion(OWNER, state(50, 50)) == of(ONE)


def test_ports_are_found_by_name_since_versions_may_have_different_ones() -> None:
    ports = service(OWNER, ALL)["spec"]["ports"]
    assert [(one["port"], one["targetPort"]) for one in ports] == [(80, "http"), (8082, "grpc")]
