"""One served version: its model, counters and feedback desk.

In: decoded requests. Out: answers, counts. Invariant: a Service exists only after a load that reproduced the
golden rows, and every inference request is counted exactly once, here.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from noria_serving import contract, slices
from noria_serving.counters.answers import Answers, Key
from noria_serving.counters.latency import Histogram
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.ring import Ring
from noria_serving.feedback import window
from noria_serving.feedback.desk import Desk
from noria_serving.feedback.keys import MountedKeys
from noria_serving.limits import DEFAULT, Limits
from noria_serving.model.base import blocks, concurrent
from noria_serving.model.loaded import Loaded
from noria_serving.model.scoring import Scored, said
from noria_serving.payload.log import PayloadLog
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.protocol.tensors import all_finite, decode_inputs
from noria_serving.server import batching
from noria_serving.server.admission import Admission, Refusal
from noria_serving.server.blame import doubtful, unlike_training
from noria_serving.server.line import Line
from noria_serving.server.soundness import Soundness
from noria_serving.settings import ModelSettings

log = logging.getLogger(__name__)
TOKEN_HEADER: Final = contract.FEEDBACK_HEADER.lower().encode()
VERSION_HEADER: Final = contract.VERSION_HEADER.lower().encode()
INLINE_SECONDS: Final = 0.002
"""A prediction that should take less runs on the event loop: a thread costs 35 µs of CPU more (measured)."""
TOO_LATE: Final = 504
CLIENT_GONE: Final = 499
"""What nginx calls a client that did not wait."""


class Flawed(Exception):
    """What a model gave is no answer; `str()` follows "the model"."""


class Unanswered(RequestError):
    """The rows are in order, and hold new values that the model has no answer to, or their answer has no form
    in the protocol of the request.
    """


class Turns(Protocol):
    """A line for the event loop."""

    @property
    def waiting(self) -> int: ...

    async def turn(self) -> bool:
        """False when the line is full."""


class Service:
    """Everything that a served version has."""

    def __init__(self, settings: ModelSettings, loaded: Loaded, limits: Limits = DEFAULT) -> None:
        now = time.time()
        self.settings = settings
        self.limits = limits
        self.loaded = loaded
        self.signature = loaded.backend.signature
        self.loaded_at = now
        self.process = str(uuid.uuid4())
        """Changes when a counter may have started again."""
        self.in_flight = 0
        self._closed = False
        self._labels_only, self._calls = loaded.scoring.labels_only, loaded.scoring.calls
        self.recorder = Recorder(
            loaded.reference,
            loaded.manifest.classes if self._labels_only else (),
            loaded.manifest.classes if self._calls else (),
        )
        self.answers = Answers(loaded.manifest.task, loaded.manifest.classes)
        self.ring = Ring(self.recorder.state.vector, now)
        self.latency, self.inference = Histogram(), Histogram()
        self.payload = _payload(settings, loaded)
        self.desk = Desk(
            self.recorder.state,
            MountedKeys(settings.feedback_keys),
            namespace=settings.namespace,
            deployment=settings.deployment,
            version=settings.version,
            task=loaded.manifest.task,
            classes=loaded.manifest.classes,
            by_class=self._calls,
            log=self.payload,
            window=window.of_process(),
        )
        quick = loaded.seconds_per_call < INLINE_SECONDS and not blocks(loaded.backend)
        self._inline_rows = loaded.rows_within(INLINE_SECONDS) if quick else -1
        joins = not quick and limits.batch_rows > 1 and _pays(loaded)
        self.admission = Admission(
            limits, seconds=loaded.seconds_per_call, batch_rows=limits.batch_rows if joins else 1
        )
        self.line = Line(loaded.backend.predict, self.admission, joins=joins, observe=self.inference.observe)
        self.soundness = Soundness(loaded, self.line, limits)
        self._concurrent = concurrent(loaded.backend)

    async def infer(
        self,
        request: InferRequest,
        *,
        arrived: float | None = None,
        deadline: float | None = None,
        ahead: int = 0,
        key: Key | None = None,
        entrance: Turns | None = None,
        size: int = 0,
    ) -> InferAnswer:
        """Predict and count; a RequestError says why there is no answer. The answer is kept under `key`.
        `size`: bytes of the request.

        `arrived`, `deadline` (time.monotonic()): since when it waits, and until when its client does. The
        earlier of this deadline and the request's own counts; the server's is for those that have neither.
        `ahead`: requests that wait for the event loop and came before it.
        `entrance`: where a prediction on the event loop waits for its turn; None: it has it.
        """
        self.in_flight += 1
        try:
            return await self._answer(
                request,
                arrived=arrived,
                deadline=deadline,
                ahead=ahead,
                key=key,
                entrance=entrance,
                size=size,
            )
        except RequestError as error:
            self.refuse(error)
            raise
        except asyncio.CancelledError:
            until = self._until(time.monotonic() if arrived is None else arrived, deadline, request.deadline)
            late = until is not None and time.monotonic() >= until  # its client has just given it up, too
            self.admission.refused[Refusal.DEADLINE if late else Refusal.GONE] += 1
            self.recorder.refused(TOO_LATE if late else CLIENT_GONE, contract.Why.UNANSWERED)
            raise
        finally:
            self.in_flight -= 1

    async def _answer(
        self,
        request: InferRequest,
        *,
        arrived: float | None,
        deadline: float | None,
        ahead: int,
        key: Key | None,
        entrance: Turns | None,
        size: int,
    ) -> InferAnswer:
        """Of the model, counted; RequestError where it gave none."""
        most = self.limits.max_rows
        if request.rows > most > 0:
            said = (
                f"the request has {request.rows} rows, the limit is {most}: ask for them in several requests"
            )
            raise RequestError(said, status=413)
        try:
            outputs = await self._predict(request, arrived, deadline, ahead, entrance)
            scored = self._checked(request, outputs)
            return InferAnswer(outputs, self._account(request, outputs, scored, key, size))
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            until = self._until(time.monotonic() if arrived is None else arrived, deadline, request.deadline)
            raise await self._no_answer(request, error, until) from error

    def _checked(self, request: InferRequest, outputs: list[Array]) -> Scored:
        """What is counted of an answer that can be sent; else Flawed, or RequestError where another
        protocol can send it.
        """
        if request.by_row:
            for tensor, output in zip(self.signature.outputs, outputs, strict=True):
                if len(output) != request.rows:
                    raise Unanswered(f"output {tensor.name!r} has not a value for each row: ask over V2")
        for index in request.finite:
            output = outputs[index]
            if output.dtype.kind == "f" and not all_finite(output):
                raise Flawed("gave NaN or infinity, which JSON cannot carry")
        scored = self.loaded.scoring.read(outputs)
        if len(scored[0]) != request.rows:
            raise Flawed(f"gave {len(scored[0])} predictions for {request.rows} rows")
        if self.loaded.scoring.output not in request.finite and self._is_flawed(request, scored[0]):
            raise Flawed("gave NaN or infinity, and never did in training")
        return scored

    def _is_flawed(self, request: InferRequest, scores: Array) -> bool:
        """Whether an answer that may hold NaN has one that the rows do not explain: who sends values unlike
        those of training, such as NaN, gets what the model says of them.
        """
        known = self.loaded.reference.prediction
        if known.missing or known.infinite or all_finite(scores):
            return False
        return unlike_training(self.loaded.reference, request.inputs) is None

    async def _no_answer(
        self, request: InferRequest, error: BaseException, until: float | None
    ) -> RequestError:
        """400 where the rows explain it, else 500, and the model must prove itself again."""
        words = str(error).partition("\n")[0]
        what = words if isinstance(error, Flawed) else f"failed: {type(error).__name__}: {words:.300}"
        # The client is told what explains it, and could fill the log.
        strange = unlike_training(self.loaded.reference, request.inputs)
        if strange is not None:
            return RequestError(f"{strange}; the model {what}", why=contract.Why.STRANGE)
        new = await self._explained(request, until)
        if new is not None:
            return Unanswered(f"{new}; the model {what}", why=contract.Why.STRANGE)
        log.warning("model failed", exc_info=error)
        self.soundness.prove_soon()
        return RequestError(f"the model {what}", status=500)

    async def _explained(self, request: InferRequest, until: float | None) -> str | None:
        """The new values without which the model does answer, and with which it fails again, as one does not
        that fails now and then. It is asked in its line: RequestError where that has no place or time for it.
        """
        doubt = doubtful(self.loaded.reference, request.inputs)
        if doubt is None or await self._fails(request, doubt.inputs, until):
            return None
        return doubt.said if await self._fails(request, request.inputs, until) else None

    async def _fails(self, request: InferRequest, inputs: Mapping[str, Array], until: float | None) -> bool:
        """Whether the model gives no answer to these rows in place of those of the request."""
        try:
            self._checked(request, await self.line.run(inputs, request.rows, until))
        except RequestError:
            raise
        except Exception:
            return True
        return False

    def refuse(self, error: RequestError) -> None:
        """Count a request that gets this error, and let the error name the version."""
        self.recorder.refused(error.status, error.why, in_order=isinstance(error, Unanswered))
        if not any(name == VERSION_HEADER for name, _ in error.headers):
            error.headers = [*error.headers, named(self.settings)]

    def headers(self, answer: InferAnswer) -> Sequence[tuple[bytes, bytes]]:
        """What stands beside an answer: the version, and the token for its label."""
        if answer.token is None:
            return [named(self.settings)]
        return [named(self.settings), (TOKEN_HEADER, answer.token.encode())]

    async def _predict(
        self,
        request: InferRequest,
        arrived: float | None,
        deadline: float | None,
        ahead: int,
        entrance: Turns | None,
    ) -> list[Array]:
        """The model's outputs; small predictions inline, large ones in one thread, so that health still
        answers.
        """
        now = time.monotonic()
        since = now if arrived is None else arrived
        until = self._until(since, deadline, request.deadline)
        inputs, rows = request.inputs, request.rows
        if entrance is not None and rows <= self._inline_rows:
            if not await entrance.turn():
                raise self.admission.refuse(Refusal.QUEUE_FULL, elsewhere=entrance.waiting)
            now = time.monotonic()
        if rows > self._inline_rows or not (self._concurrent or self.line.idle):
            return await self.line.run(inputs, rows, until)
        if not self.limits.max_queue or ahead > self.limits.max_queue:
            raise self.admission.refuse(Refusal.QUEUE_FULL, elsewhere=ahead)
        self.admission.check(since, until, now)
        started = time.perf_counter()
        outputs = self.loaded.backend.predict(inputs)
        self.inference.observe(time.perf_counter() - started)
        return outputs

    def _until(self, arrived: float, told: float | None, asked: float | None) -> float | None:
        """The earliest deadline; the server's own where the client has none."""
        if told is None:
            if asked is None:
                return arrived + self.limits.deadline if self.limits.deadline else None
            return asked
        return told if asked is None or told < asked else asked

    def _account(
        self, request: InferRequest, outputs: list[Array], scored: Scored, key: Key | None, size: int
    ) -> str | None:
        """Count an answered request; the feedback token that goes with it."""
        scores, predicted = scored
        if key is not None:
            self.answers.add(key, said(scored))
        counted, called = said(scored) if self._labels_only else scores, predicted if self._calls else None
        if self.recorder.answered(request.inputs, counted, size, called):
            asyncio.get_running_loop().call_soon(self.recorder.fold)  # after this answer
        nonce, now = self.desk.nonce(), time.time()
        logged = self.payload is not None and self.payload.prediction(
            nonce, now, request.id, request.inputs, outputs
        )
        try:
            groups = self._slices(request.inputs, len(scores))
            by_class = outputs[self.loaded.scoring.output] if self._calls else None
            return self.desk.issue(nonce, scores, predicted, now, groups, by_class=by_class, logged=logged)
        except (ValueError, OverflowError):
            return None  # NaN or infinity, sent as binary: no score that a label could confirm

    def _slices(self, inputs: Mapping[str, Array], rows: int) -> bytes:
        """Which slices a token says that its rows belong to."""
        known = self.loaded.reference.slices
        if not known or self.desk.keys.ring is None or rows > contract.FEEDBACK_MAX_ROWS:
            return b""
        return slices.of_rows(known, inputs, rows)

    def tick(self) -> None:
        """Every few seconds: look for a call that does not end and for a model that failed, fold, remember a
        snapshot, look for changed keys, forget answers that nobody asks for.
        """
        self.soundness.look()
        self.answers.expire(time.monotonic())
        self.recorder.fold()
        self.ring.take(self.recorder.state.vector, time.time())
        self.desk.keys.refresh()

    @property
    def at_work(self) -> bool:
        """Whether requests are in flight, its thread is in a call, or its payload log is not complete."""
        writes = self.payload is not None and not self.payload.complete
        return writes or self.in_flight > 0 or not self.line.idle

    def close(self) -> None:
        """No more requests come; what the payload log still has is written by its own thread."""
        if self._closed:
            return
        self._closed = True
        self.soundness.close()
        if self.payload is not None:
            self.payload.close()
        self.line.close()
        self.loaded.close()


def named(settings: ModelSettings) -> tuple[bytes, bytes]:
    """The header that says which version answers, good or bad."""
    return VERSION_HEADER, settings.version.encode()


def _pays(loaded: Loaded) -> bool:
    """Whether requests for this model are to be joined."""
    if loaded.seconds_per_call > batching.SLOWEST_CALL:
        return False
    rows = decode_inputs(loaded.golden["inputs"], loaded.backend.signature.inputs)
    joins = batching.pays(loaded.backend.predict, rows, float(loaded.golden["tolerance"]))
    log.info("requests are joined" if joins else "joining requests would not pay")
    return joins


def _payload(settings: ModelSettings, loaded: Loaded) -> PayloadLog | None:
    if settings.payload_log is None:
        return None
    return PayloadLog(
        settings.payload_log,
        loaded.backend.signature,
        loaded.reference,
        version=settings.version,
        regression=loaded.manifest.task == "regression",
    )
