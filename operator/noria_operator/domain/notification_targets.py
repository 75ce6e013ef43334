"""Whom the cluster's admin wants to be told what: chart values, handed over as JSON.

Comes in: the text of NORIA_NOTIFICATIONS. Goes out: targets. Invariants: no user object names an address, and
none can add to these; whatever is secret stands in files that are read anew for each message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from noria_operator.domain.chart_values import Json, entries_of, file_of
from noria_operator.domain.notifications import STEP, TYPES, Occurrence

_KEYS = {"name", "url", "urlFile", "format", "events", "namespaces", "keyFile"}


class InvalidTarget(ValueError):
    """An address or key with which nothing can be sent; the message says what is wrong."""


class Format(StrEnum):
    """What a receiver understands."""

    CLOUD_EVENTS = "cloudevents"
    """CloudEvents 1.0, structured JSON."""
    SLACK = "slack"
    """Slack's incoming webhooks, which Mattermost, Rocket.Chat and Google Chat take too."""


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver. Empty `events` means all but single steps; empty `namespaces` means all."""

    name: str
    url: str = ""
    url_file: Path | None = None
    format: Format = Format.CLOUD_EVENTS
    events: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    key_file: Path | None = None

    def wants(self, one: Occurrence) -> bool:
        """Whether the receiver is told of it."""
        chosen = one.type in self.events if self.events else one.type != STEP
        return chosen and (not self.namespaces or one.namespace in self.namespaces)


def targets_of(text: str) -> tuple[Target, ...]:
    """Read the JSON list; raises `InvalidEntry`."""
    return tuple(entries_of(text, "targets", _KEYS, _target).values())


def checked_url(text: str) -> str:
    """The address, if a message can be sent to it; raises `InvalidTarget`, which does not repeat it."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise InvalidTarget("the url is no http:// or https:// address")
    return url


def _target(name: str, found: Json) -> Target:
    if bool(found.get("url")) == bool(found.get("urlFile")):
        raise ValueError("set exactly one of url and urlFile")
    events = frozenset(found.get("events") or ())
    if strange := events - TYPES:
        raise ValueError(f"there is no event {', '.join(sorted(strange))}")
    return Target(
        name,
        checked_url(found["url"]) if found.get("url") else "",
        file_of(found.get("urlFile")),
        Format(found.get("format") or Format.CLOUD_EVENTS),
        events,
        frozenset(found.get("namespaces") or ()),
        file_of(found.get("keyFile")),
    )
