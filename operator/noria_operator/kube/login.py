"""Where the API server is and how we prove who we are.

In a pod that is the mounted service account, whose token rotates and is therefore read again; outside it is a
kubeconfig (`KUBECONFIG`, else `~/.kube/config`) with client certificates or a token. Plugins that a
kubeconfig may name are never run.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_LIFETIME = 60.0
"""Seconds that a token is kept before its file is read again; projected tokens are renewed long before they
end.
"""


class LoginError(Exception):
    """There are no usable credentials; the message says what was looked at and what to do."""


class Token:
    """A bearer token: fixed, or re-read from its file once a minute and after a 401."""

    def __init__(
        self,
        value: str | None = None,
        file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._value = value
        self._file = file
        self._monotonic = monotonic
        self._read_at = float("-inf")

    def __call__(self) -> str | None:
        if self._file is not None and self._monotonic() - self._read_at >= TOKEN_LIFETIME:
            self._value = self._file.read_text().strip()
            self._read_at = self._monotonic()
        return self._value

    def expire(self) -> None:
        """Read the file again at the next call."""
        self._read_at = float("-inf")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One API server with the credentials for it."""

    server: str
    tls: ssl.SSLContext | bool = True
    token: Token = field(default_factory=Token)
    namespace: str = "default"

    def headers(self) -> dict[str, str]:
        """The headers that authenticate a request sent now."""
        token = self.token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def login(env: Mapping[str, str] = os.environ) -> Endpoint:
    """`KUBECONFIG` where it is set, else the pod's service account, else `~/.kube/config`."""
    if env.get("KUBECONFIG"):
        return from_kubeconfig(Path(env["KUBECONFIG"].split(os.pathsep)[0]))
    if env.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(env)
    return from_kubeconfig(Path.home() / ".kube" / "config")


def in_cluster(env: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> Endpoint:
    """The API server as a pod sees it, with the pod's service account."""
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    if not (account / "token").exists():
        raise LoginError(
            f"{account}/token is missing: set automountServiceAccountToken on the operator's pod"
        )
    return Endpoint(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        tls=ssl.create_default_context(cafile=str(account / "ca.crt")),
        token=Token(file=account / "token"),
        namespace=(account / "namespace").read_text().strip(),
    )


def from_kubeconfig(path: Path) -> Endpoint:
    """The current context of a kubeconfig file."""
    if not path.exists():
        raise LoginError(f"no kubeconfig at {path}: set KUBECONFIG, or run the operator in the cluster")
    config = yaml.safe_load(path.read_text()) or {}
    context = _named(config, "contexts", config.get("current-context"), path)["context"]
    cluster = _named(config, "clusters", context["cluster"], path)["cluster"]
    user = _named(config, "users", context["user"], path).get("user") or {}
    if "exec" in user or "auth-provider" in user:
        raise LoginError(
            f"user {context['user']!r} of {path} logs in through a plugin, which is not run here; "
            "use a kubeconfig with a token (`kubectl create token`) or a client certificate"
        )
    return Endpoint(
        server=cluster["server"].rstrip("/"),
        tls=_tls(cluster, user, path.parent) if cluster["server"].startswith("https") else False,
        token=Token(user.get("token"), path.parent / user["tokenFile"] if "tokenFile" in user else None),
        namespace=context.get("namespace", "default"),
    )


def _named(config: dict[str, Any], section: str, name: str | None, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if entry["name"] == name:
            return dict(entry)
    raise LoginError(f"{path} names no {section[:-1]} {name!r}; see `kubectl config get-contexts`")


def _tls(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=str(folder / cluster["certificate-authority"]) if "certificate-authority" in cluster else None,
        cadata=_decoded(cluster.get("certificate-authority-data")),
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    elif "client-certificate-data" in user:
        # The ssl module loads certificates from files only; this one exists for these two lines.
        with tempfile.NamedTemporaryFile("w") as pem:
            pem.write(f"{_decoded(user['client-certificate-data'])}\n{_decoded(user['client-key-data'])}")
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _decoded(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None
