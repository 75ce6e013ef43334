"""What every protocol makes of an inference request, and what it gets to answer with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class InferRequest(NamedTuple):
    """An inference request that fits the signature."""

    inputs: Mapping[str, Array]
    """In the datatypes that the model takes; the first dimension is the rows."""
    rows: int
    outputs: tuple[int, ...]
    """Positions of the wanted outputs in the signature, in the order wanted."""
    id: str | None = None
    raw: frozenset[int] = frozenset()
    """Those of `outputs` that the client wants as raw bytes."""
    finite: tuple[int, ...] = ()
    """Those of `outputs` that cannot be sent with NaN or infinity in them: JSON has neither."""
    deadline: float | None = None
    """time.monotonic() after which nobody waits for the answer."""
    by_row: bool = False
    """Whether it can be answered only with a value of each output for each row."""


class InferAnswer(NamedTuple):
    """What the model said."""

    outputs: list[Array]
    """All of them, in the signature's order."""
    token: str | None
    """The feedback token."""
