"""What every controller is given, and what it gives back.

A controller is a module with `KIND`, `OWNS`, `reconcile(ctx, key)` and `related(store, obj)`: it reads the
store, asks the domain, writes through `ctx.writer`, and says when it wants to look again. It keeps nothing
between two passes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.parsing import MOST_REMEMBERED, Remembered
from noria_operator.domain.chart_values import InvalidEntry
from noria_operator.domain.gateway_class import Abilities
from noria_operator.domain.gateway_probes import Gateway, Probe, probes_of
from noria_operator.domain.keys import MASTER_KEY_MIN
from noria_operator.domain.metric_sources import Source, sources_of
from noria_operator.domain.notification_targets import Target, targets_of
from noria_operator.domain.query_templates import Template, templates_of
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_open import Open
from noria_operator.evidence.gateway import GatewayReader
from noria_operator.evidence.stillness import Stillness
from noria_operator.kube.apply import Writer
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock
from noria_operator.kube.events import Events
from noria_operator.kube.kinds import Json, Key, Kind
from noria_operator.kube.lease import SHARED
from noria_operator.kube.store import Store
from noria_operator.recent import Recent
from noria_operator.routers.http import EVERYWHERE
from noria_operator.tasks import Turns
from noria_serving import contract

if TYPE_CHECKING:
    from noria_operator.evidence.pairs import PairReader
    from noria_operator.evidence.prometheus import QueryReader
    from noria_operator.evidence.prometheus_counts import PrometheusCounts
    from noria_operator.evidence.router import RouterReader
    from noria_operator.evidence.server import CounterReader

Entries = TypeVar("Entries")
MAX_GATEWAYS = 256
"""Gateways whose classes are remembered."""
MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request that routers pass on where the installation says nothing: four times what Noria's own
server takes."""


class ConfigError(Exception):
    """An environment variable of the operator has no usable value; the message names it."""


@dataclass(frozen=True, slots=True)
class Config:
    """How this installation is set up; comes from the environment of the operator's pod (the chart sets
    it).
    """

    namespace: str
    """NORIA_NAMESPACE: where the operator itself lives, and its lease."""
    lease: str = SHARED
    """NORIA_LEASE: name of the lease, which is that of the operator's Deployment."""
    watch_namespaces: tuple[str, ...] = ()
    """NORIA_WATCH_NAMESPACES: comma list; empty means all namespaces."""
    server_image: str = ""
    """NORIA_SERVER_IMAGE: the model server, by digest."""
    router_image: str = ""
    """NORIA_ROUTER_IMAGE: Envoy, by digest."""
    master_key_file: Path = Path("/var/run/noria/master-key")
    """NORIA_MASTER_KEY_FILE: the key that all others are derived from."""
    xds_address: str = "noria-operator:18000"
    """NORIA_XDS_ADDRESS: host:port where routers reach the operator."""
    router_address: str = "0.0.0.0"
    """From NORIA_POD_IPS, the comma list of the addresses of the operator's pod: routers listen on IPv6, too,
    where it has one; elsewhere a node may not know IPv6 at all."""
    http_port: int = 8080
    """NORIA_HTTP_PORT: health and metrics; 0 takes any free port."""
    xds_port: int = 18000
    """NORIA_XDS_PORT: router configuration; 0 takes any free port."""
    image_pull_policy: str = "IfNotPresent"
    """NORIA_IMAGE_PULL_POLICY of the pods that Noria makes."""
    pull_secrets: tuple[str, ...] = ()
    """NORIA_PULL_SECRETS: comma list of Secrets by which these pods pull Noria's images, in their
    namespaces."""
    allow_code_namespaces: frozenset[str] = field(default_factory=frozenset)
    """NORIA_ALLOW_CODE_NAMESPACES: comma list of namespaces whose models may run code of their own."""
    private_hosts: tuple[str, ...] = ()
    """NORIA_PRIVATE_HOSTS: comma list of hosts and networks off the public internet that models may come
    from."""
    trusted_keys: str = ""
    """NORIA_TRUSTED_KEYS: public keys in PEM, one after another, with which models may be signed."""
    signed_namespaces: frozenset[str] = field(default_factory=frozenset)
    """NORIA_SIGNED_NAMESPACES: comma list of namespaces whose models must be signed; `*` means all."""
    gateway: bool = False
    """NORIA_GATEWAY: `1` where the cluster knows HTTPRoutes of the Gateway API and Noria may write them."""
    gateway_probes: Mapping[Gateway, Probe] = field(default_factory=dict)
    """NORIA_GATEWAY_PROBES: JSON list of where the proxies of Gateways may be asked what they act on."""
    router_max_body: int = MAX_BODY
    """NORIA_ROUTER_MAX_BODY_BYTES: the longest body of a request that routers pass on; 0: of any length."""
    evidence_interval: timedelta = timedelta(seconds=1)
    """NORIA_EVIDENCE_INTERVAL: how often routers are read during a rollout."""
    counters_interval: timedelta = timedelta(seconds=15)
    """NORIA_COUNTERS_INTERVAL: how often model servers are read."""
    notifications: tuple[Target, ...] = ()
    """NORIA_NOTIFICATIONS: JSON list of the receivers that are told what happens."""
    query_templates: Mapping[str, Template] = field(default_factory=dict)
    """NORIA_QUERY_TEMPLATES: JSON list of the queries that analyses may refer to."""
    metric_sources: Mapping[str, Source] = field(default_factory=dict)
    """NORIA_METRIC_SOURCES: JSON list of where metrics are kept."""
    counts_from: str = ""
    """NORIA_COUNTS_FROM: which of them has the counts that triggers look at; empty: the model servers."""

    @staticmethod
    def from_env(env: Mapping[str, str] = os.environ) -> Config:
        """Read the environment; raises `ConfigError`."""
        if not env.get("NORIA_NAMESPACE"):
            raise ConfigError("NORIA_NAMESPACE is not set: it names the namespace of the operator's lease")
        if env.get("NORIA_SIGNED_NAMESPACES") and not env.get(contract.ENV_TRUSTED_KEYS):
            raise ConfigError(f"NORIA_SIGNED_NAMESPACES is set and {contract.ENV_TRUSTED_KEYS} is not")
        sources = _entries(env, "NORIA_METRIC_SOURCES", sources_of)
        counts_from = env.get("NORIA_COUNTS_FROM", "")
        if counts_from and counts_from not in sources:
            raise ConfigError(
                f"NORIA_COUNTS_FROM: there is no source {counts_from!r} in NORIA_METRIC_SOURCES"
            )
        probes = _entries(env, "NORIA_GATEWAY_PROBES", probes_of)
        if probes and env.get("NORIA_GATEWAY") != "1":
            raise ConfigError("NORIA_GATEWAY_PROBES is set and NORIA_GATEWAY is not 1")
        return Config(
            namespace=env["NORIA_NAMESPACE"],
            lease=env.get("NORIA_LEASE") or SHARED,
            watch_namespaces=_names(env.get("NORIA_WATCH_NAMESPACES", "")),
            server_image=env.get("NORIA_SERVER_IMAGE", ""),
            router_image=env.get("NORIA_ROUTER_IMAGE", ""),
            master_key_file=Path(env.get("NORIA_MASTER_KEY_FILE", "/var/run/noria/master-key")),
            xds_address=env.get("NORIA_XDS_ADDRESS", "noria-operator:18000"),
            router_address=EVERYWHERE if ":" in env.get("NORIA_POD_IPS", "") else "0.0.0.0",
            http_port=_port(env, "NORIA_HTTP_PORT", 8080),
            xds_port=_port(env, "NORIA_XDS_PORT", 18000),
            image_pull_policy=env.get("NORIA_IMAGE_PULL_POLICY", "IfNotPresent"),
            pull_secrets=_names(env.get("NORIA_PULL_SECRETS", "")),
            allow_code_namespaces=frozenset(_names(env.get("NORIA_ALLOW_CODE_NAMESPACES", ""))),
            private_hosts=_names(env.get(contract.ENV_PRIVATE_HOSTS, "")),
            trusted_keys=env.get(contract.ENV_TRUSTED_KEYS, ""),
            signed_namespaces=frozenset(_names(env.get("NORIA_SIGNED_NAMESPACES", ""))),
            gateway=env.get("NORIA_GATEWAY", "") == "1",
            gateway_probes=probes,
            router_max_body=_bytes(env, "NORIA_ROUTER_MAX_BODY_BYTES", MAX_BODY),
            evidence_interval=_seconds(env, "NORIA_EVIDENCE_INTERVAL", "1s"),
            counters_interval=_seconds(env, "NORIA_COUNTERS_INTERVAL", "15s"),
            notifications=_entries(env, "NORIA_NOTIFICATIONS", targets_of),
            query_templates=_entries(env, "NORIA_QUERY_TEMPLATES", partial(templates_of, sources=sources)),
            metric_sources=sources,
            counts_from=counts_from,
        )

    def fetching(self, namespace: str) -> dict[str, str]:
        """What pods of a namespace are told about fetching models, from where and signed by whom: always all
        of it, so that no user's ConfigMap says it.
        """
        signed = not self.signed_namespaces.isdisjoint({namespace, "*"})
        return {
            contract.ENV_PRIVATE_HOSTS: ",".join(self.private_hosts),
            contract.ENV_TRUSTED_KEYS: self.trusted_keys,
            contract.ENV_REQUIRE_SIGNATURE: "1" if signed else "0",
        }

    def master_key(self) -> bytes:
        """The master key as its file holds it now, read when that file is another one than last time.

        Raises `ConfigError` when the file is missing or the key too short to be one.
        """
        file = self.master_key_file
        try:
            now = file.stat()
            return _master_key(file, (now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size))
        except OSError as error:
            raise ConfigError(f"NORIA_MASTER_KEY_FILE {file} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a controller may use. One for the whole process."""

    client: Client
    store: Store
    writer: Writer
    events: Events
    clock: Clock
    config: Config
    router: RouterReader
    """Requests, errors and weights in force, from the routers."""
    servers: CounterReader
    """Predictions and labels, from the model servers."""
    pairs: PairReader
    """Answers of two versions to the same requests, from the same."""
    queries: QueryReader
    """Whatever Prometheus knows, by queries of the cluster's admin."""
    prometheus_counts: PrometheusCounts | None = None
    """Where counts for triggers come from, if not from the model servers."""
    trainings: Remembered[ContinuousTraining] = field(default_factory=lambda: Remembered(ContinuousTraining))
    """ContinuousTrainings as models, which are asked for whenever counters are read."""
    open: Recent[Key, Open] = field(default_factory=lambda: Recent(MOST_REMEMBERED))
    """What passes over ContinuousTrainings found that wait for the ends of windows."""
    stillness: Stillness = field(default_factory=Stillness)
    """Whether pods are still asked, where no router tells."""
    wake: Callable[[Key], None] = lambda _: None
    """Has a key reconciled soon: what was asked in the background is answered."""
    rush: Callable[[], bool] = lambda: False
    """Whether other objects wait for a pass: what only reports may wait for them."""
    gap: Callable[[], Gap | None] = lambda: None
    """When nobody looked what was due; None: nobody knows."""
    untold: set[Key] = field(default_factory=set)
    """Whose first status was put off."""
    gateways: GatewayReader = field(default_factory=GatewayReader)
    """What proxies of gateways act on, where the cluster's admin names them."""
    classes: Recent[tuple[str, str], tuple[datetime, Abilities]] = field(
        default_factory=lambda: Recent(MAX_GATEWAYS)
    )
    """What the classes of Gateways can do, and when it was read."""
    turns: Turns = field(default_factory=Turns)
    """For what several keys share: whoever finds it missing makes it alone."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("noria"))

    @property
    def counts(self) -> CounterReader | PrometheusCounts:
        """What triggers look at."""
        return self.prometheus_counts or self.servers

    async def close(self) -> None:
        """Give up what is being read in the background."""
        await self.queries.close()
        await self.gateways.close()
        if self.prometheus_counts is not None:
            await self.prometheus_counts.close()
        await self.servers.close()
        await self.pairs.close()


@dataclass(frozen=True, slots=True)
class Result:
    """How a pass ended: `after` says when to look again even if nothing happens; None: only when something
    does.
    """

    after: timedelta | None = None


class Controller(Protocol):
    """What the app needs of a controller module."""

    @property
    def KIND(self) -> Kind:
        """The kind whose keys it is given."""

    @property
    def OWNS(self) -> tuple[Kind, ...]:
        """Kinds of its children: their events wake the owner that they name."""

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        """Bring the world one step closer to the object, which may be gone. Safe to repeat at any time."""

    def related(self, store: Store, obj: Json) -> list[Key]:
        """Keys of KIND that a change of `obj` (of any kind, not a child) must wake."""


@lru_cache(maxsize=1)
def _master_key(file: Path, _state: tuple[int, ...]) -> bytes:
    """The key in a file of this state, which was looked up before: what is read is as new, or newer."""
    key = file.read_bytes().strip()
    if len(key) < MASTER_KEY_MIN:
        raise ConfigError(f"NORIA_MASTER_KEY_FILE {file} holds less than {MASTER_KEY_MIN} bytes")
    return key


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _entries(env: Mapping[str, str], name: str, read: Callable[[str], Entries]) -> Entries:
    try:
        return read(env.get(name, ""))
    except InvalidEntry as error:
        raise ConfigError(f"{name}: {error}") from error


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit() or int(text) > 65535:
        raise ConfigError(f"{name}={text!r} is no port number")
    return int(text)


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit() or int(text) >= 2**53:
        raise ConfigError(f"{name}={text!r} is no number of bytes")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: str) -> timedelta:
    text = env.get(name, default)
    factor = {"ms": 0.001, "s": 1.0, "m": 60.0}
    unit = text.lstrip("0123456789")
    if unit not in factor or text == unit:
        raise ConfigError(f"{name}={text!r} is no duration such as 500ms, 15s or 1m")
    return timedelta(seconds=int(text[: -len(unit)]) * factor[unit])
