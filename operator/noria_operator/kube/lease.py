"""Leader election by a Lease of our own: of several operators one works, the others keep warm.

The protocol is client-go's: a holder renews every `retry` seconds and gives up when it could not for
`renew_deadline`; another takes over when it saw no renewal for `duration` on its own monotonic clock, so
clocks of machines need not agree. Every change is a PUT guarded by the resourceVersion. Since
`renew_deadline` is shorter than `duration`, the old holder has stopped before the new one starts, if it
stops at once: whoever loses the lease ends the process, and `check` refuses writes even before that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from noria_operator.kube import metrics
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock, rfc3339_micro
from noria_operator.kube.errors import ApiError, Conflict, NotFound
from noria_operator.kube.kinds import LEASE, Json

log = logging.getLogger(__name__)

SHARED = "noria-operator"
"""The lease of all installations of one namespace, before each had its own."""


class LeaseLost(Exception):
    """Somebody else may be working by now: stop at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; client-go's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Lease:
    """One candidate for one Lease object, which is called as the Deployment of the candidates is."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        namespace: str,
        identity: str,
        name: str = SHARED,
        timing: Timing | None = None,
        monotonic: Callable[[], float] | None = None,
        notes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._monotonic = monotonic or (lambda: asyncio.get_running_loop().time())
        self._notes = notes
        self._observed: tuple[Any, ...] = ()
        self._observed_at = float("-inf")
        self._lease: Json | None = None
        self._renewed_at: float | None = None
        self._heard_at = float("-inf")

    @property
    def held(self) -> bool:
        """Whether this candidate may work right now."""
        return (
            self._renewed_at is not None
            and self._monotonic() - self._renewed_at < self._timing.renew_deadline
        )

    @property
    def annotations(self) -> Mapping[str, str]:
        """What stands on the lease beside the holder's name: the `notes` of this and earlier holders."""
        return _annotations(self._lease) if self._lease else {}

    def check(self) -> None:
        """Raise `LeaseLost` unless the lease is held: called before each write."""
        if not self.held:
            raise LeaseLost(f"lease {self._namespace}/{self._name} is not held by {self._identity}")

    def blind(self) -> bool:
        """Whether nothing was heard of the lease, whoever holds it, for as long as it lasts: another may lead
        by now, and know more. It is asked for all the time, while watches may be silent for minutes.
        """
        return self._monotonic() - self._heard_at > self._timing.duration

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while True:
            if await self._try():
                metrics.LEADER.set(1)
                log.info("This operator leads", extra={"lease": self._name, "identity": self._identity})
                return
            await asyncio.sleep(self._timing.retry)

    async def hold(self) -> None:
        """Renew for ever; raises `LeaseLost` when that failed for too long or another holds it."""
        try:
            while True:
                await asyncio.sleep(self._timing.retry)
                if self._renewed_at is None:
                    self.check()
                left = (self._renewed_at or 0.0) + self._timing.renew_deadline - self._monotonic()
                try:
                    async with asyncio.timeout(max(left, 0.0)):
                        await self._try()
                except TimeoutError:
                    pass
                self.check()
        finally:
            metrics.LEADER.set(0)

    async def release(self) -> None:
        """Let the next one start at once; called after the last worker ended."""
        if not self.held or self._lease is None:
            return
        self._renewed_at = None
        try:
            try:
                await self._give_up(self._lease)
            except Conflict:
                # The last renewal may have been written although nobody waited for its answer.
                current = await self._client.get(LEASE, self._namespace, self._name)
                if current["spec"].get("holderIdentity") == self._identity:
                    await self._give_up(current)
        except ApiError as error:
            log.warning("The lease was not released; it will expire", extra={"error": str(error)})

    async def _give_up(self, current: Json) -> None:
        body = self._body(current)
        body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        await self._client.update(LEASE, self._namespace, body)

    async def _try(self) -> bool:
        started = self._monotonic()
        try:
            self._lease = await self._take()
        except ApiError as error:
            # A conflict may be our own renewal, sent twice over a bad connection: the next try reads who
            # holds it.
            log.info("The lease was not taken", extra={"lease": self._name, "error": str(error)})
            return False
        self._heard_at = started
        if self._lease is None:
            self._renewed_at = None
            return False
        # Counted from before the request: the server's copy is at least that young.
        self._renewed_at = started
        return True

    async def _take(self) -> Json | None:
        """One try: create, renew, or take over. None when another holds it."""
        if self.held and self._lease is not None:
            # While nobody else wrote it, a renewal is one request: the guard says so when it is not.
            with contextlib.suppress(Conflict):
                return await self._client.update(LEASE, self._namespace, self._body(self._lease))
        try:
            current = await self._client.get(LEASE, self._namespace, self._name)
        except NotFound:
            noted = await self._succeeds()
            if noted is None:
                return None
            return await self._client.create(LEASE, self._namespace, self._body(None, noted))
        holder, unchanged = self._observe(current)
        expired = unchanged >= float(current["spec"].get("leaseDurationSeconds") or 0)
        if holder not in ("", self._identity) and not expired:
            return None
        return await self._client.update(LEASE, self._namespace, self._body(current))

    async def _succeeds(self) -> Mapping[str, str] | None:
        """What the last operator of this installation noted on the shared lease; None while one works by it.

        Who let go of it may be followed by another one of before, within `retry` seconds: so one that is free
        has to stay so for as long as one that is held and not renewed.
        """
        if self._name == SHARED:
            return {}
        try:
            shared = await self._client.get(LEASE, self._namespace, SHARED)
        except NotFound:
            return {}
        holder, unchanged = self._observe(shared)
        if holder != "" and not holder.startswith(f"{self._name}-"):
            return {}
        return _annotations(shared) if unchanged >= self._timing.duration else None

    def _observe(self, lease: Json) -> tuple[str, float]:
        """Who holds it, and for how many seconds nobody was seen to write it."""
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._observed:
            self._observed, self._observed_at = record, self._monotonic()
        return holder, self._monotonic() - self._observed_at

    def _body(self, current: Json | None, noted: Mapping[str, str] = MappingProxyType({})) -> Json:
        """`noted` before there was a lease."""
        now = rfc3339_micro(self._clock.now())
        old = (current or {}).get("spec", {})
        mine = old.get("holderIdentity") == self._identity
        meta: Json = {"name": self._name, "namespace": self._namespace}
        if current is not None:
            meta["resourceVersion"] = current["metadata"]["resourceVersion"]
            noted = _annotations(current)
        if annotations := {**noted, **self._notes()}:
            meta["annotations"] = annotations
        return {
            "metadata": meta,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._timing.duration),
                "acquireTime": old.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine or not old else 1),
            },
        }


def _annotations(lease: Json) -> Mapping[str, str]:
    return lease["metadata"].get("annotations") or {}
