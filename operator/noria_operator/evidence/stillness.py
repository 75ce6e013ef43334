"""Whether anybody still sends requests to a pod, by what its server counts.

Comes in: the requests that each pod has counted, whenever it is looked at. Goes out: whether it is still
asked. Invariant: a pod that was not watched for `CALM` is taken to be asked, so that a restart of the
operator hurries nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from noria_operator.recent import Recent

CALM = timedelta(seconds=2)
"""Without a new request for so long, nobody sends any. Who sends fewer than one in that time loses one at
most, which the pod answers after it was told to end."""
MOST = 4096
"""Pods remembered; the oldest go first."""


class Stillness:
    """Remembers of each pod how many requests it had and since when."""

    def __init__(self) -> None:
        self._since = Recent[str, tuple[int, datetime]](MOST)

    def busy(self, uid: str, requests: int, now: datetime) -> bool:
        """Whether the pod got a request within `CALM`, or is not known for so long."""
        known = self._since.get(uid)
        if known is None or known[0] != requests:
            known = self._since[uid] = (requests, now)
        return now - known[1] < CALM
