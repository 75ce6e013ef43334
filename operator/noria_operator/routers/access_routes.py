"""The routes of a deployment that not everybody may call, and what others are told.

Comes in: a deployment's name and the routes that lead to its versions. Goes out: plain data in the JSON form
of Envoy's API. Invariant: a request reaches a version only with the verdict that it may, so a router that
knows nothing of a guard, or whose script failed, refuses.

A request is first matched by the last of these routes, which answers 503. Its filters verify the token
(Envoy's jwt_authn, which refuses nothing here), look up the key, leave a verdict in the request's metadata,
and have it matched again (`access_script`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from noria_operator.api import names
from noria_operator.routers.access import SCRIPT
from noria_operator.routers.access_script import FORBIDDEN, GRANTED, METADATA, TOLD, UNKNOWN
from noria_operator.routers.http import RETRY_AFTER, filter_config, set_header

Json = dict[str, Any]

_ALL: Json = {"prefix": "/"}
_LUA, _JWT = "envoy.filters.http.lua", "envoy.filters.http.jwt_authn"


def guarded(name: str, routes: Iterable[Json]) -> list[Json]:
    """The routes of a deployment behind its guard: `routes` for whom it lets in, and what others are told."""
    inner = [{**route, "match": _with(route["match"], name, GRANTED)} for route in routes]
    refusals = [
        _answer(_with(_ALL, name, FORBIDDEN), 403),
        _answer(_with(_ALL, name, UNKNOWN), 401),
    ]
    return [*inner, *refusals, _unable(name)]


def report_route() -> Json:
    """On the version host: what a router holds to check a deployment's callers with."""
    nothing = {"error": "this router checks nobody's access to such a ModelDeployment"}
    return {
        "match": {"prefix": names.ACCESS_PATH},
        "direct_response": {"status": 404, "body": {"inline_string": json.dumps(nothing)}},
        "response_headers_to_add": [set_header("content-type", "application/json")],
        "typed_per_filter_config": {_LUA: _script({})},
    }


def _with(match: Json, name: str, verdict: str) -> Json:
    asked = {"filter": METADATA, "path": [{"key": name}], "value": {"string_match": {"exact": verdict}}}
    return {**match, "dynamic_metadata": [asked]}


def _script(context: Json) -> Json:
    return filter_config("lua.v3.LuaPerRoute", name=SCRIPT, filter_context=context)


def _answer(match: Json, status: int) -> Json:
    headers = [set_header("content-type", "application/json")]
    if status == 401:
        headers.append(set_header("www-authenticate", f"%DYNAMIC_METADATA({TOLD}:challenge)%"))
    body = {"json_format": {"error": f"%DYNAMIC_METADATA({TOLD}:why)%"}}
    answer = {"status": status, "body_format": body}
    return {"match": match, "direct_response": answer, "response_headers_to_add": headers}


def _unable(name: str) -> Json:
    """What every request meets first: its filters judge, and it stands where they are not there."""
    told = {"error": f"this router cannot check yet who may call {name}; ask again"}
    return {
        "match": _ALL,
        "direct_response": {"status": 503, "body": {"inline_string": json.dumps(told)}},
        "response_headers_to_add": [
            set_header("content-type", "application/json"),
            set_header("retry-after", RETRY_AFTER),
        ],
        "typed_per_filter_config": {
            _JWT: filter_config("jwt_authn.v3.PerRouteConfig", requirement_name=name),
            _LUA: _script({"deployment": name}),
        },
    }
