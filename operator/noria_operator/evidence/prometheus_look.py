"""Several answers of a Prometheus that make one look: all of them, or why there is nothing.

Comes in: the reading. Goes out: what it found, or a reason for people. Invariant: an answer that is missing,
late, too large or not understood is a problem with a reason, never a count of zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from noria_operator.domain.promql_samples import WrongCounts
from noria_operator.evidence.background import Look
from noria_operator.evidence.prometheus_api import BadAnswer

Found = TypeVar("Found")


async def look(reading: Awaitable[Found | None], *, longest: float, about: str = "") -> Look[Found]:
    """What `reading` finds within `longest` seconds; `about` says of what its answers are."""
    try:
        async with asyncio.timeout(longest):
            return Look(await reading)
    except TimeoutError:
        return Look(problem=f"its answers{about} took more than {longest:g} s together")
    except (BadAnswer, WrongCounts) as error:
        return Look(problem=str(error))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        return Look(problem=f"its answer is not understood: {type(error).__name__}: {error}"[:256])
