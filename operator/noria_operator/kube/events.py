"""Kubernetes Events: what people see under `kubectl describe`, and never what the operator decides by.

An Event is written once per object, reason and message within a window; the next one after the window carries
the count of what happened in between. Its name holds the window's number, so that a restarted operator does
not write it again. A failed Event is logged and forgotten: it must not fail the work that it tells of.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from noria_operator.kube import metrics
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock, rfc3339
from noria_operator.kube.errors import AlreadyExists, ApiError, NamespaceTerminating
from noria_operator.kube.kinds import EVENT, Json
from noria_operator.recent import Recent

log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]
Mark = tuple[str, str, str]
"""uid, reason and message: what makes two Events the same."""

WINDOW = timedelta(minutes=10)
MEMORY = 10_000
"""Distinct Events remembered; what did not happen for longest goes first."""
MESSAGE_LIMIT = 1024
"""Longest message that the API server takes."""


@dataclass(frozen=True, slots=True)
class _Seen:
    first: datetime
    count: int


class Events:
    """Writes Events about objects of ours."""

    def __init__(self, client: Client, clock: Clock, *, instance: str | None = None) -> None:
        self._client = client
        self._clock = clock
        self._instance = instance or os.environ.get("HOSTNAME", "noria")
        self._seen: Recent[Mark, _Seen] = Recent(MEMORY)

    async def emit(self, obj: Json, type: EventType, reason: str, message: str) -> None:
        """Tell that something happened to `obj`; `reason` is a CamelCase word, `message` a sentence."""
        now = self._clock.now()
        mark = (obj["metadata"]["uid"], reason, message)
        seen = self._seen.get(mark)
        if seen is not None and now - seen.first < WINDOW:
            self._seen[mark] = _Seen(seen.first, seen.count + 1)
            return
        missed = seen.count if seen is not None else 0
        self._seen[mark] = _Seen(now, 0)
        body = self._body(obj, mark, now, count=missed + 1) | {
            "type": type,
            "reason": reason,
            "message": message[:MESSAGE_LIMIT],
        }
        try:
            await self._client.create(EVENT, obj["metadata"]["namespace"], body)
            metrics.EMITTED_EVENTS.labels(type, reason).inc()
        except (AlreadyExists, NamespaceTerminating):
            pass  # written in this window, before a restart; or Events go like everything else here
        except ApiError as error:
            log.warning("An Event was not written", extra={"reason": reason, "error": str(error)})

    def _body(self, obj: Json, mark: Mark, now: datetime, count: int) -> Json:
        meta = obj["metadata"]
        window = int(now.timestamp() // WINDOW.total_seconds())
        digest = hashlib.sha256("\0".join((*mark, str(window))).encode()).hexdigest()[:16]
        return {
            "metadata": {"name": f"{meta['name'][:200]}.{digest}", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "count": count,
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "source": {"component": "noria"},
            "reportingComponent": "noria.dev/operator",
            "reportingInstance": self._instance,
        }
