"""Names that several parts of the example share; nothing heavy is imported here."""

from __future__ import annotations

from typing import Final

ONE_IN: Final = 8
"""One flight in so many is sent; all of them are in the lake."""
LOOKUP_NODE: Final = "look_up_share_of_hour"
"""The ONNX node that only the sabotaged model has; the runtime names it when it fails."""
UNKNOWN: Final = "unknown"
"""Version of a failure that nobody signed."""
SABOTAGED: Final = "sabotaged"
"""Version of a failure that names LOOKUP_NODE."""
