"""Which ids of a command were carried out.

Comes in: the id that was acknowledged last, and those before. Goes out: those before the next one.
Invariant: a command is carried out once for each id, also where a GitOps tool puts back the annotation of a
commit after a person gave another; an id that is put back again and again is not forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EARLIER: Final = 10
"""Ids of each command that are remembered beside the last."""
AGAIN: Final = "this id was carried out before; give another one if it is meant"


def earlier(last: str | None, before: Sequence[str], given: str) -> tuple[str, ...]:
    """The ids before `given`, the newest first, once that is acknowledged."""
    return tuple(one for one in dict.fromkeys((last, *before)) if one and one != given)[:EARLIER]
