"""Keys that change, are missing or cannot be had, at a real router: nobody gets in, and others go on."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.integration.callers import Issuer, mount
from tests.integration.envoy_router import (
    Cluster,
    Load,
    discovery,
    listening,
    router,
    upstream,
)
from tests.integration.guarded_place import (
    CHECKED,
    CLAIMS,
    KEY,
    KEYS,
    OTHERS_CREDENTIAL,
    Place,
    guarded_place,
)
from tests.integration.test_envoy_tls import renew
from tools.ports import free_port

from noria_operator.domain.access import Held, Told, guard
from noria_operator.evidence.router import RouterReader
from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.routers import access_lua
from noria_operator.routers.children import guards_wanted

Json = dict[str, Any]


# -- keys that change -----------------------------------------------------------------------------


async def test_keys_change_under_load_without_a_restart_or_a_lost_request(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        fresh = "alices-new-key-012345"
        old = Load(place.envoy, "a", {"X-API-Key": KEY})
        async with old.running(clients=2):
            mount(tmp_path / "keys/keys", {"alice": KEY, "alice-2": fresh})
            await place.until(lambda: _opens(place, fresh))
            for _ in range(20):
                mount(tmp_path / "keys/keys", {"alice": KEY, "alice-2": fresh})
                await asyncio.sleep(0.07)
        assert old.failed == 0
        assert sum(old.answers.values()) > 100
        async with Load(place.envoy, "a", {"X-API-Key": fresh}).running(clients=2) as load:
            mount(tmp_path / "keys/keys", {"alice-2": fresh})
            began = asyncio.get_running_loop().time()
            await place.until(lambda: _is_refused(place, KEY))
            assert asyncio.get_running_loop().time() - began < 3
        assert load.failed == 0
        assert place.envoy.process.returncode is None


async def _opens(place: Place, key: str) -> bool:
    return await place.get(X_API_Key=key) == 200


async def _is_refused(place: Place, key: str) -> bool:
    return await place.get(X_API_Key=key) == 401


async def _gets(place: Place, status: int, headers: Mapping[str, str]) -> bool:
    return await place.get(**headers) == status


async def test_key_sets_change_without_a_restart_or_a_lost_request(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        before = {"Authorization": f"Bearer {place.issuer.token(**CLAIMS)}"}
        assert await place.get(**before) == 200
        second = Issuer(kid="second")
        after = {"Authorization": f"Bearer {second.token(**CLAIMS)}"}
        assert await place.get(**after) == 401
        both = json.loads(place.issuer.key_set())["keys"] + json.loads(second.key_set())["keys"]
        async with Load(place.envoy, "a", before).running(clients=2) as load:
            mount(tmp_path / "jwks-configmap/issuer", {"jwks": json.dumps({"keys": both})})
            await place.until(lambda: _gets(place, 200, after))
        assert load.failed == 0
        mount(tmp_path / "jwks-configmap/issuer", {"jwks": second.key_set()})

        async def changed() -> bool:
            return (await place.get(**after), await place.get(**before)) == (200, 401)

        await place.until(changed)


@asynccontextmanager
async def issuing(issuer: Issuer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port where an issuer shows its keys."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=issuer.key_set())

    application, port = web.Application(), free_port()
    application.router.add_get("/certs", show)
    async with listening(application, port, certificate=tls):
        yield port


def self_signed(folder: Path) -> ssl.SSLContext:
    renew(folder, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "localhost/tls.crt", folder / "localhost/tls.key")
    return context


async def test_keys_are_read_from_an_issuer_that_can_prove_its_name(tmp_path: Path) -> None:
    issuer, cluster, port = Issuer(), Cluster(), free_port()
    async with (
        upstream("a") as a,
        issuing(issuer) as plain,
        issuing(issuer, self_signed(tmp_path)) as unknown,
        discovery(store := cluster.store(), port),
    ):
        places = {
            "plain": f"http://localhost:{plain}/certs",
            "unknown": f"https://localhost:{unknown}/certs",
            "nowhere": "https://no.such.name.invalid/certs",
            "missing": f"http://localhost:{plain}/nothing",
        }
        for name, uri in places.items():
            jwt = {"issuer": issuer.name, "audiences": ["models"], "jwks": {"uri": uri}}
            cluster.deployment(name, {f"{name}-1": 100}, router={"access": {"jwt": jwt}}, conditions=CHECKED)
            cluster.endpoints(f"{name}-1", a.port)
        guards = guards_wanted(store.list(MODELDEPLOYMENT))
        async with router(port, guards=guards, access=tmp_path) as envoy:
            await envoy.until_ready()
            headers = {"Authorization": f"Bearer {issuer.token()}"}
            async with asyncio.timeout(10):  # a router is ready before the names of issuers are resolved
                while (await envoy.get("plain", headers=headers))[0] != 200:  # noqa: ASYNC110 - it looks
                    await asyncio.sleep(0.05)
            found = {name: (await envoy.get(name, headers=headers))[0] for name in places}
            assert found == {"plain": 200, "unknown": 401, "nowhere": 401, "missing": 401}


# -- what is missing or broken --------------------------------------------------------------------


async def told(place: Place, deployment: str) -> Told | None:
    """What the operator hears of the router."""
    reader = RouterReader(traffic_port=place.envoy.traffic)
    try:
        (found,) = await reader.access("shop", deployment, [place.envoy.pod()])
        return found
    finally:
        await reader.close()


@pytest.mark.parametrize(
    ("files", "held"),
    [
        ({"jwks": "{}"}, Held.INVALID),
        ({"jwks": "not json"}, Held.INVALID),
        ({"jwks": '{"keys": [{"kty": "EC"}]}'}, Held.PRESENT),
        ({}, Held.MISSING),
    ],
)
async def test_what_is_missing_closes_its_own_deployment_alone(
    tmp_path: Path, files: dict[str, str], held: Held
) -> None:
    async with guarded_place(tmp_path) as place:
        rules = guard(place.cluster.objects["ModelDeployment-a"])
        assert rules is not None
        assert await told(place, "a") == Told(rules.rules, Held.PRESENT, Held.PRESENT)
        assert await told(place, "b") == Told()
        mount(tmp_path / "keys/keys", {})
        mount(tmp_path / "jwks-configmap/issuer", files)
        await place.until(lambda: _is_refused(place, KEY))
        tokens = {"Authorization": f"Bearer {place.issuer.token(**CLAIMS)}"}
        # Two tokens and a key set that cannot be had brought some Envoys down (CVE-2025-64527).
        two = "".join(f"Authorization: Bearer {place.issuer.token(**CLAIMS)}\r\n" for _ in range(2))
        assert (await place.raw(f"GET / HTTP/1.1\r\nHost: a\r\n{two}\r\n"))[0] == 401
        assert await place.get(**tokens) == 401
        assert await told(place, "a") == Told(rules.rules, Held.MISSING, held)
        assert await place.get("why", **OTHERS_CREDENTIAL) == 200
        assert await place.get("b") == 200
        mount(tmp_path / "keys/keys", {"alice": KEY})
        await place.until(lambda: _opens(place, KEY))


async def test_a_router_that_knows_nothing_of_the_guard_refuses(tmp_path: Path) -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("a") as a, discovery(cluster.store(), port), router(port) as envoy:
        cluster.deployment("a", {"a-1": 100}, router={"access": KEYS}, conditions=CHECKED)
        cluster.deployment("b", {"b-1": 100})
        for name in ("a-1", "b-1"):
            cluster.endpoints(name, a.port)
        await envoy.until_ready()
        assert (await envoy.get("a", headers={"X-API-Key": KEY}))[0] == 503
        assert a.served == 0
        assert await envoy.get("b") == (200, "a")


async def test_a_script_that_fails_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_lua, "JUDGE", 'function envoy_on_request(handle) error("broken") end')
    async with guarded_place(tmp_path) as place:
        assert await place.get(X_API_Key=KEY) == 503
        assert place.a.served == 0
        assert await told(place, "a") == Told(), "and it is told as a router that checks nothing"
        assert await place.get("b") == 200


async def test_what_was_open_stays_open_until_every_router_can_check(tmp_path: Path) -> None:
    mount(tmp_path / "keys/keys", {"alice": KEY})
    cluster, port = Cluster(), free_port()
    access: Json = {"router": {"access": KEYS}}
    async with upstream("a") as a, discovery(cluster.store(), port), router(port) as old:
        cluster.deployment("a", {"a-1": 100})
        cluster.endpoints("a-1", a.port)
        await old.until_ready()
        async with Load(old, "a", {"X-API-Key": KEY}).running(clients=1) as before:
            cluster.deployment("a", {"a-1": 100}, **access)
            rules = guards_wanted([cluster.objects["ModelDeployment-a"]])
            async with router(port, node="router-1", guards=rules, access=tmp_path) as new:
                await new.until_ready()
                async with Load(new, "a", {"X-API-Key": KEY}).running(clients=1) as after:
                    cluster.deployment(
                        "a", {"a-1": 100}, conditions={"AccessReady": "RoutersStarting"}, **access
                    )
                    await asyncio.sleep(0.3)
                    assert await new.get("a") == (200, "a")
                    assert before.failed == 0
                    cluster.deployment("a", {"a-1": 100}, conditions=CHECKED, **access)
                    async with asyncio.timeout(5):
                        while (await new.get("a"))[0] != 401:  # noqa: ASYNC110 - another process changes it
                            await asyncio.sleep(0.01)
                assert after.failed == 0
