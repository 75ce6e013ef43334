"""TLS at a real router: the certificate that fits the name, and a new one without a restart."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.certificates import self_signed
from tests.integration.callers import mount
from tests.integration.envoy_router import Cluster, discovery, router, upstream
from tools.ports import free_port


def renew(folder: Path, name: str) -> str:
    """A new certificate for a name, put in place as the kubelet does with a Secret; returns it."""
    certificate, key = self_signed(name)
    mount(folder / name, {"tls.crt": certificate, "tls.key": key})
    return certificate


async def ask(port: int, name: str, trusted: str, *, protocol: str = "http/1.1") -> tuple[int, str]:
    """Status of an answer to a request to this name, whose certificate must be a trusted one; and what was
    agreed on to speak."""
    context = ssl.create_default_context(cadata=trusted)
    context.set_alpn_protocols([protocol])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    if spoken == "h2":
        writer.close()
        return 0, spoken
    writer.write(f"GET /v2/models/m/infer HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readline()
    writer.close()
    return int(head.split()[1]), spoken


async def test_the_certificate_is_the_one_for_the_name_and_changes_without_a_restart(tmp_path: Path) -> None:
    first, other = (renew(tmp_path, name) for name in ("a.example", "b.example"))
    cluster, port = Cluster(), free_port()
    async with upstream("one") as one, discovery(cluster.store(), port):
        cluster.deployment("a", {"a-1": 100}, hosts=["a.example"])
        cluster.deployment("b", {"b-1": 100}, hosts=["b.example"])
        for name in ("a-1", "b-1"):
            cluster.endpoints(name, one.port)
        async with router(port, certificates=tmp_path) as envoy:
            await envoy.until_ready()
            assert await ask(envoy.tls, "a.example", first) == (200, "http/1.1")
            assert await ask(envoy.tls, "b.example", other) == (200, "http/1.1")
            assert (await ask(envoy.tls, "a.example", first, protocol="h2"))[1] == "h2"
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(envoy.tls, "b.example", first)
            second = renew(tmp_path, "a.example")
            async with asyncio.timeout(10):
                while True:
                    status, _ = await ask(envoy.tls, "a.example", first + second)
                    assert status == 200
                    try:
                        await ask(envoy.tls, "a.example", second)
                        break
                    except ssl.SSLCertVerificationError:
                        await asyncio.sleep(0.05)
            assert (await ask(envoy.tls, "b.example", other))[0] == 200
            assert envoy.process.returncode is None


async def test_without_certificates_nothing_listens_for_tls(tmp_path: Path) -> None:
    port = free_port()
    async with discovery(Cluster().store(), port), router(port, certificates=tmp_path) as envoy:
        await envoy.until_ready()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", envoy.tls)
