"""A real S3 endpoint for a test: versitygw over a directory, on the host's address of the cluster's link.

Comes in: the cluster that this checkout runs and a directory. Goes out: a `Store` that the host and every pod
reach. Invariant: the process lives as long as the context and no longer; its credentials are made for it
alone.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obstore.store import S3Store
from tests.sockets import until_it_answers
from tools.cluster import binaries, slots
from tools.cluster.layout import binary
from tools.ports import free_port


@dataclass(frozen=True)
class Store:
    """An endpoint and the root account's credentials."""

    endpoint: str
    key: str
    secret: str

    def keys(self, **changed: str) -> dict[str, str]:
        """The keys of a Secret that opens it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            **changed,
        }

    def bucket(self, name: str) -> Any:
        """A client of one bucket."""
        return S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=self.key,
            secret_access_key=self.secret,
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def object_store(directory: Path, *buckets: str) -> Iterator[Store]:
    """A store with these buckets, gone at the end."""
    slot = slots.mine()
    assert slot is not None, "the store stands beside the local cluster; run without NORIA_KUBECONFIG"
    binaries.ensure("versitygw")
    for bucket in buckets:
        (directory / bucket).mkdir(parents=True)
    listens = f"{slot.host_address}:{free_port(slot.host_address)}"
    store = Store(f"http://{listens}", secrets.token_hex(10), secrets.token_hex(20))
    account = {"ROOT_ACCESS_KEY": store.key, "ROOT_SECRET_KEY": store.secret}
    command = [str(binary("versitygw")), "--quiet", "--port", listens, "posix", str(directory)]
    with subprocess.Popen(
        command,
        env={**os.environ, **account},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until_it_answers(process, store.endpoint)
            yield store
        finally:
            process.kill()
