"""HTTPRoutes of the Gateway API: the one that Noria owns, and the backends of ours in one that a user made.

Comes in: a ModelDeployment, its weights, an HTTPRoute as the API server has it. Goes out: a body to apply, or
the rules to write, and what the route's status says of it. Invariants: a weight of 0 is written as 0; the
weights of a rule are never all 0; in a rule, each version stands once; whatever does not name a Service of
the deployment is left as it is; of feedback, which any pod counts, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from noria_operator.api import names
from noria_operator.domain.gateway_class import Abilities
from noria_operator.routers.source import DEFAULT_TIMEOUT

Json = dict[str, Any]
Shares = Sequence[tuple[str, int]]
"""Revision (the name of its Service) and weight; the weights have the sum 100."""
Headers = Sequence[tuple[str, str]]
NOBODY: Mapping[str, Headers] = MappingProxyType({})
Named = tuple[str, str]
"""Namespace and name of a Gateway."""
UNKNOWN: Mapping[Named, Abilities] = MappingProxyType({})

GROUP = "gateway.networking.k8s.io"
HUNDRED = 100
PARTIAL = "PartiallyInvalid"
"""The condition of a route some of whose rules a gateway leaves out."""


class Unusable(Exception):
    """What a user has to change in an HTTPRoute before weights can be written into it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the controllers of a route's gateways say: `served` that one of them sends requests by it,
    `current` that all who take care of it have taken it as it is now, `problem` what one of them refuses.
    """

    served: bool
    current: bool
    problem: str = ""


def own_route(
    deployment: Json,
    shares: Shares,
    *,
    copied: Shares = (),
    matched: Mapping[str, Headers] = NOBODY,
    number: int = 0,
) -> Json:
    """The HTTPRoute of a ModelDeployment that names a Gateway.

    With `spec.hosts` everything there is its own; without any, the inference paths of its name, at whatever
    host the Gateway has. Each of `copied` gets copies of so many percent of the requests that are divided by
    weight, but feedback; `matched` are the revisions that requests with all of some headers go to. Paths may
    name the champion by its `number`, if it has one.
    """
    meta, spec = deployment["metadata"], deployment["spec"]
    # The namespace is always said: Contour 1.33 takes a parent without one for any Gateway of that name.
    gateway = {"namespace": meta["namespace"], **spec["router"]["gateway"]}
    parent = {"group": GROUP, "kind": "Gateway"} | {
        field: gateway[field] for field in ("name", "namespace", "sectionName") if field in gateway
    }
    hosts = spec.get("hosts") or []
    paths = ["/"] if hosts else [f"/v2/models/{meta['name']}", f"/v1/models/{meta['name']}"]
    matches = [{"path": {"type": "PathPrefix", "value": path}} for path in paths]
    feedback = _feedback(deployment, number) if copied else []
    timeouts = {"request": spec["router"].get("timeout", DEFAULT_TIMEOUT)}
    rules = [
        {
            "matches": [{**match, "headers": _exactly(headers)} for match in (*matches, *feedback)],
            "backendRefs": [_backend(name, HUNDRED)],
            "timeouts": timeouts,
        }
        for name, headers in matched.items()
    ]
    divided: Json = {
        "matches": matches,
        "backendRefs": [_backend(name, weight) for name, weight in shares],
        "timeouts": timeouts,
    }
    if copied:
        rules.append({**divided, "matches": feedback})
        divided["filters"] = [
            {"type": "RequestMirror", "requestMirror": _copies(name, percent)} for name, percent in copied
        ]
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {names.DEPLOYMENT_LABEL: names.fit(meta["name"])},
        },
        "spec": {
            "parentRefs": [parent],
            **({"hostnames": hosts} if hosts else {}),
            "rules": [*rules, divided],
        },
    }


def says(route: Json, wanted: Json) -> bool:
    """Whether a route has everything that `wanted` has, beside what the API server filled in, and copies
    neither more nor less.
    """
    return _within(wanted["spec"], route["spec"]) and _copied(wanted) == _copied(route)


def rewritten(route: Json, mine: Collection[str], shares: Shares) -> list[Json]:
    """The route's rules with `shares` wherever a backend is one of `mine`. Raises `Unusable`.

    Beside backends of others ours keep the sum of their weights, so that the others' part stays what it was.
    """
    namespace = route["metadata"]["namespace"]
    rules: list[Json] = []
    found = False
    for number, rule in enumerate(route["spec"].get("rules") or ()):
        refs = rule.get("backendRefs") or []
        places = [index for index, ref in enumerate(refs) if _is_one_of(ref, mine, namespace)]
        if not places:
            rules.append(rule)
            continue
        found = True
        factor = _factor(route, number, refs, places)
        ours = [{**refs[places[0]], "name": name, "weight": weight * factor} for name, weight in shares]
        others = [ref for index, ref in enumerate(refs) if index not in places]
        at = places[0]
        rules.append({**rule, "backendRefs": [*others[:at], *ours, *others[at:]]})
    if not found:
        raise Unusable(
            f"no rule of HTTPRoute {route['metadata']['name']} sends anything to this deployment; add "
            "backendRefs: [{name: <name of the ModelDeployment>, port: 80}] to one"
        )
    return rules


def standing(route: Json, *, whole: bool = False, gateways: Mapping[Named, Abilities] = UNKNOWN) -> Standing:
    """What status says; parents that nobody reports on are not waited for as long as one is reported on.
    `whole`: a route of which rules were left out is refused. `gateways` is what is known of some: what was
    said of one that is gone, or by who had it before, often stays in status for ever, and does not count.
    """
    generation = route["metadata"].get("generation")
    reports = [one for one in _reports(route, gateways) if one]
    accepted = [one.get("Accepted", {}).get("status") == "True" for one in reports]
    current = bool(reports) and all(
        one.get(kind, {}).get("status") == "True" and one[kind].get("observedGeneration") == generation
        for one in reports
        for kind in ("Accepted", "ResolvedRefs")
    )
    wrong = {"Accepted": "False", "ResolvedRefs": "False"} | ({PARTIAL: "True"} if whole else {})
    refusals = [
        f"{kind} is {status}: {one[kind].get('reason')}: {one[kind].get('message')}"
        for one in reports
        for kind, status in wrong.items()
        if one.get(kind, {}).get("status") == status and one[kind].get("observedGeneration") == generation
    ]
    return Standing(any(accepted), current and not refusals, refusals[0] if refusals else "")


def written_at(obj: Json, manager: str) -> datetime | None:
    """When this field manager last changed something in the object, to the second, by the API server's
    clock; None when it never did.
    """
    times = [
        datetime.fromisoformat(one["time"]).astimezone(UTC)
        for one in obj["metadata"].get("managedFields", ())
        if one.get("manager") == manager and one.get("time") and not one.get("subresource")
    ]
    return max(times, default=None)


def _feedback(deployment: Json, number: int) -> list[Json]:
    """The paths that Noria's server takes labels at, which go before their beginnings in any order."""
    name, hosts = deployment["metadata"]["name"], deployment["spec"].get("hosts")
    called = dict.fromkeys((name, deployment["spec"]["model"]) if hosts else (name,))
    versions = ("", f"/versions/{number}") if number else ("",)
    paths = [f"/v2/models/{model}{version}/feedback" for model in called for version in versions]
    return [{"path": {"type": "Exact", "value": path}} for path in paths]


def _backend(name: str, weight: int) -> Json:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight}


def _copies(name: str, percent: int) -> Json:
    """All of them are asked for as every version of the Gateway API does it."""
    to = {"backendRef": {"group": "", "kind": "Service", "name": name, "port": 80}}
    return to if percent == HUNDRED else {**to, "percent": percent}


def _exactly(headers: Headers) -> list[Json]:
    return [{"type": "Exact", "name": name, "value": value} for name, value in headers]


def _copied(route: Json) -> list[tuple[str, Any]]:
    """To whom, and which part; None is all."""
    rules = route["spec"].get("rules") or ()
    filters = [one.get("requestMirror") for rule in rules for one in rule.get("filters") or ()]
    return [(one["backendRef"]["name"], one.get("percent", one.get("fraction"))) for one in filters if one]


def _within(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_within(item, found.get(key)) for key, item in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(_within, wanted, found))
    return bool(wanted == found)


def reported(route: Json) -> list[Named]:
    """The Gateways of the spec that status tells of."""
    return list(dict.fromkeys(named for parent in _entries(route) if (named := _gateway(parent))))


def _reports(route: Json, gateways: Mapping[Named, Abilities]) -> Iterable[dict[str, Json]]:
    """The conditions by type of each entry of status that counts."""
    for parent, entries in _entries(route).items():
        named = _gateway(parent)
        known = gateways.get(named) if named else None
        controllers = [one.get("controllerName", "") for one in entries]
        for controller, one in zip(controllers, entries, strict=True):
            if known is None or known.heeds(controller, controllers):
                yield {each["type"]: each for each in one.get("conditions") or ()}


def _entries(route: Json) -> dict[tuple[Any, ...], list[Json]]:
    """The entries of status by the parent of the spec that they are about, one of each controller."""
    namespace = route["metadata"]["namespace"]
    wanted = {_parent(one, namespace) for one in route["spec"].get("parentRefs") or ()}
    found: dict[tuple[Any, ...], list[Json]] = {}
    for one in (route.get("status") or {}).get("parents") or ():
        parent = _parent(one.get("parentRef") or {}, namespace)
        if parent in wanted:
            found.setdefault(parent, []).append(one)
    return found


def _gateway(parent: tuple[Any, ...]) -> Named | None:
    group, kind, where, name, *_ = parent
    return (where, name) if (group, kind) == (GROUP, "Gateway") else None


def _parent(ref: Json, namespace: str) -> tuple[Any, ...]:
    return (
        *(ref.get("group", GROUP), ref.get("kind", "Gateway")),
        *(ref.get("namespace", namespace), ref.get("name"), ref.get("sectionName"), ref.get("port")),
    )


def _is_one_of(ref: Json, mine: Collection[str], namespace: str) -> bool:
    kind = ref.get("group", ""), ref.get("kind", "Service"), ref.get("namespace", namespace)
    return kind == ("", "Service", namespace) and ref.get("name") in mine


def _factor(route: Json, number: int, refs: list[Json], places: list[int]) -> int:
    """What our weights are multiplied by: 1 where nobody else gets anything from this rule."""
    if not any(ref.get("weight", 1) for index, ref in enumerate(refs) if index not in places):
        return 1
    total: int = sum(refs[index].get("weight", 1) for index in places)
    if total % HUNDRED:
        raise Unusable(
            f"rule {number} of HTTPRoute {route['metadata']['name']} gives this deployment weight {total} "
            "beside backends of others; make it a multiple of 100, and theirs in proportion, so that it can "
            "be divided"
        )
    return total // HUNDRED
