"""What a router must know, as values: which ModelDeployment sends how much to which revision.

Comes in: names, hosts and weights (from ModelDeployments) and endpoints (from pods). Goes out: the weights to
send. Invariants: effective weights are integers from 0 to 100 whose sum is 100, and none stands on a cluster
without endpoints while another cluster with a configured weight has some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from noria_operator.api import names

FULL = 100
RETRIES = 2
"""Further tries of one request where its deployment says nothing: one that ends every pod it meets must not
end them all."""
Endpoint = tuple[str, int]
"""IP address and port of one pod."""


@dataclass(frozen=True, slots=True)
class RoutedDeployment:
    """One ModelDeployment as the router sees it.

    `revisions` are (cluster, weight) with integer weights whose sum is 100 (or nothing, when no version
    serves yet); a weight of 0 keeps the cluster known and warm. `endpoints` are the pods that take new
    requests, by cluster. `timeout` is in seconds, for the whole request; 0 means no limit. `retries` is how
    often a request that got no answer is tried again.
    `version` counts the changes of weights. `grpc` are the same pods where they take gRPC, by revision; one
    that is not in it takes none, as the pods show. `created` is when it was made, as Kubernetes writes times.

    `challenger` is the cluster of the candidate, empty when there is none; it gets the copies of `mirror`
    percent of the requests as well, and those with all headers of `match`. `sticky` says by what a user is
    known: `header` or `cookie`, and its name. `preview` asks for an address that leads to the challenger.
    `guarded` ones let nobody in unchecked.

    While there are several challengers, `arms` are those beside the first, each with its headers; `champion`
    answers for a challenger without pods; `ranges` are (cluster, first and last percent of users).
    `aside` says that no weight divides the requests. `numbers` are the versions that paths of requests may
    name, by cluster. `feedback` are those whose servers take feedback.
    """

    name: str
    hosts: tuple[str, ...] = ()
    revisions: tuple[tuple[str, int], ...] = ()
    timeout: float = 30.0
    retries: int = RETRIES
    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    version: int = 0
    grpc: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    created: str = ""
    challenger: str = ""
    mirror: int = 0
    match: tuple[tuple[str, str], ...] = ()
    sticky: tuple[str, str] | None = None
    preview: bool = False
    aside: bool = False
    guarded: bool = False
    arms: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    champion: str = ""
    ranges: tuple[tuple[str, int, int], ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    feedback: frozenset[str] = frozenset()

    @property
    def nameable(self) -> list[str]:
        """Clusters whose version a path may name, while there is another one."""
        known = {self.numbers.get(name) for name, _ in self.revisions}
        return [name for name, _ in self.revisions if name in self.numbers] if len(known) > 1 else []

    @property
    def matched(self) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        """Challengers that take requests, with the headers that lead to them."""
        found = [(self.challenger, self.match), *self.arms]
        return [(name, headers) for name, headers in found if headers and self.endpoints.get(name)]

    @property
    def ready_challenger(self) -> str:
        """The challenger's cluster when it has pods that take requests."""
        return self.challenger if self.endpoints.get(self.challenger) else ""


def grpc_cluster(revision: str) -> str:
    """The Envoy cluster of a revision's ports for gRPC."""
    return f"{revision}{names.GRPC_SUFFIX}"


def feedback_cluster(revision: str) -> str:
    """The Envoy cluster of a revision's pods for feedback."""
    return f"{revision}{names.FEEDBACK_SUFFIX}"


def aside_cluster(cluster: str) -> str:
    """The Envoy cluster for requests to the same pods that no weight divides."""
    return f"{cluster}{names.ASIDE_SUFFIX}"


def configured(deployment: RoutedDeployment) -> dict[str, int]:
    """The weights that were asked for, by cluster."""
    return dict(deployment.revisions)


def effective(deployment: RoutedDeployment) -> dict[str, int]:
    """The weights to send: a cluster without endpoints gives its share to those that have some.

    The challenger comes last: where a request goes by the hash of its user, its users are those at the upper
    end, and none of them leaves it while its weight grows.

    Only clusters with a configured weight take part: a version at 0 is never woken up by the router. When
    none of them has endpoints, the configured weights stand, and requests fail with 503 until there is a
    pod. With several challengers the champion, if it can, takes the share of one: the others are compared.
    """
    weights = configured(deployment)
    if deployment.challenger in weights:
        weights[deployment.challenger] = weights.pop(deployment.challenger)
    alive = {
        name: weight for name, weight in weights.items() if weight > 0 and deployment.endpoints.get(name)
    }
    if not alive or len(alive) == sum(weight > 0 for weight in weights.values()):
        return weights
    none = {name: 0 for name in weights}
    if deployment.arms and deployment.champion in alive:
        return none | alive | {deployment.champion: alive[deployment.champion] + FULL - sum(alive.values())}
    return none | _to_hundred(alive)


def in_order(deployment: RoutedDeployment) -> list[tuple[str, int]]:
    """The weights to send in the order in which hashes of users go by them; a cluster may stand there more
    than once.
    """
    weights = effective(deployment)
    runs = [
        (name if weights.get(name) else deployment.champion, last - first + 1)
        for name, first, last in sorted(deployment.ranges, key=lambda one: one[1])
    ]
    total: dict[str, int] = {}
    for name, width in runs:
        total[name] = total.get(name, 0) + width
    if total != {name: weight for name, weight in weights.items() if weight}:
        return list(weights.items())
    return [*runs, *((name, 0) for name, weight in weights.items() if not weight)]


def numbered(deployment: RoutedDeployment) -> dict[str, list[tuple[str, int]]]:
    """Where requests go that name a version, by its number, while several of them get requests. What a
    container of a user's own calls its versions is not known.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    sent = [(name, weight) for name, weight in effective(deployment).items() if weight]
    for name, weight in sent:
        found.setdefault(deployment.numbers.get(name, ""), []).append((name, weight))
    return {number: where for number, where in found.items() if number} if len(found) > 1 else {}


def taking(deployment: RoutedDeployment, weights: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    """The weights that divide feedback: those of servers that take it, if any of these gets requests."""
    mine = [(name, weight) for name, weight in weights if name in deployment.feedback]
    return mine if any(weight for _, weight in mine) else weights


def _to_hundred(weights: Mapping[str, int]) -> dict[str, int]:
    """The same proportions with sum 100, by largest remainder (ties: first by name)."""
    total = sum(weights.values())
    shares = {name: divmod(weight * 100, total) for name, weight in weights.items()}
    missing = 100 - sum(whole for whole, _ in shares.values())
    first = sorted(shares, key=lambda name: (-shares[name][1], name))[:missing]
    return {name: whole + (name in first) for name, (whole, _) in shares.items()}
