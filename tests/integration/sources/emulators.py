"""Stores of two clouds on loopback: fake-gcs-server for Google's, Azurite for Microsoft's.

Goes out: a `Cloud`, what a Secret must hold to open it, and a client of one bucket.
Invariant: a process lives as long as its context and no longer.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from obstore.store import AzureStore, GCSStore
from tests.integration.sources.google_writes import taking_writes
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary, cache
from tools.cluster.locks import turn
from tools.ports import free_port

BUCKET = "models"
AZURITE = "3.35.0"
AZURITE_BEFORE = "2026-09-01"
"""The day that the versions of what it needs are taken from."""


@dataclass(frozen=True)
class Cloud:
    """A store with one bucket, `models`."""

    scheme: str
    keys: dict[str, str]
    """What the Secret of a location holds."""
    wrong: dict[str, str]
    """The same with a key that the store refuses; empty where it refuses none."""
    put: Callable[[str, bytes], object]
    """Writes one object."""
    get: Callable[[str], bytes]
    """Reads one."""

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{BUCKET}"


@contextmanager
def google() -> Iterator[Cloud]:
    """fake-gcs-server, which knows no passwords, behind what takes objects by Google's XML calls."""
    binaries.ensure("fake-gcs-server")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(binary("fake-gcs-server")), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-public-host", f"127.0.0.1:{port}", "-external-url", url, "-backend", "memory",
    ]  # fmt: skip
    nobody = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    with _running(command, url), taking_writes(url) as both:
        httpx.post(f"{url}/storage/v1/b", json={"name": BUCKET}).raise_for_status()
        key = json.dumps({**nobody, "gcs_base_url": both, "disable_oauth": True})
        store = GCSStore(BUCKET, config={"service_account_key": key}, client_options={"allow_http": True})
        keys = {"GOOGLE_SERVICE_ACCOUNT_KEY": key, "GOOGLE_ALLOW_HTTP": "true"}
        yield Cloud("gs", keys, {}, store.put, lambda name: bytes(store.get(name).bytes()))


@contextmanager
def microsoft() -> Iterator[Cloud]:
    """Azurite with an account that is made for this context."""
    port = free_port()
    account, key = "tests", base64.b64encode(secrets.token_bytes(32)).decode()
    url = f"http://127.0.0.1:{port}/{account}"
    command = [
        str(_azurite()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    keys = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        "AZURE_STORAGE_ENDPOINT": url,
        "AZURE_ALLOW_HTTP": "true",
    }
    wrong = {**keys, "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(bytes(32)).decode()}
    with _running(command, url, AZURITE_ACCOUNTS=f"{account}:{key}"):
        made = httpx.put(f"{url}/{BUCKET}", params={"restype": "container", **_signed(account, key)})
        assert made.status_code == 201, made.text
        store = AzureStore(
            BUCKET,
            config={"account_name": account, "account_key": key, "endpoint": url},
            client_options={"allow_http": True},
        )
        yield Cloud("az", keys, wrong, store.put, lambda name: bytes(store.get(name).bytes()))


def _signed(account: str, key: str) -> dict[str, str]:
    """A query that may do all with the account's blobs (an account SAS), for what obstore has no call for."""
    query = {"sp": "rwdlac", "ss": "b", "srt": "sco", "se": "2099-01-01T00:00:00Z", "sv": "2020-02-10"}
    fields = [account, query["sp"], query["ss"], query["srt"], "", query["se"], "", "", query["sv"], ""]
    digest = hmac.digest(base64.b64decode(key), "\n".join(fields).encode(), "sha256")
    return {**query, "sig": base64.b64encode(digest).decode()}


def _azurite() -> Path:
    """Its program for blobs, installed where it is missing."""
    home = cache() / f"azurite-{AZURITE}"
    program = home / "node_modules" / ".bin" / "azurite-blob"
    with turn("azurite", "Azurite from npm"):
        if not (home / "whole").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            options = ["--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund"]
            command = ["npm", "install", *options, f"--before={AZURITE_BEFORE}", f"azurite@{AZURITE}"]
            subprocess.run(command, check=True, capture_output=True, text=True)
            (home / "whole").touch()
    return program


@contextmanager
def _running(command: Sequence[str], url: str, **env: str) -> Iterator[None]:
    with subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until_it_answers(process, url)
            yield
        finally:
            process.kill()
