"""Times as status holds them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from noria_operator.api.types import format_time

TOLERANCE: Final = timedelta(minutes=5)
"""So much the clocks of two leaders may differ."""


def stamp(moment: datetime) -> str:
    """A moment as text; the fraction of the second is dropped, so text and time compare alike."""
    return format_time(moment.replace(microsecond=0))


def moment(text: str) -> datetime:
    """The time that `stamp` or the API server wrote."""
    return datetime.fromisoformat(text).astimezone(UTC)
