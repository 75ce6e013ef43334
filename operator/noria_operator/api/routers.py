"""Kinds of routers: what each of them can do, as data, and how a ModelDeployment chooses one.

Comes in: `spec.router` as JSON. Goes out: a frozen, validated model. Invariant: what a router cannot do is
refused here, by rules made from `CAPABILITIES`; the table in docs/api/routers.md is made from the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from noria_operator.api.access import Access
from noria_operator.api.schema import Rule, Spec, transition
from noria_operator.api.types import DnsLabel, Duration, ObjectName, PositiveDuration

RouterType = Literal["Envoy", "Gateway", "Service"]


def _says(text: str, default: Any = False) -> Any:
    return field(default=default, metadata={"says": text})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a router can do; each field says so in the words of the table."""

    any_weight: bool = _says("any weight, whatever the number of pods (else weights are shares of pods)")
    read_back: bool | str = _says("tells which weights are in force (else they are assumed after a while)")
    by_request: bool = _says("divides requests (else connections)")
    falls_back: bool = _says("sends the share of a version whose pods are gone to the others by itself")
    retries: bool = _says("tries again, at another pod, what got no answer: `spec.router.retries`")
    feedback: bool = _says("brings feedback to the version that predicted")
    named: bool = _says("leads requests whose path names a version (`/versions/N`) to it (else by weight)")
    ramp: bool = _says("weights that grow with the evidence: `ramp` of a step")
    mirror: bool | str = _says("copies of requests: `mirror` of a step")
    match: bool = _says("requests with headers: `match` of a step")
    sticky: bool = _says("divides users by a key of theirs: `strategy.sticky`")
    experiment: bool = _says("several challengers at once: `strategy.experiment`")
    preview: bool = _says("an address of the challenger's own: `strategy.preview`")
    scale: bool = _says("pods of a challenger apart from its weight: `replicas` of a step")
    hosts: bool = _says("`spec.hosts`")
    timeout: bool = _says("`spec.router.timeout`")
    tls: bool = _says("TLS: `spec.router.tls`")
    access: bool = _says("lets in who has a key or a token: `spec.router.access`")
    grpc: bool = _says("gRPC")
    latency: bool = _says("measures latency by version: `analysis.latency`")
    replicas: bool = _says("has pods of its own: `spec.router.replicas`")
    counts: str = _says("requests and errors of a version are counted by", "the model server")


ROUTER: Final = "the router"
"""Who counts, where that is not left to the model servers."""
PART_OF_COPIES: Final = "HTTPRouteRequestPercentageMirror"
"""The feature of the Gateway API by which a GatewayClass says (`status.supportedFeatures`, GEP-2162) that it
copies a part of the requests; without it, `percent` may be ignored and everything copied."""
CAPABILITIES: Final[Mapping[str, Capabilities]] = {
    "Envoy": Capabilities(*(True,) * 21, counts=ROUTER),
    "Gateway": Capabilities(
        any_weight=True,
        read_back="where the chart's `routers.gateway.probes` names its proxies, but not Envoy Gateway's",
        by_request=True,
        ramp=True,
        mirror=f"100; less where the GatewayClass lists `{PART_OF_COPIES}`, or is annotated with it",
        match=True,
        experiment=True,
        preview=True,
        scale=True,
        hosts=True,
        timeout=True,
    ),
    "Service": Capabilities(falls_back=True, preview=True, grpc=True),
}

LARGEST_SHARE: Final = 50
"""Percent that a challenger gets of pods at most while the champion keeps all of its own."""


def lacking(capability: str) -> list[str]:
    """The kinds of routers that cannot do this."""
    return [kind for kind, able in CAPABILITIES.items() if not getattr(able, capability)]


def table() -> str:
    """The capabilities as a table in Markdown."""
    rows = [["", *CAPABILITIES], ["---"] * (len(CAPABILITIES) + 1)]
    for each in fields(Capabilities):
        values = (getattr(able, each.name) for able in CAPABILITIES.values())
        rows.append([each.metadata["says"], *(_cell(value) for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "–"


class Gateway(Spec):
    """An HTTPRoute by which a gateway of the cluster divides the traffic: one of ours, or one of yours."""

    name: ObjectName | None = Field(
        default=None,
        description="Gateway for an HTTPRoute of Noria's, for example public. Absent: see route.",
    )
    namespace: DnsLabel | None = Field(
        default=None, description="Namespace of that Gateway. Absent: the deployment's own."
    )
    section_name: ObjectName | None = Field(
        default=None, description="Listener of that Gateway. Absent: all."
    )
    route: ObjectName | None = Field(
        default=None,
        description="HTTPRoute of yours instead: backends called like the deployment become its "
        "versions. Absent: see name.",
    )
    settle: Annotated[
        Duration,
        Rule(
            cel="duration(self) <= duration('10m')",
            message="settle must be at most 10m",
            holds=lambda it: it <= timedelta(minutes=10),
        ),
    ] = Field(
        default=timedelta(seconds=5),
        description="How long after the gateway took them weights count as in force, from 0s to 10m. "
        "Default: 5s.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.name) != has(self.route)",
            message="name the Gateway (name) or an HTTPRoute of yours (route), not both",
            holds=lambda it: (it.name is None) != (it.route is None),
        ),
        Rule(
            cel="!has(self.route) || (!has(self.namespace) && !has(self.sectionName))",
            message="an HTTPRoute of yours names its own Gateway: leave out namespace and sectionName",
            field=".route",
            reason="FieldValueForbidden",
            holds=lambda it: it.route is None or (it.namespace is None and it.section_name is None),
        ),
    )


class Tls(Spec):
    """The certificate that the router shows."""

    secret_name: ObjectName = Field(
        description="Secret of type kubernetes.io/tls, which the router alone mounts. Example: flights-tls."
    )


def kind_in(kinds: list[str], *, where: str = "self") -> str:
    """CEL: whether the router that `where` describes is one of `kinds`, none of which is the default."""
    is_one = f"== '{kinds[0]}'" if len(kinds) == 1 else f"in [{', '.join(repr(kind) for kind in kinds)}]"
    return f"(has({where}.type) && {where}.type {is_one})"


def _only_where(*fields: str) -> Rule:
    """Fields of `spec.router` that mean something only to routers with the capabilities of their names, which
    the same kinds lack: rules take room in a CRD."""
    (kinds,) = {tuple(lacking(field)) for field in fields}
    used = " || ".join(f"has(self.{field})" for field in fields)
    return Rule(
        cel=f"!({used}) || !{kind_in(list(kinds))}",
        message=f"router type {' and '.join(kinds)} has no {', '.join(fields)}: leave it out",
        field=f".{fields[0]}" if len(fields) == 1 else "",
        reason="FieldValueForbidden",
        holds=lambda it: it.type not in kinds or not it.model_fields_set.intersection(fields),
    )


class Router(Spec):
    """What splits the traffic."""

    type: RouterType = Field(
        default="Envoy",
        description="Envoy: Noria's own, one a namespace. Gateway: an HTTPRoute. Service: a plain "
        "Service. Immutable. Default: Envoy.",
    )
    replicas: int = Field(
        default=2,
        ge=1,
        le=20,
        description="Router pods; the largest number in the namespace counts. 1: requests fail while it "
        "moves. Default: 2.",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="Longest time for one request. Default: 30s."
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=5,
        description="Further tries, at other pods, of what got no answer. 0: of what reached no pod alone. "
        "Default: 2.",
    )
    tls: Tls | None = Field(default=None, description="With type Envoy: TLS at port 443. Absent: none.")
    access: Access | None = Field(default=None, description="With type Envoy: who may call. Absent: all.")
    gateway: Gateway | None = Field(default=None, description="With type Gateway: which one.")
    rules: ClassVar = (
        Rule(
            cel=f"has(self.gateway) == {kind_in(['Gateway'])}",
            message="type Gateway needs gateway, and nothing else does",
            field=".gateway",
            holds=lambda it: (it.gateway is not None) == (it.type == "Gateway"),
        ),
        _only_where("replicas", "retries", "tls", "access"),
        _only_where("timeout"),
        Rule(
            cel="!has(self.timeout) || !has(self.gateway) || !has(self.gateway.route)",
            message="an HTTPRoute of yours says its own timeout: leave it out",
            field=".timeout",
            reason="FieldValueForbidden",
            holds=lambda it: not (it.gateway and it.gateway.route) or "timeout" not in it.model_fields_set,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Use:
    """A field of `spec.strategy` that needs a capability: how messages call it, and whether it is set."""

    name: str
    cel: str
    holds: Callable[[Any], bool]
    of_step: bool = False
    """`cel` is about a step `s`."""


def _step(name: str) -> _Use:
    return _Use(
        name,
        f"has(s.{name})",
        lambda it: any(getattr(one, name) is not None for one in it.steps),
        of_step=True,
    )


_USES: Final[Mapping[str, _Use]] = {
    "ramp": _step("ramp"),
    "mirror": _step("mirror"),
    "match": _step("match"),
    "scale": _step("replicas"),
    "sticky": _Use("sticky", "has(self.strategy.sticky)", lambda it: it.sticky is not None),
    "experiment": _Use("experiment", "has(self.strategy.experiment)", lambda it: it.experiment is not None),
    "preview": _Use(
        "preview", "(has(self.strategy.preview) && self.strategy.preview)", lambda it: it.preview
    ),
    "latency": _Use(
        "analysis.latency",
        "(has(self.strategy.analysis) && has(self.strategy.analysis.latency))",
        lambda it: it.analysis.latency is not None,
    ),
}


def _strategy_rules() -> Iterator[Rule]:
    """One rule for all fields that the same kinds of routers know nothing of: rules take room in a CRD."""
    groups: dict[tuple[str, ...], list[_Use]] = {}
    for capability, use in _USES.items():
        if kinds := tuple(lacking(capability)):
            groups.setdefault(kinds, []).append(use)
    for kinds, uses in groups.items():
        yield _without(kinds, tuple(uses))


def _without(kinds: tuple[str, ...], uses: tuple[_Use, ...]) -> Rule:
    steps, others = [use for use in uses if use.of_step], [use for use in uses if not use.of_step]
    used, named = [use.cel for use in others], [use.name for use in others]
    if steps:
        in_one = " || ".join(use.cel for use in steps)
        used.append(f"(has(self.strategy.steps) && self.strategy.steps.exists(s, {in_one}))")
        named.append(f"{', '.join(use.name for use in steps)} in steps")
    return Rule(
        cel=f"!has(self.router) || !{kind_in(list(kinds), where='self.router')} || !has(self.strategy) || "
        f"!({' || '.join(used)})",
        message=f"router type {' and '.join(kinds)} has no {', '.join(named)}: leave it out",
        field=".strategy",
        reason="FieldValueForbidden",
        holds=lambda it: it.router.type not in kinds or not any(use.holds(it.strategy) for use in uses),
    )


_NO_HOSTS, _NO_GRPC, _BY_PODS = lacking("hosts"), lacking("grpc"), lacking("any_weight")
_KIND = "(has({0}.router) && has({0}.router.type) ? {0}.router.type : 'Envoy')"
DEPLOYMENT_RULES = (
    transition(
        cel=f"{_KIND.format('self')} == {_KIND.format('oldSelf')}",
        message="router.type is immutable: make a second ModelDeployment, move clients, delete this one",
        field=".router",
    ),
    Rule(
        cel=f"!has(self.hosts) || size(self.hosts) == 0 || !has(self.router) || "
        f"!({kind_in(_NO_HOSTS, where='self.router')} || "
        "(has(self.router.gateway) && has(self.router.gateway.route)))",
        message=f"router type {' and '.join(_NO_HOSTS)} has no hosts, and an HTTPRoute of yours says its "
        "own: leave them out",
        field=".hosts",
        reason="FieldValueForbidden",
        holds=lambda it: (
            not it.hosts
            or not (it.router.type in _NO_HOSTS or (it.router.gateway and it.router.gateway.route))
        ),
    ),
    Rule(
        cel=f"!has(self.router) || !{kind_in(_NO_GRPC, where='self.router')} || !has(self.server) || "
        "!has(self.server.grpcPort) || self.server.grpcPort == 0",
        message=f"router type {' and '.join(_NO_GRPC)} brings no gRPC: leave grpcPort out",
        field=".server",
        reason="FieldValueForbidden",
        holds=lambda it: it.router.type not in _NO_GRPC or not it.server.grpc_port,
    ),
    Rule(
        cel=f"!has(self.router) || !{kind_in(_BY_PODS, where='self.router')} || !has(self.strategy) || "
        "!has(self.strategy.steps) || "
        f"self.strategy.steps.all(s, !has(s.weight) || s.weight <= {LARGEST_SHARE})",
        message=f"router type {' and '.join(_BY_PODS)} divides by pods: weights of "
        f"steps are at most {LARGEST_SHARE}",
        field=".strategy",
        holds=lambda it: (
            it.router.type not in _BY_PODS
            or all((step.weight or 0) <= LARGEST_SHARE for step in it.strategy.steps)
        ),
    ),
    Rule(
        cel="!has(self.router) || !has(self.router.gateway) || !has(self.router.gateway.route) || "
        "!has(self.strategy) || ((!has(self.strategy.steps) || "
        "self.strategy.steps.all(s, !has(s.mirror) && !has(s.match))) && (!has(self.strategy.experiment) || "
        "self.strategy.experiment.arms.all(a, !has(a.match))))",
        message="in an HTTPRoute of yours only weights are written: leave mirror and match out",
        field=".strategy",
        reason="FieldValueForbidden",
        holds=lambda it: (
            it.router.gateway is None
            or it.router.gateway.route is None
            or (
                all(step.mirror is None and step.match is None for step in it.strategy.steps)
                and all(arm.match is None for arm in getattr(it.strategy.experiment, "arms", ()))
            )
        ),
    ),
    *_strategy_rules(),
)
"""What `spec` as a whole must keep to for its router."""
