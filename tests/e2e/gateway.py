"""A real gateway beside the local cluster: `tests.contour` on the host's address of the cluster's link.

Comes in: the cluster that this checkout runs and a directory. Goes out: the kinds of the Gateway API in the
cluster, a Gateway in a namespace of its own, and the address where it answers. Invariant: all processes live
as long as the context and no longer; the kinds stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.contour import ContourGateway, contour, listener_port, objects
from tests.e2e.gateway_kinds import install_kinds
from tools.cluster import binaries, slots
from tools.cluster.layout import binary

if TYPE_CHECKING:
    from tests.e2e.conftest import Program

NAME, NAMESPACE = "public", "e2e-gateway"


@contextmanager
def gateway(kubectl: Program, directory: Path) -> Iterator[ContourGateway]:
    """The Gateway `public`, which answers at the given URL as soon as it has a route."""
    slot = slots.mine()
    assert slot is not None, "the gateway stands beside the local cluster; run without NORIA_KUBECONFIG"
    binaries.ensure("contour")
    install_kinds(kubectl, binary("gateway-api.yaml"))
    port = listener_port(slot.host_address)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    kubectl.apply(space, *objects(NAMESPACE, NAME, port))
    try:
        where = (NAMESPACE, NAME)
        with contour(kubectl.kubeconfig, directory, slot.host_address, port, where) as found:
            wait = [f"gateway/{NAME}", f"--namespace={NAMESPACE}", "--timeout=30s"]
            kubectl("wait", "--for=condition=Accepted", *wait)
            yield found
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
