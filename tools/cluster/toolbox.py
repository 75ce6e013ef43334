"""The one image that the cluster itself needs: static busybox, as pause container and as storage helper.

Made here byte for byte, without an image builder, and pushed to the node's registry over its HTTP API.
The same busybox gives the same digest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

from tools.cluster import registry
from tools.cluster.errors import ClusterError
from tools.cluster.slots import REGISTRY

BUSYBOX = Path("/bin/busybox")
# Without it a static glibc looks for libraries to load, and crashes.
FILES = {
    "etc/nsswitch.conf": b"hosts: files dns\nservices: files\nprotocols: files\n",
}
APPLETS = (
    *(
        "sh",
        "cat",
        "chmod",
        "chown",
        "echo",
        "false",
        "grep",
        "head",
        "httpd",
        "id",
        "kill",
        "ls",
        "mkdir",
        "nc",
        "nslookup",
    ),
    *("ps", "rm", "sleep", "tail", "test", "true"),
)
NAME = f"{REGISTRY}/noria/toolbox"
REPOSITORY = f"http://{REGISTRY}/v2/noria/toolbox"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # what OCI calls them
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def image() -> str:
    """Name of the image; its tag follows from the content, so that a node never runs an older one."""
    return f"{NAME}:{_tag()}"


def push() -> None:
    """Put the image into the registry unless it is there; `latest` is for people, and is pulled each time."""
    if registry.holds_tag("noria/toolbox", _tag()):
        return
    registry.drop_damaged()
    unpacked = _layer()
    layer = gzip.compress(unpacked, mtime=0)
    config = _config(_digest(unpacked))
    for blob in (layer, config):
        _push_blob(blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": _digest(layer), "size": len(layer)}],
    }
    for tag in ("latest", _tag()):  # the tag that is looked for comes last
        status = _request("PUT", f"{REPOSITORY}/manifests/{tag}", _canonical(manifest), kind=MANIFEST)
        if status != 201:
            raise ClusterError(f"the registry refused the toolbox image with status {status}")


@cache
def _tag() -> str:
    return hashlib.sha256(_layer()).hexdigest()[:12]


def _layer() -> bytes:
    if not BUSYBOX.is_file():
        raise ClusterError("/bin/busybox is missing; run `make setup`, or install the package busybox-static")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for directory in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        for name, content, mode in (
            ("bin/busybox", BUSYBOX.read_bytes(), 0o755),
            *((name, content, 0o644) for name, content in FILES.items()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


def _config(diff_id: str) -> bytes:
    return _canonical(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
    )


def _push_blob(blob: bytes) -> None:
    with DIRECT.open(_made("POST", f"{REPOSITORY}/blobs/uploads/", b""), timeout=10) as response:
        location = response.headers["Location"]
    separator = "&" if "?" in location else "?"
    url = f"{location}{separator}digest={_digest(blob)}"
    status = _request("PUT", url, blob, kind="application/octet-stream")
    if status != 201:
        raise ClusterError(f"the registry refused a layer of the toolbox image with status {status}")


def _request(method: str, url: str, body: bytes | None = None, *, kind: str = "") -> int:
    try:
        with urllib.request.urlopen(_made(method, url, body, kind=kind), timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError as silent:
        raise ClusterError(f"the registry does not answer: {silent}") from silent


def _made(method: str, url: str, body: bytes | None, *, kind: str = "") -> urllib.request.Request:
    headers = {"Accept": "*/*", **({"Content-Type": kind} if kind else {})}
    return urllib.request.Request(url, data=body, method=method, headers=headers)


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
