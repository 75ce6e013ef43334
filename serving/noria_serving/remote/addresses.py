"""Which addresses a pod may fetch models from, so that a URI cannot make it ask the inside of a network.

In: a host and port. Out: one address, looked up once; the connection is made to that address and no other, so
a second answer of the DNS changes nothing. Invariant: loopback, link-local (cloud metadata), private and
other addresses that are not of the public internet are refused, also when wrapped in IPv6, unless the
administrator named the host or its network in $NORIA_PRIVATE_HOSTS.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Final

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset({ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254")})


def resolve(host: str, port: int, *, env: Mapping[str, str] = os.environ) -> str:
    """The address to connect to. NoriaError `AddressRefused` when any that the name has is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"host {host!r:.300} cannot be looked up") from error
    allowed = [entry for entry in env.get(contract.ENV_PRIVATE_HOSTS, "").split(",") if entry]
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not _permitted(host, address, allowed):
            raise NoriaError(
                Reason.ADDRESS_REFUSED,
                f"host {host!r:.300} has the address {address}, which is not of the public internet; let "
                f"the administrator add the host to privateHosts of the chart "
                f"(or set {contract.ENV_PRIVATE_HOSTS})",
            )
    return str(addresses[0])


def is_public(address: Address) -> bool:
    """Whether an address, or the IPv4 address inside it, belongs to the public internet."""
    inner = _embedded(address)
    return inner.is_global and not inner.is_multicast and inner not in _METADATA


def _embedded(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _permitted(host: str, address: Address, allowed: list[str]) -> bool:
    if is_public(address):
        return True
    inner = _embedded(address)
    named = host in allowed
    # A name may stand for an inner network, but never for the metadata service beside every machine.
    if named and not inner.is_link_local and inner not in _METADATA:
        return True
    return any(inner in network for network in map(_network, allowed) if network)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None
