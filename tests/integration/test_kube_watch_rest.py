"""What the event source asks of a real API server while nothing happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from tests.integration.running import Cluster, alongside

from noria_operator.kube import watch
from noria_operator.kube.kinds import DEPLOYMENT, ENDPOINTSLICE, JOB, OWN_KINDS, POD, PVC, SERVICE
from noria_operator.kube.stream import Stream
from noria_operator.kube.watch import Watcher

pytestmark = pytest.mark.extended

REST = 160.0
"""Seconds: less than a watch lasts, and more than twice the minute in which bookmarks come where something
happens."""


async def test_a_watch_of_a_kind_in_which_nothing_happens_is_opened_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[Stream] = Counter()
    silent: list[float] = []

    class Counting(watch.Pulse):
        def opened(self, stream: Stream, *, watch: bool, whole: bool) -> None:
            opened[stream] += watch
            super().opened(stream, watch=watch, whole=whole)

    monkeypatch.setattr(watch, "Pulse", Counting)
    kinds = dict.fromkeys((*OWN_KINDS, POD, DEPLOYMENT, SERVICE, JOB, ENDPOINTSLICE, PVC))
    watcher = Watcher(
        cluster.endpoint,
        kinds,
        namespaces=[cluster.namespace],
        seen=lambda *_: None,
        relisted=lambda _: None,
        told=lambda _: None,
    )
    async with alongside(watcher.run()):
        start = time.monotonic()
        while time.monotonic() - start < REST:
            await asyncio.sleep(0.5)
            silent.append(watcher.age())
    print(
        f"{sum(opened.values())} watches of {len(opened)} kinds in {REST:.0f} s, silent {max(silent):.0f} s"
    )
    assert opened == Counter(dict.fromkeys(watcher.streams, 1))
