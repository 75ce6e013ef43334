"""The lame duck of a router: how one is replaced without losing a request.

A pod that is being deleted leaves the endpoints of its Services, but clients keep their connections. So the
kubelet's preStop hook asks for `DRAIN_PATH`: Envoy turns unready and answers every request with
`Connection: close`; the hook's own answer is held back for `SECONDS`, and only then does Envoy get SIGTERM.
The hook needs no program in the image. Invariant: only whoever knows the token can start it (it stands in
the pod's own spec).
"""

from __future__ import annotations

from typing import Any

from noria_operator.routers.http import filter_config, http_filter

Json = dict[str, Any]

DRAIN_PATH = "/drain"
DRAIN_HEADER = "Noria-Drain"
SECONDS = 12
"""Endpoints are gone after one or two; the rest is for clients with slow requests on kept connections."""
GRACE = 15
"""Seconds between the end of the drain and SIGKILL."""

_START = """
function envoy_on_request(handle)
  handle:httpCall("admin", {
    [":method"] = "POST", [":path"] = "/healthcheck/fail", [":authority"] = "admin", ["content-length"] = "0"
  }, "", 1000)
end
"""


def filters() -> list[Json]:
    """Idle on every route but `route`: Lua changes the state, the fault filter waits."""
    return [http_filter("lua", "lua.v3.Lua"), http_filter("fault", "fault.v3.HTTPFault")]


def route(token: str, seconds: int) -> Json:
    """Start the drain, answer when it is over."""
    delay = {"fixed_delay": f"{seconds}s", "percentage": {"numerator": 100}}
    return {
        "match": {
            "path": DRAIN_PATH,
            "headers": [{"name": DRAIN_HEADER, "string_match": {"exact": token}}],
        },
        "direct_response": {"status": 200, "body": {"inline_string": "drained"}},
        "typed_per_filter_config": {
            "envoy.filters.http.lua": filter_config(
                "lua.v3.LuaPerRoute", source_code={"inline_string": _START}
            ),
            "envoy.filters.http.fault": filter_config("fault.v3.HTTPFault", delay=delay),
        },
    }
