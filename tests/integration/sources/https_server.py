"""A web server with a certificate of a private CA, for tests: files, redirects, passwords, broken bodies."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.certificates import self_signed_files


@dataclass
class Web:
    """What the server answers, by path, and what it was asked."""

    port: int
    ca: str
    name: str = "localhost"
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    authorization: str = ""
    challenge: str = ""
    """WWW-Authenticate of a 401."""
    free: frozenset[str] = frozenset()
    """Paths that ask for nothing."""
    passwords: dict[str, str] = field(default_factory=dict)
    """Authorization that each path was last asked with."""
    breaks_after: int = 0
    """Bytes after which each answer breaks off; 0: never."""
    ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of every request."""

    @property
    def url(self) -> str:
        return f"https://{self.name}:{self.port}"


@contextmanager
def serve(folder: Path, name: str = "localhost", address: str = "127.0.0.1") -> Iterator[Web]:
    """The server, gone at the end; `name` is what its certificate says."""
    cert, key = self_signed_files(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, web)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server((address, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    web = Web(server.server_address[1], cert.read_text(), name)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, web: Web) -> None:
    """One answer as the Web says."""
    asked = request.headers.get("Range", "")
    web.asked.append((request.path, asked))
    path, given = request.path.partition("?")[0], request.headers.get("Authorization", "")
    web.passwords[path] = given
    if web.authorization and given != web.authorization and path not in web.free:
        return _plain(request, 401, {"WWW-Authenticate": web.challenge} if web.challenge else {})
    if request.path in web.redirects:
        return _plain(request, 302, {"Location": web.redirects[request.path]})
    content = web.files.get(path)
    if content is None:
        return _plain(request, 404)
    begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and web.ranges else 0
    request.send_response(206 if begin else 200)
    request.send_header("Content-Length", str(len(content) - begin))
    request.send_header("ETag", '"1"')
    request.end_headers()
    end = begin + web.breaks_after if web.breaks_after and web.ranges else len(content)
    if web.breaks_after and not web.ranges:
        end = web.breaks_after * len(web.asked)
    request.wfile.write(content[begin:end])
    return None


def _plain(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": "0", **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
