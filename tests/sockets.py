"""Endpoints of programs that a test starts."""

from __future__ import annotations

import ssl
import subprocess
from time import monotonic, sleep

import httpx
import pytest

from noria_serving.server.grpc.hold import _ipv6

READY_SECONDS = 30.0


def need_ipv6() -> None:
    """Skip the test on a machine that knows IPv4 alone."""
    if not _ipv6():
        pytest.skip("no IPv6 here")


def until_it_answers(
    process: subprocess.Popen[bytes], url: str, trusted: ssl.SSLContext | bool = True
) -> None:
    """Any answer but "not yet" (503) counts: without a signature it is a refusal. `trusted`: as `verify` of
    httpx.
    """
    deadline = monotonic() + READY_SECONDS
    while monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        try:
            if httpx.get(url, timeout=1, verify=trusted).status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return
        except httpx.TransportError:
            pass
        sleep(0.1)
    raise AssertionError(f"no answer at {url}")
