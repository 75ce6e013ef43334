"""TLS at the router in a real cluster: its certificate comes from a Secret, changes in it, and comes from
another one that is not there yet; nobody loses a request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from tests.certificates import self_signed
from tests.e2e.disturbances import ROUTERS
from tests.e2e.kube import Json, Kube, namespace
from tests.e2e.load import Load
from tests.e2e.manifests import model_deployment
from tests.e2e.models import serve
from tests.e2e.rollouts import address

pytestmark = pytest.mark.extended

HOST = "tiny.example"
IN_A_ROW = 20


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A model that serves without TLS."""
    with namespace(noria, "e2e-tls") as kube:
        serve(kube, images["example-flights"], hosts=[HOST])
        yield kube


def deployment(secret: str) -> Json:
    return model_deployment(hosts=[HOST], router={"tls": {"secretName": secret}})


def put(kube: Kube, secret: str, certificate: str, key: str) -> None:
    keys = {"tls.crt": certificate, "tls.key": key}
    kube.apply(
        {"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": secret}, "stringData": keys}
    )


def shown(kube: Kube) -> str:
    """The certificate that a client sees, whoever signed it; empty where nobody listens."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((kube.cluster_ip("tiny"), 443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")
    except OSError:
        return ""


def until_shown(kube: Kube, certificate: str) -> None:
    """Return when as many clients in a row see it as are at both routers almost surely: a router may have it
    seconds before the other one.
    """
    deadline = monotonic() + 150
    while any(shown(kube) != certificate for _ in range(IN_A_ROW)):
        assert monotonic() < deadline, "it is still not shown"
        sleep(0.5)


def trusting(*certificates: str) -> ssl.SSLContext:
    """These certificates, and these alone."""
    return ssl.create_default_context(cadata="".join(certificates))


def secured(kube: Kube, certificate: str) -> Load:
    """Clients over TLS."""
    url = address(kube).replace("http://", "https://")
    return Load(url, headers={"Host": HOST}, trusts=trusting(certificate), server_name=HOST)


def test_a_certificate_comes_changes_and_is_another_ones_without_a_lost_request(kube: Kube) -> None:
    (first, of_first), (second, of_second), (third, of_third) = (self_signed(HOST) for _ in range(3))
    with Load(address(kube)) as plain:
        plain.until_sent(40)
        put(kube, "tiny-tls", first, of_first)
        kube.apply(deployment("tiny-tls"))
        until_shown(kube, first)
        plain.until_sent(40)
    assert plain.failures == []

    with Load(address(kube)) as plain, secured(kube, first) as load:
        load.until_sent(40)
        old = kube.pods(ROUTERS)
        load.trusts = trusting(first, second)
        put(kube, "tiny-tls", second, of_second)
        until_shown(kube, second)
        load.until_sent(40)
        assert kube.pods(ROUTERS) == old, "a changed Secret restarts nobody"
    assert (load.failures, plain.failures) == ([], [])

    with Load(address(kube)) as plain, secured(kube, second) as load:
        load.until_sent(40)
        load.trusts = trusting(second, third)
        kube.apply(deployment("next-tls"))
        kube.until("Deployment", "noria-router", lambda it: it["status"].get("unavailableReplicas", 0) > 0)
        load.until_sent(80)
        assert kube.pods(ROUTERS) > old, "the old ones go on while the Secret is missing"
        put(kube, "next-tls", third, of_third)
        until_shown(kube, third)
        load.until_sent(40)
    assert (load.failures, plain.failures) == ([], [])
    assert not kube.pods(ROUTERS) & old
