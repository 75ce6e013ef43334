"""What one server process puts up with: how much may wait, how long, and what a client may hold.

In: the environment or the command line. Out: Limits. Invariant: each limit has one name in three spellings,
field, variable and flag, all written down here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from noria_serving.errors import NoriaError, Reason


def _limit(default: float, variable: str, text: str) -> Any:
    return field(default=default, metadata={"variable": variable, "text": text})


@dataclass(frozen=True)
class Limits:
    """The defaults suit a pod with one CPU behind a router that gives a request 30 s, and a silent stream
    300 s: the server is to end it, in words that the client understands.
    """

    max_buffered: int = _limit(
        64 * 2**20, "NORIA_MAX_BUFFERED_BYTES", "bytes of all large bodies that are held at a time"
    )
    max_rows: int = _limit(2**19, "NORIA_MAX_ROWS", "rows that a request may have; 0: any number")
    max_queue: int = _limit(
        256, "NORIA_MAX_QUEUE", "requests that may wait for a version's thread, or for the event loop"
    )
    max_wait: float = _limit(
        5.0, "NORIA_MAX_WAIT_SECONDS", "how long a request may have to wait for its turn"
    )
    deadline: float = _limit(
        30.0,
        "NORIA_DEADLINE_SECONDS",
        "how long a request may take when its client says nothing; 0: for ever",
    )
    transfer: float = _limit(
        30.0, "NORIA_TRANSFER_SECONDS", "by when a request must be here, and an answer be taken; 0: never"
    )
    stream_idle: float = _limit(
        240.0, "NORIA_STREAM_SECONDS", "how long a client may send nothing on a gRPC stream; 0: for ever"
    )
    max_streams: int = _limit(
        1024, "NORIA_MAX_STREAMS", "gRPC streams, of requests and of health, that may be open at a time"
    )
    batch_rows: int = _limit(64, "NORIA_BATCH_ROWS", "rows that waiting requests are joined to; 1: never")
    batch_wait_ms: float = _limit(
        0.0, "NORIA_BATCH_WAIT_MS", "how long a request may be held back so that others join it"
    )


DEFAULT: Final = Limits()


def read(env: Mapping[str, str]) -> Limits:
    """From the environment; a malformed number is `ConfigurationInvalid`."""
    told: dict[str, Any] = {}
    for f in fields(Limits):
        default: Any = f.default
        told[f.name] = type(default)(number(env, f.metadata["variable"], default))
    return Limits(**told)


def add(parser: argparse.ArgumentParser) -> None:
    """The same as flags."""
    for f in fields(Limits):
        flag = _flag(f.metadata["variable"])
        kind: Any = type(f.default)
        parser.add_argument(
            flag, dest=f.name, type=not_negative(kind), default=f.default,
            metavar="N" if kind is int else "T", help=f"{f.metadata['text']} (default: %(default)s)",
        )  # fmt: skip


def chosen(arguments: argparse.Namespace) -> Limits:
    """What the command line says."""
    return Limits(**{f.name: getattr(arguments, f.name) for f in fields(Limits)})


def number(env: Mapping[str, str], name: str, default: float) -> float:
    """A variable that is a number and not negative."""
    text = env.get(name)
    if not text:
        return default
    try:
        return _parsed(text, float)
    except ValueError as error:
        raise NoriaError(Reason.CONFIGURATION, f"{name}={text!r}: {error}") from error


def _flag(variable: str) -> str:
    return "--" + variable.removeprefix("NORIA_").lower().replace("_", "-")


def not_negative(kind: Callable[[str], float]) -> Callable[[str], float]:
    """What reads a flag's number."""

    def parse(text: str) -> float:
        try:
            return _parsed(text, kind)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return parse


def _parsed(text: str, kind: Callable[[str], float]) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**40:
        raise ValueError("give a number that is not negative")
    return value
