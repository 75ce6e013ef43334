"""A router with guarded deployments, their pods, keys and an issuer of tokens.

Comes in: a folder, which stands for what is mounted into the router. Goes out: where it answers. Invariant:
only what is written into the folder opens a deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.callers import Issuer, mount
from tests.integration.envoy_router import (
    Cluster,
    Router,
    Upstream,
    discovery,
    router,
    upstream,
)
from tests.integration.test_envoy_grpc import grpc_upstream
from tools.ports import free_port

from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.routers.children import guards_wanted

Json = dict[str, Any]

KEY, OTHERS_KEY = "alices-key-0123456789", "bobs-key-0123456789ab"
NASTY = "it's \"x\\\n]] --"
"""A claim's name that would end a string or a comment if it stood in a script as it is."""
KEYS = {"apiKeys": {"secretName": "keys"}}
OTHERS = {"apiKeys": {"secretName": "others", "header": "Authorization"}}
OTHERS_CREDENTIAL = {"Authorization": f"Bearer {OTHERS_KEY}"}
TOKENS = {
    "jwt": {
        "issuer": "https://issuer.example",
        "audiences": ["models", "more"],
        "jwks": {"configMapName": "issuer"},
        "claims": {"realm.roles": ["ml", "ops"], NASTY: ["yes"]},
    }
}
CLAIMS = {"realm": {"roles": ["guest", "ml"]}, NASTY: "yes"}
CHECKED = {"AccessReady": "Checked"}


@dataclass
class Place:
    """A router with the guarded deployments a (keys and tokens) and why (keys), and b for everybody."""

    envoy: Router
    cluster: Cluster
    mounts: Path
    issuer: Issuer
    a: Upstream
    a_grpc: str
    b: Upstream

    async def raw(self, request: str) -> tuple[int, str]:
        """Status and the rest of an answer to a request as it is; 0 when the router closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.envoy.traffic)
        writer.write(request.encode())
        try:
            async with asyncio.timeout(3):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(dict(_fields(head)).get("content-length", "0"))
                body = b"" if request.startswith("HEAD ") else await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, ""
        finally:
            writer.close()
        return int(head.split()[1]), head + body.decode()

    async def get(self, host: str = "a", **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await self.envoy.get(host, headers=named))[0]

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(12):
            while not await holds():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.05)


def _fields(head: str) -> list[tuple[str, str]]:
    lines = head.split("\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def write_keys(place: Path) -> Issuer:
    issuer = Issuer()
    mount(place / "keys/keys", {"alice": f"{KEY}\n", "short": "tooshort", "empty": ""})
    mount(place / "keys/others", {"bob": OTHERS_KEY})
    mount(place / "jwks-configmap/issuer", {"jwks": issuer.key_set()})
    return issuer


@asynccontextmanager
async def guarded_place(mounts: Path, *, mirror: int = 0) -> AsyncIterator[Place]:
    issuer, cluster, port = write_keys(mounts), Cluster(), free_port()
    async with (
        upstream("a") as a,
        upstream("b") as b,
        grpc_upstream("a") as calls,
        grpc_upstream("b") as others,
    ):
        for name, access in (("a", {**KEYS, **TOKENS}), ("why", OTHERS)):
            reach = {"mirror": mirror, "match": [{"name": "x-canary", "value": "yes"}]}
            cluster.deployment(
                name,
                {f"{name}-1": 100, f"{name}-2": 0},
                challenger=f"{name}-2",
                reach=reach,
                conditions=CHECKED,
                router={"access": access},
                hosts=[f"{name}.example"],
                strategy={"preview": True},
            )
            for revision in (f"{name}-1", f"{name}-2"):
                cluster.endpoints(revision, a.port, grpc=[calls.port])
        cluster.deployment("b", {"b-1": 100})
        cluster.endpoints("b-1", b.port, grpc=[others.port])
        store = cluster.store()
        guards = guards_wanted(store.list(MODELDEPLOYMENT))
        async with discovery(store, port), router(port, guards=guards, access=mounts) as envoy:
            await envoy.until_ready()
            yield Place(envoy, cluster, mounts, issuer, a, calls.name, b)
