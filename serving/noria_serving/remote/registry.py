"""A bundle in an OCI registry, read with the pull half of the OCI distribution API.

In: `oci://registry/repository:tag` or `…@sha256:…` and the Secret of its location (`.dockerconfigjson`, or
`username` and `password`; `ca.crt`). Out: a Source. Three ways of packing are read: a layer a file, named by
its title annotation (ORAS); one layer that is a tar archive (ORAS with a directory, KitOps); an image with
the files in /models (modelcars). Invariants: a manifest asked for by digest has it; each blob is hashed on
its way to disk and has the digest of its descriptor; nothing of an image is run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from noria_serving import credentials
from noria_serving.artifact import MAX_FILES, NAME
from noria_serving.errors import NoriaError, Reason
from noria_serving.remote import unpack
from noria_serving.remote.sources import Scratch, client_of
from noria_serving.remote.web import Answer, Client, expect, fits_header, shown
from noria_serving.scratch import write_new

MAX_MANIFEST: Final = 4 * 1024 * 1024
MAX_TOKEN: Final = 256 * 1024
TOKEN_SECONDS: Final = 60
"""How long a token lives that does not say so, by the distribution API."""
TITLE: Final = "org.opencontainers.image.title"
UNPACK: Final = "io.deis.oras.content.unpack"
MODELS: Final = "models"
"""Where a modelcar image keeps its files."""
HUB: Final = "registry-1.docker.io"
"""Where Docker Hub answers, whatever it goes by."""
_HUB_NAMES: Final = ("docker.io", "index.docker.io", HUB)
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGES: Final = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LOGINS: Final = ("{}", "https://{}", "https://{}/v1/", "https://{}/v2/")
"""How a docker configuration may name a registry."""
_REFERENCE: Final = re.compile(
    r"oci://(?P<host>[^/@?#]+)/(?P<repository>[a-z0-9._/-]+?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE: Final = re.compile(r'(realm|service|scope)="([^"]*)"')


@dataclass(frozen=True)
class Repository:
    """One repository of a registry, and a client that may read it."""

    host: str
    name: str
    client: Client

    def manifest(self, reference: str) -> dict[str, Any]:
        """A manifest by tag or digest; of an index the first one for Linux on amd64, or for no platform."""
        document = self._document(reference)
        if not isinstance(document.get("manifests"), list):
            return document
        for entry in map(_part, document["manifests"]):
            platform = _part(entry.get("platform"))
            wanted = (
                platform.get("os", "linux") == "linux" and platform.get("architecture", "amd64") == "amd64"
            )
            if (
                wanted
                and entry.get("mediaType") in _MANIFESTS
                and _DIGEST.fullmatch(str(entry.get("digest")))
            ):
                return self._document(entry["digest"])  # of a further index, which has no layers, no more
        raise NoriaError(Reason.FORMAT_REFUSED, "the index holds no manifest for linux/amd64")

    def _document(self, reference: str) -> dict[str, Any]:
        answer = self._get(f"manifests/{reference}", {"Accept": ", ".join(_INDEXES + _MANIFESTS)})
        data = expect(answer, 200).read(MAX_MANIFEST)
        if _DIGEST.fullmatch(reference):
            _check(reference, hashlib.sha256(data).hexdigest(), "the manifest")
        return _object(data)

    def blob(self, descriptor: Mapping[str, Any]) -> Iterator[bytes]:
        """A blob in pieces; the last one only after its digest was found right."""
        digest = str(descriptor.get("digest"))
        if not _DIGEST.fullmatch(digest):
            raise NoriaError(Reason.FORMAT_REFUSED, "a layer's digest is not sha256:<64 hex digits>")
        hasher = hashlib.sha256()
        sent = self.client.stream(self._url(f"blobs/{digest}"))
        for piece in unpack.capped(sent, unpack.MAX_BYTES, "a layer"):
            hasher.update(piece)
            yield piece
        _check(digest, hasher.hexdigest(), "a layer")

    def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        return self.client.get(self._url(path), headers)

    def _url(self, path: str) -> str:
        return f"https://{self.host}/v2/{self.name}/{path}"


def registry_source(uri: str) -> Scratch:
    """The bundle's files, fetched into scratch space."""
    found = _REFERENCE.fullmatch(uri)
    if not found:
        raise NoriaError(
            Reason.CONFIGURATION,
            "the URI is not oci://<registry>/<repository>:<tag> or …@sha256:<digest>",
        )
    host = HUB if found["host"] in _HUB_NAMES else found["host"]
    repository = _authorised(host, found["repository"], credentials.variables(uri))
    manifest = repository.manifest(found["tag"] or found["digest"])
    layers, scratch = manifest.get("layers"), Scratch()
    if not isinstance(layers, list) or not 0 < len(layers) <= 2 * MAX_FILES:
        raise NoriaError(Reason.FORMAT_REFUSED, "the manifest has no layers, or too many")
    image = _part(manifest.get("config")).get("mediaType") in _IMAGES
    for layer in map(_part, layers):
        notes = _part(layer.get("annotations"))
        title, kind = notes.get(TITLE), str(layer.get("mediaType"))
        packed = image or notes.get(UNPACK) == "true" or "tar" in kind.replace("+", ".").split(".")
        if title is not None and not packed:
            _plain(str(title))
            write_new(scratch.path / str(title), repository.blob(layer))
        elif kind.endswith("zstd"):
            raise NoriaError(Reason.FORMAT_REFUSED, "a layer is packed with zstd; push it packed with gzip")
        else:
            compressed = kind.endswith(("gzip", ".tar.gz")) or notes.get(UNPACK) == "true"
            pieces = repository.blob(layer)
            unpack.tar(pieces, scratch.path, compressed=compressed, only=MODELS if image else "")
            for _ in pieces:  # what stands behind the archive's end belongs to the digest too
                pass
    return scratch


def _part(value: Any) -> Mapping[str, Any]:
    """An object within a manifest; one that is left out is empty."""
    if not isinstance(value, dict | None):
        raise NoriaError(Reason.FORMAT_REFUSED, f"the manifest has {value!r:.100} where an object belongs")
    return value or {}


def _plain(title: str) -> None:
    if not NAME.fullmatch(title):
        raise NoriaError(Reason.PATH_UNSAFE, f"the layer's title {title!r:.200} is not a plain name")


def _authorised(host: str, name: str, keys: Mapping[str, str]) -> Repository:
    """The repository with what it asks for: nothing, a password, or a token that its realm hands out."""
    client = client_of(f"https://{host}/", _login(host, keys))
    first = client.get(f"https://{host}/v2/{name}/tags/list?n=1")
    first.connection.close()
    challenge = first.headers.get("www-authenticate", "")
    if first.status == 401 and challenge.lower().startswith("bearer "):
        said = dict(_CHALLENGE.findall(challenge))
        query = {
            "scope": f"repository:{name}:pull",
            **({"service": said["service"]} if "service" in said else {}),
        }
        client = replace(client, token=_Token(client, said.get("realm", ""), query))
    return Repository(host, name, client)


class _Token:
    """What a registry's realm hands out for minutes: asked for anew before it ends, for a model of gigabytes
    takes longer.
    """

    def __init__(self, client: Client, realm: str, query: Mapping[str, str]) -> None:
        # The registry names who hands out tokens; every client sends the password there.
        self._headers = {"Authorization": client.authorization} if client.authorization else {}
        self._client = replace(client, host=realm.split("/")[2] if realm.count("/") > 1 else "")
        self._url = f"{realm}?{urlencode(query)}"
        self._until, self._value = 0.0, ""

    def __call__(self) -> str:
        now = time.monotonic()
        if now >= self._until:
            answer = expect(self._client.get(self._url, self._headers), 200)
            document = _object(answer.read(MAX_TOKEN))
            said = document.get("expires_in")
            lives = said if isinstance(said, int) and said > 0 else TOKEN_SECONDS
            value = str(document.get("token") or document.get("access_token"))
            if not fits_header(value):
                message = f"{shown(self._url)} hands out a token that no header can hold"
                raise NoriaError(Reason.STORAGE_UNAVAILABLE, message)
            self._until, self._value = now + lives / 2, value
        return f"Bearer {self._value}"


def _login(host: str, keys: Mapping[str, str]) -> dict[str, str]:
    """User and password for this registry, also from a docker configuration."""
    text = keys.get(".dockerconfigjson")
    if not text:
        return dict(keys)
    try:
        entries = json.loads(text)["auths"]
        names = _HUB_NAMES if host == HUB else (host,)
        known = (form.format(name) for name in names for form in _LOGINS)
        entry: Any = next((entries[key] for key in known if entries.get(key)), {})
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoriaError(Reason.CONFIGURATION, ".dockerconfigjson of the Secret is malformed") from error
    user, password = entry.get("username") or user, entry.get("password") or password
    return {**keys, "username": user, "password": password}


def _check(digest: str, actual: str, what: str) -> None:
    if digest != f"sha256:{actual}":
        raise NoriaError(Reason.DIGEST_MISMATCH, f"{what} has sha256:{actual}, asked for was {digest}")


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, "the registry's answer is not JSON")
    return document
