"""Where the cluster's admin keeps metrics: Prometheus, or what speaks its API (Thanos, Mimir): chart values.

Comes in: the text of NORIA_METRIC_SOURCES. Goes out: sources by name. Invariants: no user object names one;
whatever is secret stands in files that are read anew for each question.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from noria_operator.api.types import parse_duration
from noria_operator.domain.chart_values import Json, entries_of, file_of
from noria_operator.domain.notification_targets import checked_url

_KEYS: Final = {"name", "address", "tenant", "tokenFile", "caFile", "interval", "delay"}


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
    """Read the JSON list; raises `InvalidEntry`."""
    return entries_of(text, "sources", _KEYS, _source)


def _source(name: str, found: Json) -> Source:
    tenant = str(found.get("tenant") or "")
    if not (tenant.isascii() and tenant.isprintable()):
        raise ValueError("tenant must be printable ASCII")
    return Source(
        name,
        checked_url(str(found.get("address") or "")).rstrip("/"),
        tenant,
        token_file=file_of(found.get("tokenFile")),
        ca_file=file_of(found.get("caFile")),
        interval=parse_duration(str(found.get("interval") or "60s")),
        delay=parse_duration(str(found.get("delay") or "30s")),
    )
