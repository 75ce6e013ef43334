"""The calls of Google's XML API that fake-gcs-server lacks: objects written whole, and in parts.

In: a running fake-gcs-server. Out: the address of a server that does the same, and takes such writes, as
Google documents them (cloud.google.com/storage/docs/xml-api: put-object, post-object-multipart,
put-object-multipart, post-object-complete): it hands objects on as uploads of the JSON API. Invariant:
everything else is fake-gcs-server's answer, unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

import httpx

KEPT = (
    "content-type",
    "content-length",
    "etag",
    "last-modified",
    "content-range",
    "x-goog-generation",
    "x-goog-hash",
)


@contextmanager
def taking_writes(emulator: str) -> Iterator[str]:
    """The address."""
    with (
        httpx.Client(base_url=emulator) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), _handler(client)) as server,
    ):
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _document(kind: str, bucket: str, name: str, more: str) -> bytes:
    return f"<{kind}><Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>{more}</{kind}>".encode()


def _handler(client: httpx.Client) -> type[BaseHTTPRequestHandler]:
    parts: dict[str, dict[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on()

        def do_HEAD(self) -> None:
            self._pass_on()

        def do_PUT(self) -> None:
            bucket, name, query = self._asked()
            data = self._body()
            if "uploadId" in query:
                parts[query["uploadId"]][int(query["partNumber"])] = data
                self._answer(200, {"ETag": f'"{md5(data, usedforsecurity=False).hexdigest()}"'}, b"")
            else:
                self._store(bucket, name, data, b"")

        def do_POST(self) -> None:
            bucket, name, query = self._asked()
            listed = self._body()
            if "uploads" in query:
                upload = uuid4().hex
                parts[upload] = {}
                found = f"<UploadId>{upload}</UploadId>"
                self._answer(200, {}, _document("InitiateMultipartUploadResult", bucket, name, found))
                return
            given = parts.pop(query["uploadId"])
            numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", listed)]
            done = _document("CompleteMultipartUploadResult", bucket, name, '<ETag>"parts"</ETag>')
            self._store(bucket, name, b"".join(given[number] for number in numbers), done)

        def _asked(self) -> tuple[str, str, dict[str, str]]:
            parts = urlsplit(self.path)
            bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
            return bucket, name, dict(parse_qsl(parts.query, keep_blank_values=True))

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"] or 0))

        def _store(self, bucket: str, name: str, data: bytes, said: bytes) -> None:
            query = {"uploadType": "media", "name": name}
            done = client.post(f"/upload/storage/v1/b/{bucket}/o", params=query, content=data)
            if done.is_success:
                stored = done.json()
                headers = {"ETag": f'"{stored["etag"]}"', "x-goog-generation": str(stored["generation"])}
                self._answer(200, headers, said)
            else:
                self._answer(done.status_code, {}, done.content)

        def _pass_on(self) -> None:
            asked = {name: value for name, value in self.headers.items() if name.lower() == "range"}
            got = client.request(self.command, self.path, headers={**asked, "accept-encoding": "identity"})
            self._answer(got.status_code, {n: got.headers[n] for n in KEPT if n in got.headers}, got.content)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
