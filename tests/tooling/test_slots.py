"""Clusters of one machine never share an address, a name or a directory."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from tools.cluster import slots
from tools.cluster.slots import COUNT, Slot


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a cache and locks of its own."""
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(slots, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(slots, "_collides", lambda _: False)
    return tmp_path


def as_owner(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NORIA_CLUSTER", name)


def test_no_two_slots_share_an_address() -> None:
    every = [network for number in range(COUNT) for network in Slot(number).networks]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(every, 2))


def test_every_slot_has_a_name_that_fits_an_interface() -> None:
    assert all(len(Slot(number).name) <= 15 for number in range(COUNT))


def test_the_api_certificate_names_the_address_that_pods_use() -> None:
    at = Slot(3).endpoints
    assert "IP:10.115.0.1" in at.api_names.split(",")
    assert "IP:10.251.3.1" in at.api_names.split(",")


def test_two_owners_get_two_slots(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_owner(monkeypatch, "one")
    first, held = slots.take()
    as_owner(monkeypatch, "two")
    second, also_held = slots.take()
    assert first != second
    os.close(held)
    os.close(also_held)


def test_an_owner_gets_the_slot_of_last_time(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_owner(monkeypatch, "one")
    _, first_lock = slots.take()
    as_owner(monkeypatch, "two")
    second, second_lock = slots.take()
    os.close(first_lock)
    os.close(second_lock)
    again, lock = slots.take()
    assert again == second
    os.close(lock)


def test_a_slot_whose_images_are_there_is_taken_before_an_empty_one(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_owner(monkeypatch, "gone")
    used, lock = slots.take()
    os.close(lock)
    as_owner(monkeypatch, "new")
    taken, lock = slots.take()
    assert taken == used
    os.close(lock)


def test_a_machine_full_of_clusters_says_so(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [Slot(number).lock() for number in range(COUNT)]
    with pytest.raises(slots.ClusterError, match="cluster-down"):
        slots.take()
    for lock in held:
        assert lock is not None
        os.close(lock)


def test_addresses_that_the_host_routes_elsewhere_are_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    routes = header + "eth0\t0002FB0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"  # 10.251.2.0/24
    assert slots.collision(Slot(2), routes)
    assert not slots.collision(Slot(3), routes)
    assert not slots.collision(Slot(2), routes.replace("eth0", "noria-2"))
