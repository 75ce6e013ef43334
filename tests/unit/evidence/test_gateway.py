"""Asking proxies over real HTTP on loopback: each of them, bounded, a reason for each that says nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.certificates import self_signed
from tools.ports import free_port

from noria_operator.domain.gateway_probes import Answer, Probe, host_of
from noria_operator.evidence.gateway import AT_ONCE, MOST, GatewayReader

MARK = "v7-0123456789abcdef"
PATH = "/-/noria/prod/flights"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def proxies(
    port: int, handlers: Sequence[Handler], secured: ssl.SSLContext | None = None
) -> AsyncIterator[list[str]]:
    """Their addresses: one for each handler, at the same port."""
    runners = []
    addresses = [f"127.0.0.{number}" for number in range(1, len(handlers) + 1)]
    for address, handler in zip(addresses, handlers, strict=True):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, address, port, ssl_context=secured).start()
        runners.append(runner)
    try:
        yield addresses
    finally:
        for runner in runners:
            await runner.cleanup()


@asynccontextmanager
async def reading(addresses: Sequence[str], patience: float = 5.0) -> AsyncIterator[GatewayReader]:
    """One for which every name has these addresses."""

    async def resolve(name: str, port: int) -> Sequence[str]:
        return addresses

    reader = GatewayReader(timeout=patience, resolve=resolve)
    try:
        yield reader
    finally:
        await reader.close()


def probe(*urls: str, **more: object) -> Probe:
    return Probe("public", ("infra", "public"), urls, **more)  # type: ignore[arg-type]


def marked(seen: list[tuple[str, str, str]] | None = None, status: int = 302) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append((request.method, request.host, request.path))
        location = f"http://{host_of(MARK)}{request.path}"
        return web.Response(status=status, headers={"Location": location, "Content-Length": "9"})

    return answer


async def test_every_address_is_asked_for_every_host_of_the_route() -> None:
    port, seen = free_port(), []  # type: ignore[var-annotated]
    async with proxies(port, [marked(seen), marked(seen)]) as addresses, reading(addresses) as reader:
        hosts = ["a.example", "b.example"]
        found = await reader.answers(probe(f"http://envoy:{port}"), hosts, PATH)
        assert found == [
            Answer(f"{host} at {address}:{port}", MARK) for address in addresses for host in hosts
        ]
        assert sorted(seen) == sorted([("HEAD", host, PATH) for host in hosts] * 2)


async def test_a_route_without_hosts_is_asked_for_by_the_admins_host_or_the_address() -> None:
    port, seen = free_port(), []  # type: ignore[var-annotated]
    async with proxies(port, [marked(seen)]) as addresses, reading(addresses) as reader:
        await reader.answers(probe(f"http://envoy:{port}"), [], PATH)
        await reader.answers(probe(f"http://envoy:{port}", host="edge.example"), [], PATH)
    assert [host for _, host, _ in seen] == ["envoy", "edge.example"]


async def elsewhere(request: web.Request) -> web.Response:
    raise web.HTTPFound(f"http://{request.host}/followed")


async def missing(_: web.Request) -> web.Response:
    raise web.HTTPNotFound


async def hanging(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def endless(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "x" * 20_000})


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (missing, "status 404 without the redirect"),
        (elsewhere, "status 302 without the redirect"),
        (marked(status=200), "status 200 without the redirect"),
        (hanging, "no answer within 0.3 s"),
        (endless, "LineTooLong|Got more than"),
    ],
)
async def test_a_proxy_that_gives_no_mark_says_why_and_the_others_are_heard(
    handler: Handler, problem: str
) -> None:
    port = free_port()
    async with proxies(port, [handler, marked()]) as addresses, reading(addresses, 0.3) as reader:
        one, two = await reader.answers(probe(f"http://envoy:{port}"), ["a.example"], PATH)
    assert one.mark == ""
    assert any(each in one.problem for each in problem.split("|")), one.problem
    assert two.mark == MARK


async def test_a_proxy_that_hangs_is_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port, seen = free_port(), []  # type: ignore[var-annotated]

    async def once(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return await (hanging if len(seen) == 1 else marked())(request)

    async with proxies(port, [once]) as addresses, reading(addresses, 0.1) as reader:
        for _ in range(3):
            (found,) = await reader.answers(probe(f"http://envoy:{port}"), ["a.example"], PATH)
            assert found.problem == "no answer within 0.1 s"
        assert len(seen) == 1
        monkeypatch.setattr("noria_operator.evidence.gateway.SILENT", 0.0)
        reader._silent.clear()
        (found,) = await reader.answers(probe(f"http://envoy:{port}"), ["a.example"], PATH)
        assert found.mark == MARK


async def test_a_proxy_is_not_called_silent_that_was_not_asked_for_all_who_ask_one_that_hangs() -> None:
    port, hosts = free_port(), [f"{number}.example" for number in range(AT_ONCE + 8)]
    async with proxies(port, [hanging, marked()]) as addresses, reading(addresses, patience=0.5) as reader:
        found = await reader.answers(probe(f"http://envoy:{port}"), hosts, PATH)
    assert [one.mark for one in found] == [""] * len(hosts) + [MARK] * len(hosts)


async def test_a_proxy_that_is_gone_says_why() -> None:
    async with reading(["127.0.0.1"]) as reader:
        (found,) = await reader.answers(probe(f"http://envoy:{free_port()}"), ["a.example"], PATH)
    assert "ClientConnectorError" in found.problem


async def test_certificates_are_checked_for_the_host_by_the_admins_authority(tmp_path: Path) -> None:
    certificate, key = self_signed("a.example")
    file, port = tmp_path / "tls.pem", free_port()
    file.write_text(certificate + key)
    authority = tmp_path / "ca.pem"
    authority.write_text(certificate)
    secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secured.load_cert_chain(file)
    async with proxies(port, [marked()], secured) as addresses, reading(addresses) as reader:
        asked = probe(f"https://envoy:{port}", ca_file=authority)
        one, two = await reader.answers(asked, ["a.example", "b.example"], PATH)
        assert (one.mark, two.mark) == (MARK, "")
        assert "Certificate" in two.problem
        (three,) = await reader.answers(probe(f"https://envoy:{port}"), ["a.example"], PATH)
        assert "Certificate" in three.problem
        nowhere = probe(f"https://envoy:{port}", ca_file=tmp_path / "none.pem")
        (four,) = await reader.answers(nowhere, ["a.example"], PATH)
        assert "authority cannot be read" in four.problem


async def test_a_name_is_looked_up_once_for_all_who_ask_and_a_resolver_that_hangs_is_not_waited_for() -> None:
    asked = []

    async def resolve(name: str, port: int) -> Sequence[str]:
        asked.append(name)
        if name == "hangs":
            await asyncio.sleep(30)
        raise OSError("no such host")

    reader = GatewayReader(timeout=0.1, resolve=resolve)
    for name, problem in (("gone", "no such host"), ("hangs", "not resolved within")):
        many = [reader.answers(probe(f"http://{name}"), ["a.example"], PATH) for _ in range(5)]
        for (found,) in await asyncio.gather(*many):
            assert problem in found.problem
        await reader.answers(probe(f"http://{name}"), ["a.example"], PATH)
    assert asked == ["gone", "hangs"]
    await reader.close()


async def test_a_look_up_that_takes_long_is_of_use_to_who_asks_later() -> None:
    asked = []

    async def resolve(name: str, port: int) -> Sequence[str]:
        asked.append(name)
        await asyncio.sleep(0.1)
        return ["127.0.0.1"]

    port = free_port()
    reader = GatewayReader(timeout=0.05, resolve=resolve)
    async with proxies(port, [marked()]):
        (found,) = await reader.answers(probe(f"http://envoy:{port}"), ["a.example"], PATH)
        assert "not resolved within" in found.problem
        await asyncio.sleep(0.1)
        reader._timeout = 5.0
        (found,) = await reader.answers(probe(f"http://envoy:{port}"), ["a.example"], PATH)
    assert (found.mark, asked) == (MARK, ["envoy"])
    await reader.close()


async def test_a_name_with_more_addresses_than_can_be_asked_is_not_asked_in_part() -> None:
    async with reading([f"10.0.{number // 256}.{number % 256}" for number in range(MOST + 1)]) as reader:
        (found,) = await reader.answers(probe("http://envoy"), ["a.example"], PATH)
    assert "more than 256" in found.problem


async def test_names_are_looked_up_by_the_systems_resolver() -> None:
    port = free_port()
    async with proxies(port, [marked()]):
        reader = GatewayReader()
        found = await reader.answers(probe(f"http://127.0.0.1:{port}"), ["a.example"], PATH)
        await reader.close()
    assert found == [Answer(f"a.example at 127.0.0.1:{port}", MARK)]
