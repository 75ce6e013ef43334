"""Rows 2 and 3 of the threat table: a URI cannot make a pod ask the inside of a network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from noria_serving.errors import NoriaError, Reason
from noria_serving.remote.addresses import is_public, resolve

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fd00:ec2::254", "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::",
]  # fmt: skip


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def answer(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize("address", INSIDE)
def test_row_2_inner_addresses_are_refused_in_every_form(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_public(ipaddress.ip_address(address))
    names(monkeypatch, address)
    with pytest.raises(NoriaError) as caught:
        resolve("models.example.com", 443, env={})
    assert caught.value.reason is Reason.ADDRESS_REFUSED


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "localhost"])
def test_row_2_other_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises(NoriaError) as caught:
        resolve(host, 443, env={})
    assert caught.value.reason in (Reason.ADDRESS_REFUSED, Reason.STORAGE_UNAVAILABLE)


def test_row_3_one_inner_address_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "93.184.216.34", "127.0.0.1")
    with pytest.raises(NoriaError):
        resolve("rebinding.example.com", 443, env={})


def test_a_public_address_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "93.184.216.34")
    assert resolve("models.example.com", 443, env={}) == "93.184.216.34"


@pytest.mark.parametrize("allowed", ["mirror", "other,mirror", "10.0.0.0/8", "10.1.2.3"])
def test_the_administrator_allows_hosts_and_networks(allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "10.1.2.3")
    assert resolve("mirror", 443, env={"NORIA_PRIVATE_HOSTS": allowed}) == "10.1.2.3"


def test_a_host_that_is_allowed_still_cannot_be_the_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "169.254.169.254")
    with pytest.raises(NoriaError):
        resolve("mirror", 443, env={"NORIA_PRIVATE_HOSTS": "mirror"})
