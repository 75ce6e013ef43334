"""The entry point of the operator: reads the environment, logs in, puts the parts together, runs until
SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from noria_operator import logs
from noria_operator.controllers.context import Config, ConfigError, Context
from noria_operator.controllers.registry import CONTROLLERS
from noria_operator.evidence.fetch import Fetcher
from noria_operator.evidence.pairs import PairReader
from noria_operator.evidence.prometheus import QueryReader
from noria_operator.evidence.prometheus_counts import PrometheusCounts
from noria_operator.evidence.router import FRESH, RouterReader
from noria_operator.evidence.server import FRESH as SERVERS_FRESH
from noria_operator.evidence.server import CounterReader
from noria_operator.kube import kinds, namespaces
from noria_operator.kube.apply import Writer
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock
from noria_operator.kube.errors import ApiError
from noria_operator.kube.events import Events
from noria_operator.kube.lease import LeaseLost
from noria_operator.kube.login import Endpoint, LoginError, login
from noria_operator.kube.store import Store
from noria_operator.process import MakeContext, Operator, Parts
from noria_operator.routers import xds

log = logging.getLogger(__name__)

ASKING_SECONDS = 10.0
"""How long the API server may take to say which namespaces may be read, before anything else begins."""
GARBAGE = (10_000, 2, 50)
"""When Python looks for cycles: among new objects once there are so many, less those gone (its own 700 are
reached within two events of the API server, which hold no cycles); among those left of so many looks; and
among all, after so many of the second kind. Each look keeps the event loop for as long as there are objects:
15 ms for what is left of two, 100 and more for what is left of ten, which is its own number.
"""


def context(fetcher: Fetcher, routers: Fetcher) -> MakeContext:
    """Makes the context of a real operator; routers are read through a fetcher of their own, so that pods
    that give no answer hold up no verdict and no weight.
    """

    def make(client: Client, store: Store, config: Config, clock: Clock) -> Context:
        servers = CounterReader(fetcher, fresh=SERVERS_FRESH, now=clock.now)
        chosen = config.metric_sources.get(config.counts_from)
        return Context(
            client=client,
            store=store,
            writer=Writer(client, store, clock),
            events=Events(client, clock),
            clock=clock,
            config=config,
            router=RouterReader(routers, fresh=FRESH),
            servers=servers,
            pairs=PairReader(fetcher),
            queries=QueryReader(clock.now),
            prometheus_counts=PrometheusCounts(chosen, servers, clock.now) if chosen else None,
        )

    return make


def xds_app(store: Store, config: Config, blind: Callable[[], bool]) -> web.Application:
    """Router configuration, for every router of the cluster while this operator is not `blind`. Raises
    `ConfigError` without a master key: the operator does not start then.
    """
    config.master_key()
    return xds.app(
        store,
        master_key=config.master_key,
        deployments=kinds.MODELDEPLOYMENT,
        pods=kinds.POD,
        namespaces=config.watch_namespaces,
        blind=blind,
        max_body=config.router_max_body,
    )


async def serve(config: Config, endpoint: Endpoint) -> None:
    """Run one operator until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fetcher, routers = Fetcher(), Fetcher()
    try:
        async with Client(endpoint) as client:
            readable, left_out = await _readable(client, config)
            make = context(fetcher, routers)
            parts = Parts(readable, endpoint, client, CONTROLLERS, make, xds_app, left_out=left_out)
            await Operator(parts).run(stop)
    finally:
        await fetcher.close()
        await routers.close()


async def _readable(client: Client, config: Config) -> tuple[Config, frozenset[str]]:
    """The configuration without the namespaces that may not be read, and these."""
    try:
        async with asyncio.timeout(ASKING_SECONDS):
            left_out = await namespaces.forbidden(client, config.watch_namespaces)
    except (ApiError, TimeoutError):
        return config, frozenset()
    if left_out:
        log.warning(
            "Namespaces may not be read and are left out until they may; were they deleted? Take them out of "
            "watchNamespaces, or create them and run `helm upgrade`",
            extra={"namespaces": sorted(left_out)},
        )
    watched = tuple(name for name in config.watch_namespaces if name not in left_out)
    return replace(config, watch_namespaces=watched), left_out


def main() -> None:
    """The process: 0 after a stop, 1 after a lost lease, 2 when the set-up is wrong."""
    gc.set_threshold(*GARBAGE)
    logs.configure(os.environ.get("NORIA_LOG_LEVEL", "INFO"))
    try:
        asyncio.run(serve(Config.from_env(), login()))
    except LeaseLost as error:
        log.error("The lease is lost; the process ends so that only one works", extra={"error": str(error)})  # noqa: TRY400
        sys.exit(1)
    except (ConfigError, LoginError) as error:
        log.error("The operator cannot start", extra={"error": str(error)})  # noqa: TRY400
        sys.exit(2)


if __name__ == "__main__":
    main()
