"""What the proxies of a gateway say of the weights they act on, where the cluster's admin names them.

Comes in: the text of NORIA_GATEWAY_PROBES (chart values), and the answers of proxies. Goes out: addresses by
Gateway, and what the answers come to. Invariants: no user object names an address; weights count as read only
when every proxy that was found answered with the very mark of them.

The mark stands in a redirect of the same HTTPRoute as the weights, which each proxy answers by itself: to a
host below `noria.invalid`, a name that leads nowhere (RFC 2606).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from noria_operator.domain.chart_values import InvalidEntry, entries_of, file_of

Json = dict[str, Any]
Gateway = tuple[str, str]
"""Namespace and name."""

MOST_URLS: Final = 16
_KEYS: Final = {"name", "gateway", "urls", "host", "caFile"}
_SUFFIX: Final = ".noria.invalid"
_MARK: Final = re.compile(r"v[0-9]{1,19}-[0-9a-f]{16}")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_GATEWAY: Final = re.compile(rf"({_LABEL})/({_LABEL}(\.{_LABEL})*)")
_URL: Final = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?/?"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Where the proxies of a Gateway answer: all addresses of the hosts in `urls`. `host` is what they are
    asked for by routes without hosts; certificates are trusted by `ca_file`, or by the system's authorities.
    """

    name: str
    gateway: Gateway
    urls: tuple[str, ...]
    host: str = ""
    ca_file: Path | None = None


class Outcome(StrEnum):
    """What the answers of a gateway's proxies come to."""

    IN_FORCE = "in_force"
    """All act on what was asked for."""
    BEHIND = "behind"
    """One acts on an older configuration."""
    UNREAD = "unread"
    """Nobody is behind, and one could not be asked or has no such rule."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one proxy, for one host: the mark in its redirect, or why there is none."""

    where: str
    mark: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """`message` says of whom, empty when all act on it."""

    outcome: Outcome
    message: str = ""


def probes_of(text: str) -> dict[Gateway, Probe]:
    """Read the JSON list; raises `InvalidEntry`."""
    found = entries_of(text, "probes", _KEYS, _probe).values()
    by_gateway = {one.gateway: one for one in found}
    for one in found:
        if (other := by_gateway[one.gateway]) is not one:
            raise InvalidEntry(f"{one.name}: {'/'.join(one.gateway)} is named by {other.name} too; join them")
    return by_gateway


def path_of(namespace: str, deployment: str) -> str:
    """The path that is asked for."""
    return f"/-/noria/{namespace}/{deployment}"


def mark_of(uid: str, version: int, spec: Json) -> str:
    """Tells this state of a route from every other: `version` is the traffic's, `spec` the route's."""
    body = orjson.dumps([uid, version, spec], option=orjson.OPT_SORT_KEYS)
    return f"v{version}-{sha256(body).hexdigest()[:16]}"


def host_of(mark: str) -> str:
    """Where the redirect with this mark leads."""
    return f"{mark}{_SUFFIX}"


def mark_in(location: str) -> str:
    """The mark in a redirect's address; empty where it is none of Noria's."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    mark = host.removesuffix(_SUFFIX)
    return mark if mark != host and _MARK.fullmatch(mark) else ""


def weighed(answers: Sequence[Answer], wanted: str) -> Told:
    """A proxy that is behind outweighs what nobody could be asked; nobody at all says nothing."""
    behind = [one for one in answers if one.mark not in ("", wanted)]
    if behind:
        which = f"{behind[0].where} acts on {behind[0].mark} instead of {wanted}"
        return Told(Outcome.BEHIND, f"{len(behind)} of {len(answers)} proxies are behind: {which}")
    unread = [one for one in answers if not one.mark]
    if unread or not answers:
        which = f"{unread[0].where}: {unread[0].problem}" if unread else "none was found"
        return Told(Outcome.UNREAD, f"{len(unread)} of {len(answers)} proxies could not be asked: {which}")
    return Told(Outcome.IN_FORCE)


def _probe(name: str, found: Json) -> Probe:
    gateway = _GATEWAY.fullmatch(str(found.get("gateway") or ""))
    if gateway is None:
        raise ValueError("gateway is no NAMESPACE/NAME of a Gateway")
    urls, host = found.get("urls"), str(found.get("host") or "")
    if not isinstance(urls, list) or not 0 < len(urls) <= MOST_URLS:
        raise ValueError(f"urls is no list of 1 to {MOST_URLS} addresses")
    if host and not _HOST.fullmatch(host):
        raise ValueError("host is no host name")
    checked = tuple(dict.fromkeys(map(_checked, urls)))
    return Probe(name, (gateway[1], gateway[3]), checked, host, file_of(found.get("caFile")))


def _checked(url: Any) -> str:
    """Scheme, host and port, and nothing that could lead elsewhere."""
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise ValueError(f"{url!r} is not of the form http://host:port or https://host:port")
    if urlsplit(url).port == 0:  # larger ones than there are it refuses itself
        raise ValueError(f"{url!r} has no usable port")
    return url.rstrip("/")
