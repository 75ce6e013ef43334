"""Windows in which a revision of the champion's own version got copies of clients' requests (`mirror` of a
step that tries another configuration): servers count them under the version's name, as clients' rows.

Comes in: the deployment, and the entry of a trigger that looks at how many rows come. Goes out: whether it is
so now, and whether it was in the window, of which the mark in the entry's state tells.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

COPIED: Final = "copied"
"""The mark in an entry's state."""


def copies_itself(deployment: Json | None) -> bool:
    """Whether copies go to a revision of the champion's version now."""
    status = (deployment or {}).get("status", {})
    champion = (status.get("stable") or {}).get("version")
    return any(one.get("mirror") and one["version"] == champion for one in status.get("traffic", ()))


def sure_rows(entry: Json, rows: int, others: int) -> int | None:
    """How many of the champion's `rows` clients surely sent, of whose requests each is copied once at most;
    None where no copies can be among them and those of `others`.
    """
    if (entry.get("state") or {}).get(COPIED):
        return rows // 2
    return rows if others else None
