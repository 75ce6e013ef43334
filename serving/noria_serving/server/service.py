"""One served version: its model, counters and feedback desk.

In: decoded requests. Out: answers, counts. Invariant: a Service exists only after a load that reproduced the
golden rows, and every inference request is counted exactly once, here.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from noria_serving.counters.latency import Histogram
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.ring import Ring
from noria_serving.errors import NoriaError
from noria_serving.feedback.desk import Desk
from noria_serving.feedback.keys import MountedKeys
from noria_serving.model.loaded import Loaded
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.server.blame import unlike_training
from noria_serving.settings import ModelSettings

log = logging.getLogger(__name__)
INLINE_SECONDS: Final = 0.002
"""A prediction that should take less runs on the event loop: a thread costs 35 µs of CPU more (measured)."""


class Service:
    """Everything that a served version has."""

    def __init__(self, settings: ModelSettings, loaded: Loaded) -> None:
        now = time.time()
        self.settings = settings
        self.loaded = loaded
        self.signature = loaded.backend.signature
        self.loaded_at = now
        self.process = str(uuid.uuid4())
        """Changes when a counter may have started again."""
        self.in_flight = 0
        self.fault = ""
        """Why it is not ready any more."""
        self._proving: asyncio.Task[None] | None = None
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

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Predict and count; a RequestError says why there is no answer."""
        self.in_flight += 1
        try:
            outputs = await self._predict(request.inputs, request.rows)
            for index in request.finite:
                output = outputs[index]
                if output.dtype.kind == "f" and not np.isfinite(output).all():
                    raise self._no_answer(request, "gave NaN or infinity, which JSON cannot carry")  # noqa: TRY301
            return InferAnswer(outputs, self._account(request.inputs, outputs))
        except RequestError as error:
            self.refused(error.status)
            raise
        except Exception as error:
            log.warning("model failed", exc_info=error)
            refusal = self._no_answer(request, f"failed: {type(error).__name__}: {error!s:.300}")
            self.refused(refusal.status)
            raise refusal from error
        finally:
            self.in_flight -= 1

    def _no_answer(self, request: InferRequest, what: str) -> RequestError:
        """400 where the rows explain it, else 500, and the model must prove itself again."""
        strange = unlike_training(self.loaded.reference, request.inputs)
        if strange is not None:
            return RequestError(f"the model {what}; {strange}")
        if self._proving is None or self._proving.done():
            self._proving = asyncio.get_running_loop().create_task(self.prove())
        return RequestError(f"the model {what}", status=500)

    async def prove(self) -> None:
        """Does the model still give its golden answers? If not, it is not ready until it does again."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.loaded.prove)
        except NoriaError as error:
            self.fault = error.message
            log.error("model failed its golden rows: %s", error.message)  # noqa: TRY400  the reason says it all
        else:
            self.fault = ""

    def refused(self, status: int) -> None:
        """Count a request that was refused before it could be inferred."""
        self.recorder.refused(status)

    async def _predict(self, inputs: Mapping[str, Array], rows: int) -> list[Array]:
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

    def _account(self, inputs: Mapping[str, Array], outputs: list[Array]) -> str | None:
        """Count an answered request; the feedback token that goes with it."""
        scores = self.loaded.scores(outputs)
        predicted = None
        if self.loaded.manifest.task == "multiclass":
            probabilities = outputs[self.loaded.score_output]
            predicted = probabilities.reshape(len(scores), -1).argmax(axis=1)
        if self.recorder.answered(inputs, scores):
            asyncio.get_running_loop().call_soon(self.recorder.fold)  # after this answer
        try:
            return self.desk.issue(self.desk.nonce(), scores, predicted, time.time())
        except (ValueError, OverflowError):
            return None  # NaN or infinity, sent as binary: no score that a label could confirm

    def tick(self) -> None:
        """Every few seconds: fold, remember a snapshot, look for changed keys."""
        self.recorder.fold()
        self.ring.take(self.recorder.state.vector, time.time())
        self.desk.keys.refresh()

    def close(self) -> None:
        self._thread.shutdown(wait=False)
