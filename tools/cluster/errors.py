"""The one error of this tool: it says what happened, to what, and what to do next."""

from __future__ import annotations


class ClusterError(Exception):
    """Shown to the user as one line without a traceback."""
