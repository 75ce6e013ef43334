"""Steady traffic from outside the cluster's pods, with every answer accounted for.

Requests go to the ClusterIP of a ModelDeployment's Service, over keep-alive connections and without retries:
a failure that a client would see is a failure that is counted.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import run
from time import monotonic
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
from tests.e2e.traffic import Traffic
from tools.cluster import namespaces, slots

CONNECTIONS = 16
WAITING = 5.0
"""Seconds without an answer after which routers are asked where requests wait."""
REQUEST = {"inputs": [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.3]}]}


@dataclass
class Load(Traffic):
    """A context manager: sends `rate` requests a second for as long as its block lasts."""

    url: str
    rate: float = 40.0
    body: dict[str, object] = field(default_factory=lambda: REQUEST)
    headers: dict[str, str] = field(default_factory=dict)
    trusts: ssl.SSLContext | None = None
    """With an https:// address: whose certificates are taken."""
    server_name: str | None = None
    """And to which name the certificate must have been given."""
    sent: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    unsent: int = 0
    """Failures of which nothing was sent within `WAITING`: no connection was to be had, or none was free,
    as on a machine that is too busy for `rate`.
    """
    phase: str = ""
    """What goes on meanwhile, for the words about a failure."""
    witness: Callable[[], str] = str
    """Says where behind the address requests wait; asked once, when one first waits for long."""
    seen: str = ""
    """What it said."""
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _failed_in: Counter[str] = field(default_factory=Counter, init=False)
    _began: float = field(default=0.0, init=False)
    _ended: float = field(default=0.0, init=False)

    def until_sent(self, more: int, *, timeout: float = 60) -> None:
        """Return once this many more requests were answered."""
        wanted = self.sent + more
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= wanted, timeout), (
                f"{self.sent} of {wanted} sent"
            )

    @property
    def achieved(self) -> float:
        """Requests a second so far, over the whole time."""
        return self.sent / max(1e-9, (self._ended or monotonic()) - self._began)

    async def _run(self) -> None:
        self._began = monotonic()
        timeout = aiohttp.ClientTimeout(total=15)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        traces = aiohttp.TraceConfig()
        traces.on_request_headers_sent.append(_gone_out)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[traces]) as session,
            asyncio.TaskGroup() as requests,
        ):
            due = 0
            while not self._stop.is_set():
                requests.create_task(self._one(session))
                due += 1
                await asyncio.sleep(max(0.0, self._began + due / self.rate - monotonic()))
        self._ended = monotonic()

    def ask(self) -> dict[str, object]:
        """The body of the next request."""
        return self.body

    async def _one(self, session: aiohttp.ClientSession) -> None:
        began = monotonic()
        asked = f"{began - self._began:.2f} s, {self.phase}"
        sent: list[float] = []
        late = asyncio.get_running_loop().call_later(WAITING, self._look, asked)
        try:
            async with session.post(
                self.url,
                json=self.ask(),
                headers=self.headers,
                ssl=self.trusts or True,
                server_hostname=self.server_name,
                trace_request_ctx=sent,
            ) as answer:
                text = await answer.text()
                if answer.status == 200:
                    self.versions[json.loads(text)["model_version"]] += 1
                else:
                    self._fail(f"{answer.status} {text[:200]} {dict(answer.headers)}, asked after {asked}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.unsent += not sent or sent[0] - began > WAITING
            when = f"sent after {sent[0] - self._began:.2f} s" if sent else "never sent"
            self._fail(f"{type(error).__name__} {error}, {when}, asked after {asked}")
        late.cancel()
        with self._changed:
            self.sent += 1
            self._changed.notify_all()

    @property
    def summary(self) -> str:
        """Failures by phase, how many waited for a connection, and the first and the last of them."""
        shown = [*self.failures[:3], *self.failures[3:][-3:]]
        failed = f"of {self.sent} requests failed {dict(self._failed_in)}"
        unsent = f", {self.unsent} of them not sent within {WAITING:.0f} s" if self.unsent else ""
        return "\n".join([failed + unsent, *shown, self.seen])

    def _look(self, asked: str) -> None:
        """In a thread, so that nobody waits for it."""
        if self.seen:
            return
        self.seen = f"asked after {asked}, unanswered for {WAITING:.0f} s"
        threading.Thread(target=self._tell, daemon=True).start()

    def _tell(self) -> None:
        self.seen += f":\n{_connections(str(urlsplit(self.url).hostname))}\n{self.witness()}"

    def _fail(self, what: str) -> None:
        self._failed_in[self.phase] += 1
        self.failures.append(f"after {monotonic() - self._began:.2f} s, {self.phase}: {what}")


def _connections(host: str) -> str:
    """What the kernel knows of connections to an address, and where kube-proxy's rules sent them."""
    asked = [["ss", "-tanoi", "dst", host]]
    slot = slots.mine()
    if slot is not None and (process := namespaces.first_process(slot)):
        there = ["nsenter", f"--net=/proc/{process}/ns/net", "--"]
        asked += [
            [*there, "conntrack", "-L", "-p", "tcp", "-d", host],
            [*there, "conntrack", "--stats"],
        ]
    told = [run(command, capture_output=True, text=True, check=False) for command in asked]
    return "\n".join(one.stdout + one.stderr for one in told)


async def _gone_out(
    _: aiohttp.ClientSession, request: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """Mark when a request was written to a connection."""
    request.trace_request_ctx.append(monotonic())
