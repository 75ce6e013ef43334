"""How a model is warmed up before it may answer: batches of golden rows, each predicted a few times.

In: the environment or the command line. Out: WarmUp, or `ConfigurationInvalid` that says what to correct.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason

MOST_ROWS: Final = 65_536
MOST_CALLS: Final = 1000
CALLS: Final = 3


@dataclass(frozen=True)
class WarmUp:
    """Each of the sizes is predicted `calls` times, in the order given."""

    rows: tuple[int, ...] = ()
    """Sizes of batches; none: only the golden rows are predicted, twice, as always."""
    calls: int = CALLS


NONE: Final = WarmUp()


def read(env: Mapping[str, str]) -> WarmUp:
    """From the variables that the operator sets."""
    try:
        return WarmUp(
            rows(env.get(contract.ENV_WARM_UP_ROWS) or ""),
            calls(env.get(contract.ENV_WARM_UP_CALLS) or str(CALLS)),
        )
    except argparse.ArgumentTypeError as error:
        raise NoriaError(Reason.CONFIGURATION, f"NORIA_WARM_UP_*: {error}") from error


def add(parser: argparse.ArgumentParser) -> None:
    """The same as flags."""
    parser.add_argument(
        "--warm-up-rows", type=rows, default=(), metavar="N[,N…]",
        help="before a model is ready, predict batches of so many golden rows",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up-calls", type=calls, default=CALLS, metavar="N", help="each so often (default: %(default)s)"
    )


def chosen(arguments: Any) -> WarmUp:
    """What the command line says."""
    return WarmUp(arguments.warm_up_rows, arguments.warm_up_calls)


def rows(text: str) -> tuple[int, ...]:
    """`1,64` → (1, 64)."""
    return tuple(_between(part, MOST_ROWS) for part in text.split(",")) if text else ()


def calls(text: str) -> int:
    return _between(text, MOST_CALLS)


def _between(text: str, most: int) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a number from 1 to {most}")
    return int(text)
