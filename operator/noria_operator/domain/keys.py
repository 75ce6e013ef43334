"""Keys derived from the one master key that the operator's pod mounts.

Comes in: the master key and what a key is for. Goes out: the feedback keys of a ModelDeployment and the token
by which a namespace's router proves itself. Invariant: same inputs, same key, so the operator never has to
read a Secret back; a key for one purpose, namespace, deployment or period says nothing about any other
(HMAC-SHA256 as in RFC 5869, expand step).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Final

MASTER_KEY_MIN: Final = 32
"""Bytes that a master key must have at least."""
KEY_PERIOD: Final = timedelta(days=90)
"""How long a feedback key signs; then it verifies for as long again, which is what a token is good for."""
KEY_AHEAD: Final = timedelta(days=3)
"""How long before its time a key is made. The kubelet brings it to pods within minutes; where nobody made it,
the last one goes on signing.
"""


def derive(master: bytes, purpose: str, *parts: str) -> bytes:
    """32 bytes for `purpose` and `parts`. Raises ValueError for a master key that is too short to be one."""
    if len(master) < MASTER_KEY_MIN:
        raise ValueError(f"the master key has {len(master)} bytes, it needs at least {MASTER_KEY_MIN}")
    # Lengths before contents: ("ab", "c") and ("a", "bc") must not give the same key.
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in (purpose, *parts))
    return hmac.new(master, b"noria/v1" + message, hashlib.sha256).digest()


def key_period(now: datetime) -> int:
    """The number of the period that `now` is in; each has a feedback key of its own."""
    return int(now.timestamp() // KEY_PERIOD.total_seconds())


def period_start(period: int) -> datetime:
    """When its key begins to sign."""
    return datetime.fromtimestamp(0, UTC) + period * KEY_PERIOD


def periods_wanted(now: datetime) -> tuple[int, ...]:
    """The periods whose keys should be there, in order."""
    this = key_period(now)
    return (this, this + 1) if period_start(this + 1) - now <= KEY_AHEAD else (this,)


def feedback_keys(master: bytes, namespace: str, deployment: str, uid: str, *, period: int) -> str:
    """Content of `keys.json` in the feedback Secret of one ModelDeployment and period: a key, its id, and the
    Unix time from which it signs.
    """
    key = derive(master, "feedback", namespace, deployment, uid, str(period))
    kid = derive(master, "feedback-key-id", namespace, deployment, uid, str(period)).hex()[:8]
    content = {
        "active": kid,
        "keys": {kid: base64.b64encode(key).decode()},
        "from": int(period_start(period).timestamp()),
    }
    return json.dumps(content, sort_keys=True)


def router_token(master: bytes, namespace: str) -> str:
    """What the routers of `namespace` show in `node.metadata.token` to get that namespace's configuration
    only.

    An operator of before, which knows of pods by EndpointSlices alone, does not take it: it would tell such a
    router that versions without a Service have no pods.
    """
    return derive(master, "router", namespace, "pods").hex()


def router_tokens(master: bytes, namespace: str) -> tuple[str, str]:
    """The tokens that are good: also the one that routers of before show to operators of either kind."""
    return router_token(master, namespace), derive(master, "router", namespace).hex()


def same_token(shown: str, expected: str) -> bool:
    """Compare without telling by timing how much of a guess was right."""
    return hmac.compare_digest(shown.encode(), expected.encode())
