"""Who may call a model, at a real router: every way to it is guarded, only a credential opens it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.callers import Issuer
from tests.integration.guarded_place import (
    CLAIMS,
    KEY,
    NASTY,
    OTHERS_KEY,
    Place,
    guarded_place,
)
from tests.integration.test_envoy_grpc import CODES, ask, channel

from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import RouterReader

Json = dict[str, Any]


# -- ways to the model ----------------------------------------------------------------------------

_HOSTS = ["a", "A", "a:80", "a:8080", "a.shop", "A.Shop.SVC", "a.shop.svc.cluster.local", "a.example"]
_HOSTS += ["a-preview", "a-preview.shop.svc"]
_PATHS = ["/v2/models/a/infer", "/v2/models/a", "/v1/models/a:predict", "//v2//models///a/infer"]
_PATHS += ["/v2/./models/a/infer", "/v2/models/b/../a/infer", "/v2/models/a/infer?x=/v2/models/b/"]
_PATHS += ["/v2/models/a/versions/1/infer", "/v2/models/a/feedback", "/%762/models/%61/infer"]
_EMPTY = "Content-Length: 0\r\n"
LEADING = {
    **{f"host {host}": f"GET /v2/models/m/infer HTTP/1.1\r\nHost: {host}\r\n" for host in _HOSTS},
    **{f"path {path}": f"GET {path} HTTP/1.1\r\nHost: elsewhere\r\n" for path in _PATHS},
    "another path of the host": "GET /metrics HTTP/1.1\r\nHost: a\r\n",
    "a host with a dot at the end, by path": "GET /v2/models/a HTTP/1.1\r\nHost: a.\r\n",
    "an address for a host, by path": "GET /v2/models/a HTTP/1.1\r\nHost: 10.0.0.1\r\n",
    "absolute form": "GET http://a/v2/models/m/infer HTTP/1.1\r\nHost: b\r\n",
    "absolute form with a port": "GET http://A:80/v2/models/m/infer HTTP/1.1\r\nHost: b\r\n",
    "the challenger's headers": "GET / HTTP/1.1\r\nHost: a\r\nX-Canary: yes\r\n",
    "the challenger's headers, by path": "GET /v2/models/a HTTP/1.1\r\nHost: x\r\nX-Canary: yes\r\n",
    "feedback": f"POST /v2/models/a/feedback HTTP/1.1\r\nHost: a\r\nNoria-Feedback: t\r\n{_EMPTY}",
    "another method": "DELETE / HTTP/1.1\r\nHost: a\r\n",
    "no body wanted": "HEAD / HTTP/1.1\r\nHost: a\r\n",
    "a preflight": "OPTIONS /v2/models/a HTTP/1.1\r\nHost: a\r\nOrigin: x\r\n",
    "a method in a header": f"POST / HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: OPTIONS\r\n{_EMPTY}",
    "the router's own headers": "GET / HTTP/1.1\r\nHost: a\r\nx-envoy-original-path: /\r\n"
    "x-envoy-internal: true\r\n",
    "a place that trusts": "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1\r\n",
    "a verdict in a header": "GET / HTTP/1.1\r\nHost: a\r\nnoria.access: granted\r\n",
}
"""Requests without credentials that are for the guarded model."""
NOT_LEADING = {
    "another letter case of the path": "GET /V2/MODELS/A HTTP/1.1\r\nHost: elsewhere\r\n",
    "encoded slashes": "GET /v2%2Fmodels%2Fa%2Finfer HTTP/1.1\r\nHost: elsewhere\r\n",
    "an encoded slash": "GET /v2/models/a%2Finfer HTTP/1.1\r\nHost: elsewhere\r\n",
    "encoded twice": "GET /v2/models/%2561/infer HTTP/1.1\r\nHost: elsewhere\r\n",
    "a parameter in the path": "GET /v2/models/a;x/infer HTTP/1.1\r\nHost: elsewhere\r\n",
    "backslashes": "GET \\v2\\models\\a HTTP/1.1\r\nHost: elsewhere\r\n",
    "a zero byte": "GET /v2/models/a%00/infer HTTP/1.1\r\nHost: elsewhere\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: b\r\nHost: a\r\n",
    "a host and a user": "GET / HTTP/1.1\r\nHost: b@a\r\n",
    "no host": "GET /v2/models/a HTTP/1.0\r\n",
    "forwarded for another host": "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a\r\n"
    "X-Original-URL: /v2/models/a\r\n",
    "a tunnel": "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
}
"""Requests that lead to no model, with credentials or without."""


async def test_every_way_to_a_guarded_model_asks_for_a_credential_and_takes_one(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        for name, request in LEADING.items():
            place.a.served = 0
            status, text = await place.raw(f"{request}\r\n")
            assert (status, place.a.served) == (401, 0), (name, status)
            assert 'www-authenticate: Bearer realm="a"' in text, name
            if not request.startswith("HEAD"):
                assert json.loads(text.split("\r\n\r\n")[1]) == {
                    "error": "a needs a key in the header x-api-key or a token in Authorization: Bearer"
                }, name
            status, _ = await place.raw(f"{request}X-API-Key: {KEY}\r\n\r\n")
            assert (status, place.a.served > 0) == (200, True), (name, status)
        for name, request in NOT_LEADING.items():
            for credential in ("", f"X-API-Key: {KEY}\r\n"):
                place.a.served = 0
                status, _ = await place.raw(f"{request}{credential}\r\n")
                assert (status in {0, 400, 404, 403, 426, 503}, place.a.served) == (True, 0), (name, status)
        for request in ("GET / HTTP/1.1\r\nHost: b\r\n", "GET http://b/ HTTP/1.1\r\nHost: a\r\n"):
            place.a.served = place.b.served = 0
            status, text = await place.raw(f"{request}\r\n")
            assert (status, place.a.served, place.b.served) == (200, 0, 1), "others are for everybody"
            assert "noria-revision: b-1" in text


async def test_copies_are_made_of_what_was_let_in_alone(tmp_path: Path) -> None:
    async with guarded_place(tmp_path, mirror=100) as place:
        for _ in range(10):
            assert await place.get() == 401
        await asyncio.sleep(0.2)
        assert place.a.served == 0
        assert await place.get(X_API_Key=KEY) == 200
        await place.until(lambda: _is(place.a.served == 2))
        assert KEY not in str(place.a.headers), "neither the model nor its challenger sees the key"


async def _is(holds: bool) -> bool:
    return holds


# -- credentials ----------------------------------------------------------------------------------


def refused_keys() -> dict[str, tuple[Json, str]]:
    """Headers and query that open nothing."""
    return {
        "none": ({}, ""),
        "another deployment's": ({"X-API-Key": OTHERS_KEY}, ""),
        "in another header": ({"X-Key": KEY}, ""),
        "in Authorization": ({"Authorization": f"Bearer {KEY}"}, ""),
        "in the query": ({}, f"?X-API-Key={KEY}&api_key={KEY}"),
        "in a cookie": ({"Cookie": f"X-API-Key={KEY}"}, ""),
        "empty": ({"X-API-Key": ""}, ""),
        "its beginning": ({"X-API-Key": KEY[:-1]}, ""),
        "with more behind": ({"X-API-Key": f"{KEY}x"}, ""),
        "in capitals": ({"X-API-Key": KEY.upper()}, ""),
        "as a list": ({"X-API-Key": f"{KEY},{KEY}"}, ""),
        "as a bearer": ({"X-API-Key": f"Bearer {KEY}"}, ""),
        "the client's name": ({"X-API-Key": "alice"}, ""),
        "one that is too short to count": ({"X-API-Key": "tooshort"}, ""),
        "a path": ({"X-API-Key": "../../../keys/others/bob"}, ""),
    }


def refused_tokens(issuer: Issuer) -> dict[str, tuple[str, int]]:
    """Tokens that open nothing, and how they are refused."""
    other = Issuer()
    good = issuer.token(**CLAIMS)
    head, payload, signature = good.split(".")
    return {
        "expired": (issuer.token(lifetime=-30, **CLAIMS), 401),
        "without an end": (issuer.token(exp=None, **CLAIMS), 401),
        "not yet": (issuer.token(nbf=4102444800, **CLAIMS), 401),
        "for another audience": (issuer.token(aud="mail", **CLAIMS), 401),
        "for no audience": (issuer.token(aud=None, **CLAIMS), 401),
        "of another issuer": (issuer.token(iss="https://evil.example", **CLAIMS), 401),
        "of no issuer": (issuer.token(iss=None, **CLAIMS), 401),
        "signed by somebody else": (other.token(**CLAIMS), 401),
        "signed by a key of its own": (
            other.token(header={"jwk": json.loads(other.key_set())["keys"][0]}),
            401,
        ),
        "with a key's address of its own": (
            other.token(header={"jku": "http://evil.example", "kid": "x"}),
            401,
        ),
        "unsigned": (issuer.unsigned(), 401),
        "unsigned, in capitals": (issuer.unsigned(alg="NONE"), 401),
        "unsigned, with a signature": (issuer.unsigned(signature), 401),
        "another algorithm": (issuer.unsigned(signature, alg="HS256", kid="first"), 401),
        "without a signature": (f"{head}.{payload}.", 401),
        "with another payload": (
            f"{head}.{issuer.token(sub='root', **CLAIMS).split('.')[1]}.{signature}",
            401,
        ),
        "no token": ("abc", 401),
        "with a role that looks like it": (
            issuer.token(realm={"roles": ["ml2", "m", "ML"]}, **{NASTY: "yes"}),
            403,
        ),
        "without a role": (issuer.token(**{NASTY: "yes"}), 403),
        "with roles of another shape": (issuer.token(realm=["roles", "ml"], **{NASTY: "yes"}), 403),
        "without one of two claims": (issuer.token(realm=CLAIMS["realm"]), 403),
    }


async def counted(place: Place, revision: str) -> Counts:
    reader = RouterReader(stats_port=place.envoy.stats)
    try:
        (found,) = (await reader.counts("shop", [place.envoy.pod()], {revision})).values()
        return found[revision]
    finally:
        await reader.close()


async def test_no_credential_but_the_deployments_own_opens_it(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        for name, (headers, query) in refused_keys().items():
            status, _ = await place.envoy.get("a", f"/v2/models/a/infer{query}", headers)
            assert (status, place.a.served) == (401, 0), name
        twice = f"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nX-API-Key: {KEY}\r\n\r\n"
        assert (await place.raw(twice))[0] == 401, "which of two keys is meant?"
        for name, (token, wanted) in refused_tokens(place.issuer).items():
            status, text = await place.envoy.get("a", headers={"Authorization": f"Bearer {token}"})
            assert (status, place.a.served) == (wanted, 0), (name, text)
            assert json.loads(text)["error"], name
        good = place.issuer.token(**CLAIMS)
        assert (await place.envoy.get("a", f"/v2/models/a/infer?access_token={good}"))[0] == 401
        status, text = await place.envoy.get("why", headers={"Authorization": f"Bearer {good}"})
        assert status == 401, "why takes keys only"
        assert json.loads(text) == {"error": "why needs a key in Authorization: Bearer"}
        for header in (
            f"Bearer {KEY}",
            OTHERS_KEY,
            f"Basic {OTHERS_KEY}",
            f"Bearer {OTHERS_KEY} x",
            "Bearer ",
        ):
            assert (await place.envoy.get("why", headers={"Authorization": header}))[0] == 401, header
        assert (await place.envoy.get("why", headers={"X-API-Key": OTHERS_KEY}))[0] == 401
        assert place.a.served == 0
        assert await counted(place, "a-1") == Counts(), "no refusal is an error of a version"


async def test_a_key_or_a_token_opens_it_and_goes_no_further(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        token = place.issuer.token(aud=["mail", "more"], **CLAIMS)
        both = {"X-API-Key": KEY, "Authorization": f"Bearer {token}"}
        opening: list[Mapping[str, str]] = [
            {"X-API-Key": KEY},
            {"Authorization": f"Bearer {token}"},
            both,
            {**both, "X-API-Key": "wrong"},
            {**both, "Authorization": "Bearer wrong"},
        ]
        for headers in opening:
            status, _ = await place.envoy.get("a", headers=headers)
            assert status == 200, headers
            assert not {"x-api-key", "authorization"} & {name.lower() for name in place.a.headers}, headers
            assert place.a.headers["x-envoy-expected-rq-timeout-ms"] == "30000"
        for scheme in ("Bearer", "bearer"):
            header = {"Authorization": f"{scheme} {OTHERS_KEY}"}
            assert (await place.envoy.get("why", headers=header))[0] == 200
            assert "authorization" not in {name.lower() for name in place.a.headers}
        reason = (await place.envoy.get("a", headers={"Authorization": "Bearer x.y.z"}))[1]
        assert "Jwt" in reason, "a caller is told what is wrong with a token"


async def test_grpc_calls_are_guarded_as_http_is(tmp_path: Path) -> None:
    async with guarded_place(tmp_path) as place:
        bad_claims = f"Bearer {place.issuer.token()}"
        for host, more in (("a", ()), ("a-preview", ()), ("elsewhere", (("noria-model", "a"),))):
            async with channel(place.envoy, host) as client:
                for method in ("ModelInfer", "ModelReady"):
                    assert (await ask(client, method, metadata=more))[0] == CODES.UNAUTHENTICATED, host
                    wrong = (*more, ("x-api-key", OTHERS_KEY))
                    assert (await ask(client, method, metadata=wrong))[0] == CODES.UNAUTHENTICATED
                    low = (*more, ("authorization", bad_claims))
                    assert (await ask(client, method, metadata=low))[0] == CODES.PERMISSION_DENIED
                    right = (*more, ("x-api-key", KEY))
                    assert await ask(client, method, metadata=right) == (CODES.OK, place.a_grpc), host
        async with channel(place.envoy, "b") as client:
            assert await ask(client, metadata=(("x-forwarded-host", "a"),)) == (CODES.OK, "b")
            for name in ("noria-model", "host"):
                assert await ask(client, metadata=((name, "a"),)) == (CODES.OK, "b"), "authority counts"
        async with channel(place.envoy, "a") as client:
            assert (await ask(client, metadata=(("host", "b"),)))[0] == CODES.UNAUTHENTICATED
            stream = client.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            assert await stream(metadata=()).code() == CODES.UNAUTHENTICATED
            call = stream(metadata=(("x-api-key", KEY),))
            await call.write(b"")
            assert (await call.read()) == place.a_grpc.encode()
            call.cancel()
