"""Where the cluster's admin keeps metrics: Prometheus, or what speaks its API (Thanos, Mimir): chart values.

Comes in: the text of NORIA_METRIC_SOURCES. Goes out: sources by name. Invariants: no user object names one;
whatever is secret stands in files that are read anew for each question.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from noria_operator.api.types import parse_duration
from noria_operator.domain.notification_targets import NAME, InvalidTarget, checked_url

_KEYS: Final = {"name", "address", "tenant", "tokenFile", "caFile", "interval", "delay"}


class InvalidSource(ValueError):
    """A source that cannot be asked; the message names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Source:
    """`tenant` goes out as X-Scope-OrgID, the token as a bearer's. Counts are asked for every `interval`, as
    of `delay` ago: what was scraped until then has arrived.
    """

    name: str
    address: str
    tenant: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    interval: timedelta = timedelta(seconds=60)
    delay: timedelta = timedelta(seconds=30)


def sources_of(text: str) -> dict[str, Source]:
    """Read the JSON list; raises `InvalidSource`."""
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise InvalidSource(f"it is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidSource("it is no list of sources")
    sources = {one.name: one for one in map(_source, found)}
    if len(sources) < len(found):
        raise InvalidSource("two sources have one name; give each its own")
    return sources


def _source(found: dict[str, Any]) -> Source:
    name = found.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidSource(f"name {name!r} is no DNS label")
    if unknown := found.keys() - _KEYS:
        raise InvalidSource(f"{name}: {', '.join(sorted(unknown))} is not known")
    tenant = str(found.get("tenant") or "")
    if not (tenant.isascii() and tenant.isprintable()):
        raise InvalidSource(f"{name}: tenant must be printable ASCII")
    try:
        return Source(
            name,
            checked_url(str(found.get("address") or "")).rstrip("/"),
            tenant,
            token_file=_path(found.get("tokenFile")),
            ca_file=_path(found.get("caFile")),
            interval=parse_duration(str(found.get("interval") or "60s")),
            delay=parse_duration(str(found.get("delay") or "30s")),
        )
    except (InvalidTarget, ValueError) as error:
        raise InvalidSource(f"{name}: {error}") from error


def _path(text: Any) -> Path | None:
    return Path(text) if text else None
