"""Which of the namespaces that an installation is given may not be read.

The chart's Role for a namespace stands in it, so a namespace that is deleted takes the right to watch it
along, which the API server answers as it answers everybody without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from noria_operator.kube.client import Client
from noria_operator.kube.errors import Forbidden
from noria_operator.kube.kinds import MODELDEPLOYMENT


async def forbidden(client: Client, namespaces: Iterable[str]) -> frozenset[str]:
    """Those in which no ModelDeployment may be read. Raises `ApiError` where the API server does not say so
    of some and otherwise of others: where it is all of them, it is not the namespaces that are missing.
    """
    names = list(namespaces)
    refusals = await asyncio.gather(*(_refusal(client, name) for name in names))
    found = {name: refusal for name, refusal in zip(names, refusals, strict=True) if refusal is not None}
    if found and len(found) == len(names):
        raise found[names[0]]
    return frozenset(found)


async def _refusal(client: Client, namespace: str) -> Forbidden | None:
    try:
        await client.served(MODELDEPLOYMENT, namespace)
    except Forbidden as error:
        return error
    return None
