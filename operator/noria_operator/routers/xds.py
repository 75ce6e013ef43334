"""The server that hands routers their configuration: Envoy's REST discovery with held requests.

Comes in: `POST /v3/discovery:{routes,clusters,endpoints}` from routers, and the store. Goes out: the answer
as soon as it differs from what the router has, 304 when nothing changed for a while. Invariants: nothing is
answered before every watch has synced (503); a router gets the namespace that its token proves and no other
(403); the order of `ordering` holds for each router. Any replica of the operator answers, leader or not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from noria_operator.domain.keys import router_token, same_token
from noria_operator.routers.catalogue import Catalogue, ObjectStore, Topic
from noria_operator.routers.envoy import Resource, Snapshot
from noria_operator.routers.ordering import Kind, Node, Order, Place, Version, compare, in_order

Json = dict[str, Any]

logger = logging.getLogger(__name__)

HOLD = 20.0
"""Seconds that a request waits for a change; shorter than the time-outs in the routers' bootstrap."""
BODY_LIMIT = 512 * 1024
"""Bytes of a request. Envoy lists its 500 extensions in each one: 77 KB."""
BODY_TIMEOUT = 10.0
"""Seconds to send it in."""
AGAIN = 1.0
"""Seconds before something is said again to a router that did not take it, and before a bad token hears
so."""
PATIENCE = 2.0
"""Seconds that an answer waits for another one to be accepted: a router may have told a different replica."""
RETURN = 6.0
"""Seconds that a cluster is not emptied for a router of whose routes nothing is known: when operators were
away, each of its subscriptions comes back in its own time, five seconds after them at most."""
MAX_NODES = 10_000
"""Routers remembered; a token holder who makes up names forgets the oldest."""
FORGET = 300.0
"""Seconds after which a router that asks no more is forgotten."""

_TYPES = {
    Kind.ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    Kind.CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    Kind.ENDPOINTS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
}


def app(
    store: ObjectStore,
    *,
    master_key: Callable[[], bytes],
    deployments: Hashable,
    slices: Hashable,
    hold: float = HOLD,
) -> web.Application:
    """The application; `deployments` and `slices` are the store's kinds of ModelDeployment and EndpointSlice,
    `master_key` gives the key that is in force now.

    To be run with `access_log=None` and a connection for each held request.
    """
    application = web.Application(client_max_size=BODY_LIMIT)
    discovery = Discovery(Catalogue(store, deployments=deployments, slices=slices), master_key, hold)
    application.router.add_post("/v3/discovery:{kind}", discovery.answer)
    application.on_shutdown.append(discovery.close)
    return application


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks: `name` is the cluster whose endpoints it wants, else empty."""

    kind: Kind
    namespace: str
    node: str
    token: str
    name: str
    version: Version | None

    @property
    def place(self) -> Place:
        return self.kind, self.name


class Discovery:
    """Answers routers; what it remembers of them may be lost at any time and is learnt again from their
    requests."""

    def __init__(self, catalogue: Catalogue, master_key: Callable[[], bytes], hold: float) -> None:
        self._catalogue = catalogue
        self._master_key = master_key
        self._hold = hold
        self._nodes: dict[tuple[str, str], Node] = {}
        self._pruned = 0.0
        self._closing = False

    async def close(self, _: web.Application) -> None:
        """Let everybody go who waits: another replica answers them."""
        self._closing = True
        self._catalogue.close()

    async def answer(self, request: web.Request) -> web.Response:
        """One discovery request."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await _body(request)
            question = _parse(request.match_info["kind"], body)
            del body
        except (ValueError, KeyError, TypeError, AttributeError, TimeoutError):
            return web.json_response({"error": "not a discovery request"}, status=400)
        if not same_token(question.token, router_token(self._master_key(), question.namespace)):
            logger.warning("router refused", extra={"namespace": question.namespace, "node": question.node})
            await asyncio.sleep(AGAIN)
            return web.json_response({"error": "the token is not this namespace's"}, status=403)
        if not self._catalogue.synced or self._closing:
            return web.json_response({"error": "not ready yet"}, status=503)
        return await self._held(question, self._node(question))

    async def _held(self, question: Question, node: Node) -> web.Response:
        """Answer when there is something new that may be said."""
        now = asyncio.get_running_loop().time
        end = now() + self._hold * random.uniform(0.75, 1.0)
        changed: list[Topic] = [(question.namespace, question.kind.value, question.name)]
        # What the router accepts elsewhere matters only to an answer that is news: a namespace of a thousand
        # deployments holds thousands of requests, and each that comes in would wake all of them.
        or_accepted = [*changed, (question.namespace, "node", question.node)]
        while not self._closing:
            snapshot = self._catalogue.snapshot(question.namespace)
            resource = _resource(snapshot, question)
            ours = Version(self._catalogue.position, resource.digest)
            pause = self._pause(snapshot, question, node, ours, now())
            if pause <= 0:
                node.answered(question.place, ours.digest, now())
                return _answer(question.kind, ours.after(question.version), resource)
            if now() >= end:
                return web.Response(status=304)
            has_it = question.version is not None and question.version.digest == ours.digest
            topics = changed if has_it else or_accepted
            await self._catalogue.wait(topics, min(pause, end - now()))
        return web.json_response({"error": "this replica stops"}, status=503)

    def _pause(self, snapshot: Snapshot, question: Question, node: Node, ours: Version, now: float) -> float:
        """Seconds to wait before the answer may be given; 0 says: now."""
        place = question.place
        order = compare(ours, question.version, self._catalogue.known)
        if order in {Order.SAME, Order.BEHIND}:
            node.waiting.pop(place, None)
            return self._hold
        since = node.waiting.setdefault(place, now)
        if order is Order.LEVEL and now - since < AGAIN:
            return AGAIN - (now - since)
        digest, at = node.sent.get(place, ("", 0.0))
        if question.version is not None and digest == ours.digest and now - at < AGAIN:
            logger.warning("router did not take what it was sent", extra=_told(question, ours))
            return AGAIN - (now - at)
        known = place[0] is not Kind.ENDPOINTS or node.may_have((Kind.ROUTES, ""))
        patience = PATIENCE if known else RETURN
        if now - since < patience and not in_order(snapshot, node, place, self._catalogue.history):
            return patience - (now - since)
        del node.waiting[place]
        return 0.0

    def _node(self, question: Question) -> Node:
        """What is known of this router, with what its request says."""
        now = asyncio.get_running_loop().time()
        self._prune(now)
        place = (question.namespace, question.node)
        node = self._nodes[place] = self._nodes.pop(place, Node())
        if len(self._nodes) > MAX_NODES:
            del self._nodes[next(iter(self._nodes))]
        node.seen = now
        node.asks(question.place, question.version)
        if question.kind is Kind.CLUSTERS:
            node.keep(self._clusters_of(question))
        self._catalogue.wake((question.namespace, "node", question.node))
        return node

    def _clusters_of(self, question: Question) -> frozenset[str] | None:
        """The clusters of a router that asks for clusters; None when it has some that we do not remember."""
        if question.version is None:
            return frozenset()
        self._catalogue.snapshot(question.namespace)
        return self._catalogue.history.clusters.get(question.version.digest)

    def _prune(self, now: float) -> None:
        if now - self._pruned < FORGET / 4:
            return
        self._pruned = now
        known = {namespace for namespace, _ in self._nodes}
        self._nodes = {key: node for key, node in self._nodes.items() if now - node.seen < FORGET}
        self._catalogue.forget(known - {namespace for namespace, _ in self._nodes})


async def _body(request: web.Request) -> bytes:
    """The body, read past aiohttp's own buffer: thousands of requests are held, and it would keep them
    all."""
    parts, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise web.HTTPRequestEntityTooLarge(max_size=BODY_LIMIT, actual_size=size)
        parts.append(chunk)
    return b"".join(parts)


def _parse(kind: str, body: bytes) -> Question:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no discovery request of a router
    of ours."""
    asked = json.loads(body)
    node = asked["node"]
    metadata = node["metadata"]
    which = Kind(kind)
    wanted = asked.get("resource_names") or [""]
    name = str(wanted[0]) if which is Kind.ENDPOINTS else ""
    values = str(metadata["namespace"]), str(node["id"]), str(metadata["token"])
    "".join(values).encode()  # half a surrogate pair is valid JSON, but no text
    return Question(which, *values, name, Version.parse(str(asked.get("version_info", ""))))


def _resource(snapshot: Snapshot, question: Question) -> Resource:
    if question.kind is Kind.ROUTES:
        return snapshot.rds
    if question.kind is Kind.CLUSTERS:
        return snapshot.cds
    return snapshot.eds.get(question.name) or Resource.of([])


def _told(question: Question, ours: Version) -> dict[str, str]:
    """For the log: who was sent what; Envoy's own log and `update_rejected` say why it refused."""
    what = f"{question.kind} {question.name}".strip()
    return {"namespace": question.namespace, "node": question.node, "what": what, "version": str(ours)}


def _answer(kind: Kind, version: Version, resource: Resource) -> web.Response:
    head = json.dumps({"version_info": str(version), "type_url": _TYPES[kind]})
    return web.Response(
        text=f'{head[:-1]},"resources":{resource.text}}}', content_type="application/json", charset="utf-8"
    )
