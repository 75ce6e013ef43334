"""Requests to web servers and registries: https only, to a checked address, streamed, resumed when cut.

In: a URL, headers, a private CA. Out: answers whose body comes in pieces. Invariants: each request, also one
that a redirect asks for, goes to an address that addresses.py allows, over TLS with the certificate of the
name in the URL; credentials go to the host that they are for and no other; no answer is read over its limit;
nothing of an answer's body, and no user or password, goes into a message.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from noria_serving.errors import NoriaError, Reason
from noria_serving.remote.addresses import resolve

TIMEOUT: Final = 30.0
"""Seconds of silence after which a server counts as gone."""
REDIRECTS: Final = 5
ATTEMPTS: Final = 5
"""How often a body that breaks off is asked for, from where it broke off, before another PIECE of it came."""
PAUSE: Final = 0.2
"""Seconds before a server that could not be reached for the rest is asked again; twice as many each time."""
PIECE: Final = 1024 * 1024
_MOVED: Final = (301, 302, 303, 307, 308)
_SPELLED: Final = "!#$%&'()*+,/:;=?@[]~"
"""What stands in a URL as it is, beside letters and digits."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower case) and the open body."""

    url: str
    status: int
    headers: Mapping[str, str]
    response: http.client.HTTPResponse
    connection: http.client.HTTPSConnection

    def read(self, limit: int) -> bytes:
        """The whole body, which may have so many bytes."""
        try:
            data = self.response.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, error) from error
        finally:
            self.connection.close()
        if len(data) > limit:
            raise NoriaError(Reason.TOO_LARGE, f"{shown(self.url)} answers with more than {limit} bytes")
        return data


@dataclass(frozen=True)
class Client:
    """Sends GETs; `authorization`, or what `token` gives at the time, is for `host` (with its port) alone."""

    host: str = ""
    authorization: str = field(default="", repr=False)
    ca: str = ""
    """Certificates (PEM) of a private CA, trusted beside the system's."""
    token: Callable[[], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not fits_header(self.authorization):
            raise NoriaError(
                Reason.CONFIGURATION,
                "the token holds a line break or another character that no header may have; write it into "
                "the Secret anew, as one line",
            )

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer after redirects, whatever its status."""
        for _ in range(REDIRECTS + 1):
            answer = self._once(url, headers or {})
            if answer.status not in _MOVED:
                return answer
            answer.connection.close()
            location = answer.headers.get("location", "").encode("latin-1")
            url = split(url, quote(location, safe=_SPELLED)).geturl()
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"{shown(url)} redirects more than {REDIRECTS} times")

    def stream(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """The body in pieces; one that breaks off is asked for from there, and skipped up to there by servers
        that know no ranges. The caller checks its digest.
        """
        done, counted, tries, tag = 0, 0, 0, ""
        while True:
            asked = dict(headers or {})
            if done:
                asked |= {"Range": f"bytes={done}-"} | ({"If-Range": tag} if tag else {})
            broken = NoriaError(Reason.STORAGE_UNAVAILABLE, f"{shown(url)} breaks off again and again")
            try:
                answer = expect(self.get(url, asked), 200, 206)
                skip = 0 if answer.status == 206 else done
                tag = answer.headers.get("etag", "")
                expected = answer.response.length
                seen = 0
                try:
                    while piece := answer.response.read1(PIECE):
                        seen += len(piece)
                        fresh, skip = piece[skip:], max(0, skip - len(piece))
                        done += len(fresh)
                        if fresh:
                            yield fresh
                finally:
                    answer.connection.close()
                if expected is None or seen >= expected:
                    return
            except (OSError, http.client.HTTPException) as error:
                broken = unreachable(url, error)
                broken.__cause__ = error
            except NoriaError as error:
                if not (done and isinstance(error.__cause__, (OSError, http.client.HTTPException))):
                    raise
                broken = error
                time.sleep(PAUSE * 2**tries)
            tries, counted = (0, done) if done - counted >= PIECE else (tries + 1, counted)
            if tries == ATTEMPTS:
                raise broken

    def _once(self, url: str, headers: Mapping[str, str]) -> Answer:
        parts = split(url)
        if parts.username or parts.password:
            raise NoriaError(
                Reason.CONFIGURATION, f"{shown(url)} holds a user or password; put them into the Secret"
            )
        port = parts.port or 443
        host = parts.hostname or ""
        connection = _Pinned(host, port, resolve(host, port), _context(self.ca))
        sent = {"User-Agent": "noria", "Accept-Encoding": "identity", **headers}
        if parts.netloc != self.host:
            sent.pop("Authorization", None)
        elif own := self.token() if self.token else self.authorization:
            sent.setdefault("Authorization", own)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", quote(target, safe=_SPELLED), headers=sent)
            response = connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise NoriaError(
                Reason.STORAGE_UNAVAILABLE,
                f"the certificate of {parts.hostname} is not trusted ({error.verify_message}); put the CA "
                "into ca.crt of the Secret",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(url, error) from error
        return Answer(
            url, response.status, {k.lower(): v for k, v in response.getheaders()}, response, connection
        )


class _Pinned(http.client.HTTPSConnection):
    """Connects to the address that was checked, and expects the certificate of the name."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT, context=context)
        self._address, self._context_of_host = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), TIMEOUT)
        self.sock = self._context_of_host.wrap_socket(plain, server_hostname=self.host)


def fits_header(value: str) -> bool:
    """Whether a header may have this value."""
    return value.isascii() and value.isprintable()


def expect(answer: Answer, *statuses: int) -> Answer:
    """The answer, if it has one of these; else the reason that its status stands for."""
    if answer.status in statuses:
        return answer
    answer.connection.close()
    name, status = shown(answer.url), answer.status
    if status in (404, 410):
        raise NoriaError(Reason.NOT_FOUND, f"{name} does not exist (status {status})")
    if status in (401, 403):
        raise NoriaError(
            Reason.STORAGE_UNAVAILABLE,
            f"{name} refused the credentials (status {status}), check the keys of the Secret in secretName",
        )
    raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"{name} answers with status {status}")


def split(url: str, location: str = "") -> SplitResult:
    """The parts of a URL, or of the `location` that it leads to; `AddressRefused` for what is none."""
    try:
        parts = urlsplit(urljoin(url, location))
        if parts.scheme == "https" and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise NoriaError(
        Reason.ADDRESS_REFUSED,
        "the URI, or what it redirects to, is not https://<host>[:<port>]/<path>",
    )


def shown(url: str) -> str:
    """A URL for messages: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


def unreachable(url: str, error: Exception) -> NoriaError:
    """What a broken connection means to people."""
    said = getattr(error, "strerror", None) or type(error).__name__
    return NoriaError(Reason.STORAGE_UNAVAILABLE, f"{shown(url)} cannot be reached: {said}")


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError as error:
            raise NoriaError(Reason.CONFIGURATION, "ca.crt of the Secret holds no certificate") from error
    return context
