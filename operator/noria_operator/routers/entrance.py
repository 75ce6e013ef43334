"""How a request finds its deployment: one small table of all hosts, from which it goes on to its own routes.

Comes in: which deployment answers to which hosts. Goes out: the part of a router that is there when it
starts (a header, a script), and the route configuration of the table. Invariant: nothing here knows weights
or versions. So their changes touch the routes of one deployment alone, whatever else the namespace holds,
and the table changes only when deployments or hosts come and go.

Envoy chooses a route configuration ("scope") by a header. Every request begins with ENTRY, which leads to the
table; its routes say as metadata which deployment was found, or how it is named in the request; the script
writes that into the header, and Envoy looks again. Clients cannot set the header: it is overwritten first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from noria_operator.api import names
from noria_operator.routers import access_routes
from noria_operator.routers.http import answer, http_filter, set_header

Json = dict[str, Any]

SCOPE_HEADER: Final = "x-noria-scope"
ENTRY: Final = "*"
"""The scope of the table; no deployment has such a name."""
READY_PATH: Final = "/-/ready"
"""On the version host: answers as soon as the table is in force, after the routes that it leads to."""
MODEL_HEADER: Final = "noria-model"
"""gRPC metadata by which a call to a host that is nobody's names its ModelDeployment."""

_FILTER: Final = "noria.entrance"
"""A name of its own: what routes say to another script is not for this one."""
_UNKNOWN: Json = {"error": "no ModelDeployment answers to this host or path"}
_FIND = f"""
function envoy_on_request(handle)
  local found, headers = handle:metadata(), handle:headers()
  local to, by = found:get("to"), found:get("by")
  local path = headers:get(":path") or ""
  if by == "path" then
    to = string.match(path .. "/", "^/v[12]/models/([a-z0-9%-]+)[/:?]")
    if to == nil and string.find(headers:get("content-type") or "", "^application/grpc") then
      to = headers:get("{MODEL_HEADER}")
    end
  elseif by == "version" then
    to = string.match(path .. "?", "^/([a-z0-9%-]+)%?")
  end
  if to ~= nil then
    headers:replace("{SCOPE_HEADER}", to)
    handle:clearRouteCache()
  end
end
"""


def options(source: Json) -> Json:
    """Fields of the HttpConnectionManager for traffic; `source` is where scopes come from."""
    mutation = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3"
    first = set_header(SCOPE_HEADER, ENTRY)
    return {
        "scoped_routes": {
            "name": "noria",
            "scope_key_builder": {
                "fragments": [{"header_value_extractor": {"name": SCOPE_HEADER, "index": 0}}]
            },
            "rds_config_source": source,
            "scoped_rds": {"scoped_rds_config_source": source},
        },
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {"@type": f"{mutation}.HeaderMutation", "mutations": [{"append": first}]},
            }
        ],
        "local_reply_config": {
            "mappers": [
                {
                    "filter": {"response_flag_filter": {"flags": ["NR"]}},
                    "body_format_override": {"json_format": _UNKNOWN},
                }
            ]
        },
    }


def script() -> Json:
    """The HTTP filter that goes on from the table to the deployment."""
    return {**http_filter("lua", "lua.v3.Lua", default_source_code={"inline_string": _FIND}), "name": _FILTER}


def table(granted: Mapping[str, Iterable[str]]) -> Json:
    """The route configuration of ENTRY; `granted` are the hosts by deployment."""
    hosts = [
        {
            "name": name,
            "domains": list(domains),
            "routes": [{**_leads(to=name), "direct_response": {"status": 503}}],
        }
        for name, domains in granted.items()
    ]
    others = {"name": "*", "domains": ["*"], "routes": [{**_leads(by="path"), **answer(404, _UNKNOWN)}]}
    unknown = {"error": "this router knows no such ModelDeployment"}
    ready = {"match": {"path": READY_PATH}, **answer(200, {"ready": True})}
    version = {
        "name": names.VERSION_HOST,
        "domains": [names.VERSION_HOST],
        "routes": [ready, access_routes.report_route(), {**_leads(by="version"), **answer(404, unknown)}],
    }
    return {
        "name": ENTRY,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": [*hosts, others, version],
    }


def scope(name: str, configuration: Json) -> Json:
    """A route configuration under the key by which the header finds it."""
    return {
        "name": name,
        "key": {"fragments": [{"string_key": name}]},
        "route_configuration": configuration,
    }


def _leads(**to: str) -> Json:
    return {"match": {"prefix": "/"}, "metadata": {"filter_metadata": {_FILTER: to}}}
