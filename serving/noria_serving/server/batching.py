"""Several requests in one call of the model: whether that pays, how they are joined, how answers are taken
apart.

In: a loaded model and its golden rows; the inputs of several requests. Out: whether to join; one answer for
each request. Invariants: requests are joined only for a model that gave the same answers to its golden rows
alone, together and in another order, and gave them together at half the cost or less; a request whose company
makes the model fail is asked again alone, so that only the one at fault gets the error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from noria_serving.model.loaded import same

Array = NDArray[Any]
Inputs = Mapping[str, Array]
Predict = Callable[[Inputs], list[Array]]
T = TypeVar("T")

log = logging.getLogger(__name__)
PAYS: Final = 0.5
"""Rows together may take at most this share of the time that they take one by one."""
PROBED_ROWS: Final = 8
SLOWEST_CALL: Final = 0.5
"""Seconds; a model that takes longer is not asked a dozen times before it is ready."""


def pays(
    predict: Predict, rows: Inputs, tolerance: float, *, clock: Callable[[], float] = time.perf_counter
) -> bool:
    """Whether the rows of a request depend on nobody else's, and cost less together."""
    count = min(PROBED_ROWS, *(len(array) for array in rows.values()))
    rows = {name: array[:count] for name, array in rows.items()}
    if count < 2 or all(_constant(array) for array in rows.values()):
        return False  # nothing to tell neighbours apart by
    try:
        apart, each = _timed(lambda: [predict(_only(rows, [i])) for i in range(count)], clock)
        together, whole = _timed(lambda: predict(rows), clock)
        backwards = list(reversed(range(count)))
        turned = predict(_only(rows, backwards))
        parts = split(whole, [1] * count), split(turned, [1] * count)[::-1]
    except Exception as error:
        log.info("requests are not joined: the model fails on one golden row", extra={"error": repr(error)})
        return False
    alike = all(
        same(one, other, tolerance)
        for part in parts
        for single, answer in zip(each, part, strict=True)
        for one, other in zip(single, answer, strict=True)
    )
    return alike and together <= PAYS * apart


def key(inputs: Inputs) -> Hashable:
    """Requests with equal keys may be joined: the same tensors, in everything but their rows."""
    return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


def join(requests: Sequence[Inputs]) -> Inputs:
    """The rows of all of them, in order."""
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def split(outputs: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Each request's part of the outputs; ValueError when there are not as many rows as went in."""
    total = sum(rows)
    for output in outputs:
        if output.ndim == 0 or len(output) != total:
            raise ValueError(f"{total} rows went in, an output of shape {output.shape} came out")
    parts: list[list[Array]] = []
    start = 0
    for count in rows:
        parts.append([output[start : start + count] for output in outputs])
        start += count
    return parts


def answer(
    predict: Predict, requests: Sequence[Inputs], rows: Sequence[int], wanted: Callable[[int], bool]
) -> list[list[Array] | Exception]:
    """One answer or error for each request. `wanted(i)`: does anybody still wait for that one?"""
    if len(requests) > 1:
        try:
            return list(split(predict(join(requests)), rows))
        except BaseException as error:
            log.warning("requests that failed together are asked one by one", extra={"error": repr(error)})
    return [
        _alone(predict, inputs) if wanted(index) else RuntimeError("nobody waits")
        for index, inputs in enumerate(requests)
    ]


def _alone(predict: Predict, inputs: Inputs) -> list[Array] | Exception:
    try:
        return predict(inputs)
    except StopIteration as error:  # which no future carries
        return RuntimeError(repr(error))
    except Exception as error:
        return error
    except BaseException as error:  # such as SystemExit: a model does not decide when the server ends
        return RuntimeError(repr(error))


def _timed(call: Callable[[], T], clock: Callable[[], float]) -> tuple[float, T]:
    """(seconds of the faster of two rounds, result)."""
    first = clock()
    call()
    second = clock()
    result = call()
    return min(second - first, clock() - second), result


def _only(rows: Inputs, chosen: list[int]) -> Inputs:
    return {name: array[chosen] for name, array in rows.items()}


def _constant(array: Array) -> bool:
    return bool((array == array[:1]).all())
