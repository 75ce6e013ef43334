"""A bundle on a web server: a directory of files, or one archive.

In: an https URI and the Secret of its location (`username` and `password`, or `token`; `ca.crt`). Out: a
Source. Invariant: an archive is unpacked in a directory of this process alone, which goes with the source, so
that repeated, interrupted and simultaneous downloads cannot meet.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from noria_serving import credentials, scratch
from noria_serving.artifact import DirectorySource
from noria_serving.errors import NoriaError, Reason
from noria_serving.remote import unpack
from noria_serving.remote.web import Client, split

ZIP: Final = (".zip",)
GZIP: Final = (".tar.gz", ".tgz")
TAR: Final = (".tar",)


class WebDirectory:
    """Files below a URL. A web server lists nothing: what is there is what the manifest names."""

    def __init__(self, client: Client, url: str) -> None:
        self._client, self._url = client, url.rstrip("/")

    def sizes(self) -> None:
        return None

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._client.stream(f"{self._url}/{name}")


class Scratch(DirectorySource):
    """Files in a directory that goes with this object."""

    def __init__(self) -> None:
        self._folder = scratch.directory()
        self.path = Path(self._folder.name)
        super().__init__(self.path)


def web_source(uri: str) -> WebDirectory | Scratch:
    """What an https URI names."""
    client = client_of(uri, credentials.variables(uri))
    if not uri.endswith((*ZIP, *GZIP, *TAR)):
        return WebDirectory(client, uri)
    unpacked = Scratch()
    if uri.endswith(ZIP):
        with scratch.directory() as folder:
            archive = Path(folder) / "bundle.zip"
            scratch.write_new(archive, unpack.capped(client.stream(uri), unpack.MAX_BYTES, "the archive"))
            unpack.unzip(archive, unpacked.path)
    else:
        unpack.tar(client.stream(uri), unpacked.path, compressed=uri.endswith(GZIP))
    return unpacked


def client_of(uri: str, keys: Mapping[str, str]) -> Client:
    """A client with the keys of a Secret, for the host of the URI."""
    parts = split(uri)
    if "@" in parts.netloc or parts.query:
        raise NoriaError(
            Reason.CONFIGURATION, "the URI holds a user, password or query; put them into the Secret instead"
        )
    authorization = ""
    if keys.get("token"):
        authorization = f"Bearer {keys['token']}"
    elif keys.get("username"):
        authorization = basic(keys["username"], keys.get("password", ""))
    return Client(parts.netloc, authorization, keys.get("ca.crt", ""))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
