"""The lame duck of a router: how one is replaced without losing a request.

A pod that is being deleted leaves the endpoints of its Services, but clients keep their connections. So the
kubelet's preStop hook asks for `DRAIN_PATH`: Envoy turns unready and answers every request with
`Connection: close`; the hook's own answer is held back for `SECONDS`, and then until no request is under way,
and only then does Envoy get SIGTERM. The hook needs no program in the image. Invariant: only whoever knows
the token can start it (it stands in the pod's own spec).
"""

from __future__ import annotations

from typing import Any

from noria_operator.routers.http import filter_config, http_filter

Json = dict[str, Any]

DRAIN_PATH = "/drain"
SECOND_PATH = "/drain/second"
"""Answers after a second: a script has no other clock."""
DRAIN_HEADER = "Noria-Drain"
SECONDS = 12
"""Endpoints are gone after one or two; the rest is for clients that begin something on kept connections."""
LONGEST = 300
"""Seconds after which nobody is waited for any more: streams may have no end."""
GRACE = 15
"""Seconds between the end of the drain and SIGKILL."""

_SCRIPT = """
local function ask(handle, cluster, method, path, token)
  local _, body = handle:httpCall(cluster, {{
    [":method"] = method, [":path"] = path, [":authority"] = cluster,
    ["{header}"] = token, ["content-length"] = "0"
  }}, "", 5000)
  return body or ""
end

function envoy_on_request(handle)
  local token = handle:headers():get("{header}")
  ask(handle, "{admin}", "POST", "/healthcheck/fail", token)
  for second = 1, {longest} do
    ask(handle, "{itself}", "GET", "{second}", token)
    if second >= {seconds} then
      local told = ask(handle, "{admin}", "GET", "/stats?filter=http.traffic.downstream_rq_active", token)
      if string.match(told, "downstream_rq_active: (%d+)") == "0" then return end
    end
  end
end
"""


def filters() -> list[Json]:
    """Idle on every route but `routes`: Lua changes the state and waits, the fault filter is its clock."""
    return [http_filter("lua", "lua.v3.Lua"), http_filter("fault", "fault.v3.HTTPFault")]


def routes(token: str, *, seconds: int, longest: int, admin: str, itself: str) -> list[Json]:
    """Start the drain, answer when it is over; `admin` and `itself` are the clusters of Envoy's interface and
    of the listener with these routes.
    """
    script = _SCRIPT.format(
        header=DRAIN_HEADER.lower(),
        admin=admin,
        itself=itself,
        second=SECOND_PATH,
        seconds=seconds,
        longest=longest,
    )
    second = {"fixed_delay": "1s", "percentage": {"numerator": 100}}
    return [
        _route(
            DRAIN_PATH, token, lua=filter_config("lua.v3.LuaPerRoute", source_code={"inline_string": script})
        ),
        _route(SECOND_PATH, token, fault=filter_config("fault.v3.HTTPFault", delay=second)),
    ]


def _route(path: str, token: str, **by_filter: Json) -> Json:
    proof = {"name": DRAIN_HEADER, "string_match": {"exact": token}}
    return {
        "match": {"path": path, "headers": [proof]},
        "direct_response": {"status": 200, "body": {"inline_string": "drained"}},
        "typed_per_filter_config": {f"envoy.filters.http.{name}": one for name, one in by_filter.items()},
    }
