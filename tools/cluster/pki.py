"""Keys and certificates of one control plane, made with openssl.

In: the names and addresses that the API server and the node answer to. Out: a directory with an authority, a
front-proxy authority, a service account key and one certificate for each `Party`. The directory appears
in one step, whole, or not at all; it is made again when the names differ from those it was made for.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from tools.cluster.errors import ClusterError
from tools.cluster.process import write_atomically

DAYS = "3650"


@dataclass(frozen=True)
class Party:
    """Somebody with a certificate: file name, subject, subject alternative names, issuing authority."""

    name: str
    subject: str
    names: str = ""
    authority: str = "ca"


def control_plane_parties(api_names: str) -> tuple[Party, ...]:
    """Who needs a certificate in a control plane without nodes."""
    return (
        Party("apiserver", "/CN=kube-apiserver", api_names),
        Party("admin", "/O=system:masters/CN=admin"),
        Party("controller-manager", "/CN=system:kube-controller-manager"),
        Party("scheduler", "/CN=system:kube-scheduler"),
        Party("front", "/CN=front-proxy-client", authority="front-ca"),
    )


def node_parties(node: str, node_names: str) -> tuple[Party, ...]:
    """Who needs one in addition where there is a node."""
    return (
        Party("node", f"/O=system:nodes/CN=system:node:{node}", node_names),
        Party("proxy", "/CN=system:kube-proxy"),
        Party("dns", "/CN=system:coredns"),
        Party("storage", "/CN=system:local-path-provisioner"),
    )


def ensure(directory: Path, parties: Sequence[Party]) -> None:
    """Make the keys and certificates, unless the directory already holds them for these very parties."""
    key = hashlib.sha256(repr(tuple(parties)).encode()).hexdigest()
    stamp = directory / "stamp"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=".pki-", dir=directory.parent))
    try:
        _make(temporary, parties)
        write_atomically(temporary / "stamp", key)
        shutil.rmtree(directory, ignore_errors=True)
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make(directory: Path, parties: Sequence[Party]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: _authority(directory, name), ("ca", "front-ca")))
        _key(directory / "sa.key")
        _openssl("ec", "-in", directory / "sa.key", "-pubout", "-out", directory / "sa.pub")
        list(pool.map(lambda party: _certificate(directory, party), parties))


def _authority(directory: Path, name: str) -> None:
    key = directory / f"{name}.key"
    _key(key)
    subject = ("-subj", f"/CN=noria-{name}", "-days", DAYS)
    _openssl("req", "-x509", "-new", "-key", key, "-out", directory / f"{name}.crt", *subject)


def _certificate(directory: Path, party: Party) -> None:
    key, request = directory / f"{party.name}.key", directory / f"{party.name}.csr"
    _key(key)
    _openssl("req", "-new", "-key", key, "-out", request, "-subj", party.subject)
    extensions = directory / f"{party.name}.ext"
    names = f"subjectAltName={party.names}\n" if party.names else ""
    extensions.write_text(f"extendedKeyUsage=serverAuth,clientAuth\n{names}", encoding="utf-8")
    issuer = directory / party.authority
    serial = "0x" + hashlib.sha256(party.name.encode()).hexdigest()[:16]
    signing = ("-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-set_serial", serial, "-days", DAYS)
    out = directory / f"{party.name}.crt"
    _openssl("x509", "-req", "-in", request, *signing, "-extfile", extensions, "-out", out)
    request.unlink()
    extensions.unlink()


def _key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    path.chmod(0o600)


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *(str(argument) for argument in arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(
            "openssl is not installed; run `make setup`, or install the package openssl"
        ) from None
    if done.returncode:
        raise ClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
