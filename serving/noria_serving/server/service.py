"""One served version: its model, counters and feedback desk, and the state of its readiness.

In: decoded requests. Out: arrays, tokens, counts. Invariant: `ready` is true only between a load that
reproduced the golden rows and the start of draining.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.counters.latency import Histogram
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.ring import INTERVAL_SECONDS, Ring
from noria_serving.feedback.desk import Desk
from noria_serving.feedback.keys import MountedKeys
from noria_serving.model.loaded import Loaded
from noria_serving.settings import Settings

Array = NDArray[Any]
INLINE_SECONDS: Final = 0.002
"""A prediction that should take less runs on the event loop: a thread costs 35 µs of CPU more (measured)."""


class Service:
    """Everything that a ready server has."""

    def __init__(self, settings: Settings, loaded: Loaded) -> None:
        now = time.time()
        self.settings = settings
        self.loaded = loaded
        self.loaded_at = now
        self.recorder = Recorder(loaded.reference)
        self.ring = Ring(self.recorder.state.vector, now)
        self.latency, self.inference = Histogram(), Histogram()
        self.desk = Desk(
            self.recorder.state,
            MountedKeys(settings.feedback_keys),
            namespace=settings.namespace,
            deployment=settings.deployment,
            version=settings.version,
            task=loaded.manifest.task,
            classes=loaded.manifest.classes,
        )
        per_row = loaded.seconds_per_call / max(1, loaded.golden_rows)
        self._inline_rows = (
            INLINE_SECONDS / max(per_row, 1e-9) if loaded.seconds_per_call < INLINE_SECONDS else 0
        )
        self._thread = ThreadPoolExecutor(1, "inference")

    async def predict(self, inputs: Mapping[str, Array], rows: int) -> list[Array]:
        """The model's outputs; small predictions inline, large ones in one thread, so that health still
        answers.
        """
        started = time.perf_counter()
        if rows <= self._inline_rows:
            outputs = self.loaded.backend.predict(inputs)
        else:
            loop = asyncio.get_running_loop()
            outputs = await loop.run_in_executor(self._thread, self.loaded.backend.predict, inputs)
        self.inference.observe(time.perf_counter() - started)
        return outputs

    def account(self, inputs: Mapping[str, Array], outputs: list[Array]) -> str | None:
        """Count an answered request; the feedback token that goes with it."""
        scores = self.loaded.scores(outputs)
        predicted = None
        if self.loaded.manifest.task == "multiclass":
            probabilities = outputs[self.loaded.score_output]
            predicted = probabilities.reshape(len(scores), -1).argmax(axis=1)
        self.recorder.answered(inputs, scores)
        return self.desk.issue(scores, predicted, time.time())

    def tick(self) -> None:
        """Every few seconds: fold, remember a snapshot, look for changed keys."""
        self.recorder.fold()
        self.ring.take(self.recorder.state.vector, time.time())
        self.desk.keys.refresh()

    async def keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self.tick()

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def finite(outputs: list[Array]) -> bool:
    """Whether every number can be written as JSON."""
    return all(bool(np.isfinite(output).all()) for output in outputs if output.dtype.kind == "f")
