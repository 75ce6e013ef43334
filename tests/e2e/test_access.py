"""Keys of callers in a real cluster: from a Secret to the router's pods, changed under load, and gone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from tests.e2e.conftest import Program
from tests.e2e.disturbances import ROUTERS
from tests.e2e.kube import Json, Kube, condition, namespace
from tests.e2e.load import REQUEST, Load
from tests.e2e.manifests import model_deployment
from tests.e2e.models import serve
from tests.e2e.rollouts import address

pytestmark = pytest.mark.extended

FIRST, SECOND = "first-key-of-mobile-0123", "second-key-of-mobile-456"
IN_A_ROW = 20


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A model that serves everybody."""
    with namespace(noria, "e2e-access") as kube:
        serve(kube, images["example-flights"])
        yield kube


def secret(kube: Kube, keys: Mapping[str, str]) -> None:
    kube.apply({"kind": "Secret", "metadata": {"name": "keys"}, "stringData": dict(keys)})
    held = {name: base64.b64encode(key.encode()).decode() for name, key in keys.items()}
    kube.core.patch_namespaced_secret(
        "keys", kube.namespace, [{"op": "replace", "path": "/data", "value": held}]
    )


def status(kube: Kube, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(address(kube), json=REQUEST, headers=named, timeout=15).status_code


def until_status(kube: Kube, wanted: int, **headers: str) -> None:
    """Return when as many answers in a row are as wanted as both routers give almost surely: their kubelet
    brings them a Secret seconds apart.
    """
    deadline = monotonic() + 150
    while any(status(kube, **headers) != wanted for _ in range(IN_A_ROW)):
        assert monotonic() < deadline, f"still not {wanted}"
        sleep(0.5)


def access(kube: Kube, reason: str, **rules: Json) -> Json:
    """The deployment once its condition says so."""
    if rules:
        kube.apply(model_deployment(router={"access": rules}))
    return kube.until(
        "ModelDeployment",
        "tiny",
        lambda md: condition(md, "AccessReady").get("reason") == reason,
        timeout=180,
    )


def test_keys_come_change_and_go_under_load(kube: Kube) -> None:
    secret(kube, {"mobile": FIRST})
    open_ones = kube.pods(ROUTERS)
    with Load(address(kube), headers={"X-API-Key": FIRST}) as load:
        load.until_sent(40)
        access(kube, "Checked", apiKeys={"secretName": "keys"})
        assert not open_ones & kube.pods(ROUTERS)
        load.until_sent(40)
        assert status(kube) == 401
        assert load.failures == []
        guarded = kube.pods(ROUTERS)
        secret(kube, {"mobile": FIRST, "mobile-2": SECOND})
        until_status(kube, 200, X_API_Key=SECOND)
        load.until_sent(40)
    assert load.failures == []
    with Load(address(kube), headers={"X-API-Key": SECOND}) as load:
        secret(kube, {"mobile-2": SECOND})
        until_status(kube, 401, X_API_Key=FIRST)
        load.until_sent(40)
    assert load.failures == []
    kube.delete("Secret", "keys")
    md = access(kube, "KeysMissing")
    assert "Secret keys" in condition(md, "AccessReady")["message"]
    until_status(kube, 401, X_API_Key=SECOND)
    assert kube.pods(ROUTERS) == guarded, "none of this restarted a router"


def test_tokens_of_service_accounts_are_taken(kube: Kube, kubectl: Program) -> None:
    issuer = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    key_set = kubectl("get", "--raw", "/openid/v1/jwks")
    kube.apply({"kind": "ConfigMap", "metadata": {"name": "cluster-issuer"}, "data": {"jwks": key_set}})
    for account in ("batch", "other"):
        kube.apply({"kind": "ServiceAccount", "metadata": {"name": account}})
    who = f"system:serviceaccount:{kube.namespace}:batch"
    jwt = {"issuer": issuer, "audiences": ["tiny"], "jwks": {"configMapName": "cluster-issuer"}}
    access(kube, "Checked", jwt={**jwt, "claims": {"sub": [who]}})

    def token(account: str, audience: str) -> str:
        where = f"--namespace={kube.namespace}"
        return f"Bearer {kubectl('create', 'token', account, f'--audience={audience}', where).strip()}"

    until_status(kube, 200, Authorization=token("batch", "tiny"))
    assert status(kube, Authorization=token("batch", "others")) == 401
    assert status(kube, Authorization=token("other", "tiny")) == 403
    assert status(kube) == 401
