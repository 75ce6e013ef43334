"""What is asked of a web server, and what is never asked. Servers of their own: tests/integration/sources."""

from __future__ import annotations

import itertools
import json
import re
import socket
from pathlib import Path

import pytest

from noria_serving import credentials
from noria_serving.artifact import open_source
from noria_serving.errors import NoriaError, Reason
from noria_serving.remote import registry, web
from noria_serving.remote.sources import basic, client_of
from noria_serving.remote.web import Client

SECRET = "s3cr3t"


def answering(monkeypatch: pytest.MonkeyPatch, *replies: bytes) -> list[socket.socket]:
    """Connections to nobody, which find these replies; the other ends, that have what was asked."""
    ends: list[socket.socket] = []

    def connect(self: web._Pinned) -> None:
        self.sock, other = socket.socketpair()
        other.sendall(replies[len(ends)])
        other.shutdown(socket.SHUT_WR)
        ends.append(other)

    monkeypatch.setattr(web, "resolve", lambda host, port: "192.0.2.1")
    monkeypatch.setattr(web._Pinned, "connect", connect)
    return ends


def paths(ends: list[socket.socket]) -> list[str]:
    """What each connection was asked for."""
    asked = [end.recv(65_536).split()[1].decode() for end in ends]
    for end in ends:
        end.close()
    return asked


def reply(status: int, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} .", *headers, "", ""]).encode() + body


@pytest.mark.parametrize("token", [f"{SECRET}\r", f"{SECRET}\nx", f"{SECRET}€", f"{SECRET}\x00"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(NoriaError, match="token") as caught:
        client_of("https://models.example/4", {"token": token})
    assert caught.value.reason is Reason.CONFIGURATION
    assert SECRET not in caught.value.message
    assert caught.value.__context__ is None


def test_a_secret_may_end_as_an_editor_on_windows_ends_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(f"{SECRET}\r\n".encode())
    env = {"NORIA_CREDENTIALS": json.dumps({"https://models.example": str(tmp_path)})}
    assert credentials.variables("https://models.example/4", env=env) == {"token": SECRET}


@pytest.mark.parametrize(
    "uri",
    [
        f"https://models.example:{SECRET}/4",
        "https://models.example:65536/4",
        "https://[models/4",
        "https:///4",
        "oci://models.example:port/team/flights:4",
    ],
)
def test_a_uri_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(NoriaError, match="https://") as caught:
        open_source(uri)
    assert caught.value.reason is Reason.ADDRESS_REFUSED
    assert SECRET not in caught.value.message  # a password, to whoever forgot the host


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_hub_is_asked_where_it_answers_by_any_of_its_names(
    name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker login` and `kubectl create secret docker-registry` write it as the first of the two keys."""
    login = {"auths": {key: {"username": "reader", "password": SECRET}}}
    (tmp_path / ".dockerconfigjson").write_text(json.dumps(login))
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({f"oci://{name}/team": str(tmp_path)}))
    ends = answering(monkeypatch, reply(200), reply(404))
    with pytest.raises(NoriaError) as caught:
        open_source(f"oci://{name}/team/model:4")
    assert caught.value.reason is Reason.NOT_FOUND
    _, asked = (end.recv(65_536).decode() for end in ends)
    for end in ends:
        end.close()
    assert asked.startswith("GET /v2/team/model/manifests/4 ")
    assert "\r\nHost: registry-1.docker.io\r\n" in asked
    assert f"\r\nAuthorization: {basic('reader', SECRET)}\r\n" in asked


@pytest.mark.parametrize("place", ["https://[", "https://models.example:port/", "http://models.example/"])
def test_a_redirect_to_what_is_no_uri_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = answering(monkeypatch, reply(302, f"Location: {place}"))
    with pytest.raises(NoriaError) as caught:
        Client().get("https://models.example/4")
    assert caught.value.reason is Reason.ADDRESS_REFUSED
    assert paths(ends) == ["/4"]


def test_names_that_are_no_ascii_are_asked_for_as_browsers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a server redirects to them."""
    ends = answering(
        monkeypatch,
        reply(302, "Location: /modèles/vol 4?a=%20é"),
        reply(200, "Content-Length: 2", body=b"{}"),
    )
    assert Client().get("https://models.example/mes modèles/a%20b").read(9) == b"{}"
    assert paths(ends) == ["/mes%20mod%C3%A8les/a%20b", "/mod%C3%A8les/vol%204?a=%20%C3%A9"]


def test_a_length_that_is_no_number_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = answering(monkeypatch, reply(200, "Content-Length: many", body=b"{}"))
    assert b"".join(Client().stream("https://models.example/4")) == b"{}"
    assert paths(ends) == ["/4"]


def test_a_registry_is_asked_for_a_new_token_before_the_old_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of gigabytes takes longer than a token lives."""
    now = [1000.0]
    monkeypatch.setattr(registry.time, "monotonic", lambda: now[0])
    realm = 'Bearer realm="https://auth.example/token",service="r"'
    body = b'{"token": "one", "expires_in": 300}', b'{"access_token": "two"}'
    tokens = [reply(200, f"Content-Length: {len(each)}", body=each) for each in body]
    gone = reply(404)
    ends = answering(
        monkeypatch,
        *(reply(401, f"WWW-Authenticate: {realm}"), tokens[0], gone, gone),
        *(tokens[1], gone, gone),
        *(tokens[0], gone),
    )
    repository = registry._authorised("r.example", "team/m", {})
    for now[0] in (1000.0, 1149.0, 1151.0, 1180.0, 1182.0):
        with pytest.raises(NoriaError, match="does not exist"):
            repository.manifest("4")
    asked = [end.recv(65_536).decode() for end in ends]
    for end in ends:
        end.close()
    used = [found[1] for each in asked if (found := re.search(r"\r\nAuthorization: Bearer (\w+)\r\n", each))]
    assert used == ["one", "one", "two", "two", "one"]
    assert [each.split()[1] for each in asked if "/token" in each] == [
        "/token?scope=repository%3Ateam%2Fm%3Apull&service=r"
    ] * 3


def test_a_body_may_break_off_as_often_as_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that ends each connection after some minutes."""
    monkeypatch.setattr(web, "PIECE", 4)
    whole = bytes(range(48))
    parts = [
        reply(206 if at else 200, f"Content-Length: {48 - at}", body=whole[at : at + 6])
        for at in range(0, 48, 6)
    ]
    ends = answering(monkeypatch, *parts)
    assert b"".join(Client().stream("https://models.example/4")) == whole
    assert len(paths(ends)) == 8


def test_the_last_try_in_a_row_may_get_on_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PIECE", 4)
    whole = bytes(range(20))
    ends_at = [0, 4, 5, 6, 7, 8, 14, 20]
    parts = [
        reply(206 if at else 200, f"Content-Length: {20 - at}", body=whole[at:to])
        for at, to in itertools.pairwise(ends_at)
    ]
    ends = answering(monkeypatch, *parts)
    assert b"".join(Client().stream("https://models.example/4")) == whole
    assert len(paths(ends)) == 7


def test_a_token_that_no_header_can_hold_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"token": f"{SECRET}\nx"}).encode()
    realm = 'WWW-Authenticate: Bearer realm="https://auth.example/token"'
    ends = answering(monkeypatch, reply(401, realm), reply(200, f"Content-Length: {len(body)}", body=body))
    with pytest.raises(NoriaError, match="no header can hold") as caught:
        open_source("oci://r.example/team/m:4")
    assert SECRET not in caught.value.message
    assert len(paths(ends)) == 2
