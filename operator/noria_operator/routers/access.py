"""How a router checks who may call: what its pods mount, and the filters that judge a request.

Comes in: Guards. Goes out: volumes, HTTP filters, a listener and clusters for key sets. Invariants: the
filters refuse nothing, they leave a verdict for routes to ask for (`access_routes`); a Secret or key set that
is not there, or broken, closes its own deployment and no other; what changes in one is in force without a
restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from noria_operator.api import names
from noria_operator.api.access import JWKS_KEY
from noria_operator.domain.access import Guard
from noria_operator.routers import access_script
from noria_operator.routers.http import (
    by_dns,
    connection_manager,
    http_filter,
    listener,
    only,
    pipe,
    router_filter,
    socket,
    static_cluster,
)

if TYPE_CHECKING:
    from noria_operator.routers.bootstrap import Bootstrap

Json = dict[str, Any]

ACCESS_DIR = "/etc/noria-access"
FRESH = "5s"
"""How long a key set from a file is used before it is read again, by every request that comes until then."""
PLENTY = 100_000
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Whom the router's image trusts; Envoy starts with no context that names a file that is not there."""
REMOTE_FRESH = "60s"
_KEY_SETS = "noria-key-sets"
SCRIPT = "access"
"""The name by which routes ask for the judging script."""


# -- what pods mount ------------------------------------------------------------------------------


def volumes(guards: Sequence[Guard]) -> list[tuple[str, Json]]:
    """Directory below ACCESS_DIR, and source of the volume that belongs there.

    All are optional: what is not there keeps no pod from starting.
    """
    keys = [(_keys_dir(one), _secret(one.keys)) for one in guards if one.keys]
    items = [{"key": JWKS_KEY, "path": JWKS_KEY}]
    sets = [
        (_set_dir(one), _secret(one.secret, items=items) if one.secret else _config_map(one, items))
        for one in guards
        if one.secret or one.config_map
    ]
    return sorted(dict([*keys, *sets]).items())


def _secret(name: str, **more: Any) -> Json:
    return {"secret": {"secretName": name, "defaultMode": 0o440, "optional": True, **more}}


def _config_map(guard: Guard, items: list[Json]) -> Json:
    return {"configMap": {"name": guard.config_map, "defaultMode": 0o440, "optional": True, "items": items}}


def _keys_dir(guard: Guard) -> str:
    return f"keys/{guard.keys}"


def _set_dir(guard: Guard) -> str:
    return f"jwks-secret/{guard.secret}" if guard.secret else f"jwks-configmap/{guard.config_map}"


# -- filters --------------------------------------------------------------------------------------


def filters(guards: Sequence[Guard], directory: str) -> list[Json]:
    """What stands before the router's last filter; nothing where everybody may call."""
    if not guards:
        return []
    script = access_script.judging(
        guards,
        keys={one.keys: f"{directory}/{_keys_dir(one)}" for one in guards if one.keys},
        jwks=_files(guards, directory),
        report=names.ACCESS_PATH,
    )
    sources = {SCRIPT: {"inline_string": script}}
    providers = {one.deployment: _provider(one) for one in guards if one.issuer}
    # The name of every deployment must be there: Envoy answers 403 for one that is not.
    requirements = {one.deployment: _requirement(one) for one in guards}
    return [
        http_filter(
            "jwt_authn", "jwt_authn.v3.JwtAuthentication", providers=providers, requirement_map=requirements
        ),
        http_filter("lua", "lua.v3.Lua", source_codes=sources),
    ]


def _files(guards: Iterable[Guard], directory: str) -> dict[str, str]:
    held = (one for one in guards if one.secret or one.config_map)
    return {one.deployment: f"{directory}/{_set_dir(one)}/{JWKS_KEY}" for one in held}


def _requirement(guard: Guard) -> Json:
    """Verified, but not refused: whoever has a key needs no token, and what a caller is told is said by
    us."""
    if not guard.issuer:
        return {}
    either = [{"provider_name": guard.deployment}, {"allow_missing_or_failed": {}}]
    return {"requires_any": {"requirements": either}}


def _provider(guard: Guard) -> Json:
    return {
        "issuer": guard.issuer,
        "audiences": list(guard.audiences),
        # Without this a token in the query, which is logged everywhere, would do.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": guard.deployment,
        "failed_status_in_metadata": f"{guard.deployment}/failed",
        "require_expiration": True,
        "clock_skew_seconds": 5,
        "remote_jwks": _key_set(guard),
    }


def _key_set(guard: Guard) -> Json:
    if not guard.uri:
        uri = {"uri": f"http://{_KEY_SETS}/{guard.deployment}", "cluster": _KEY_SETS, "timeout": "5s"}
        return {"http_uri": uri, "cache_duration": FRESH}
    return {
        "http_uri": {"uri": guard.uri, "cluster": _remote(guard.uri), "timeout": "5s"},
        "cache_duration": REMOTE_FRESH,
        # In the background, also while nobody calls; what was read last counts while the issuer is away.
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": "2s"},
    }


def _remote(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{_KEY_SETS}-{parts.scheme}-{parts.netloc}"


def listeners(want: Bootstrap) -> list[Json]:
    """Key sets from files, for Envoy's own requests alone: jwt_authn reads a file only once."""
    files = _files(want.guards, want.access_dir)
    if not files:
        return []
    script = access_script.serving_key_sets({f"/{name}": file for name, file in files.items()})
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    routes = {"name": _KEY_SETS, "virtual_hosts": [{"name": "*", "domains": ["*"], "routes": [nothing]}]}
    serve = http_filter("lua", "lua.v3.Lua", default_source_code={"inline_string": script})
    manager = connection_manager(_KEY_SETS, {"route_config": routes}, http_filters=[serve, router_filter()])
    return [listener(_KEY_SETS, _socket(want), manager)]


def clusters(want: Bootstrap) -> list[Json]:
    """Where key sets are read."""
    remote = {_remote(one.uri): _issuer(one.uri) for one in want.guards if one.uri}
    own = (
        [static_cluster(_KEY_SETS, _socket(want), limit=PLENTY)]
        if _files(want.guards, want.access_dir)
        else []
    )
    return [*own, *(remote[name] for name in sorted(remote))]


def _socket(want: Bootstrap) -> Json:
    return pipe(f"{want.run_dir}/{_KEY_SETS}.sock")


def _issuer(uri: str) -> Json:
    parts = urlsplit(uri)
    host, secured = parts.hostname or "", parts.scheme == "https"
    address = socket(host, parts.port or (443 if secured else 80))
    cluster: Json = {
        "name": _remote(uri),
        "connect_timeout": "2s",
        "wait_for_warm_on_init": False,  # a name that does not resolve keeps no router from being ready
        **by_dns(respect_dns_ttl=True),
        **only(_remote(uri), address),
    }
    return cluster | ({"transport_socket": _verified(host)} if secured else {})


def _verified(host: str) -> Json:
    name = {"san_type": "DNS", "matcher": {"exact": host}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": {"filename": AUTHORITIES},
                    "match_typed_subject_alt_names": [name],
                }
            },
        },
    }
