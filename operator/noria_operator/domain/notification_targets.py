"""Whom the cluster's admin wants to be told what: chart values, handed over as JSON.

Comes in: the text of NORIA_NOTIFICATIONS. Goes out: targets. Invariants: no user object names an address, and
none can add to these; whatever is secret stands in files that are read anew for each message.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from noria_operator.domain.notifications import STEP, TYPES, Occurrence

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What an admin may call a target, or a query template."""
_KEYS = {"name", "url", "urlFile", "format", "events", "namespaces", "keyFile"}


class InvalidTarget(ValueError):
    """A target that nothing can be sent to; the message names it and says what is wrong."""


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
    """Read the JSON list; raises `InvalidTarget`."""
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise InvalidTarget(f"it is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidTarget("it is no list of targets")
    targets = tuple(_target(one) for one in found)
    if len({one.name for one in targets}) < len(targets):
        raise InvalidTarget("two targets have one name; give each its own")
    return targets


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


def _target(found: dict[str, Any]) -> Target:
    name = found.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidTarget(f"name {name!r} is no DNS label")
    try:
        if unknown := found.keys() - _KEYS:
            raise InvalidTarget(f"{', '.join(sorted(unknown))} is not known")
        if bool(found.get("url")) == bool(found.get("urlFile")):
            raise InvalidTarget("set exactly one of url and urlFile")
        events = frozenset(found.get("events") or ())
        if strange := events - TYPES:
            raise InvalidTarget(f"there is no event {', '.join(sorted(strange))}")
        return Target(
            name,
            checked_url(found["url"]) if found.get("url") else "",
            _path(found.get("urlFile")),
            Format(found.get("format") or Format.CLOUD_EVENTS),
            events,
            frozenset(found.get("namespaces") or ()),
            _path(found.get("keyFile")),
        )
    except (ValueError, TypeError) as error:
        raise InvalidTarget(f"{name}: {error}") from error


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
