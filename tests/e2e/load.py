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
from time import monotonic

import aiohttp
from tests.e2e.traffic import Traffic

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
    phase: str = ""
    """What goes on meanwhile, for the words about a failure."""
    witness: Callable[[], str] | None = None
    """Says where requests wait; asked once, when one first waits for long."""
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
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
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
        asked = f"{monotonic() - self._began:.2f} s, {self.phase}"
        late = asyncio.get_running_loop().call_later(WAITING, self._look, asked)
        try:
            async with session.post(
                self.url,
                json=self.ask(),
                headers=self.headers,
                ssl=self.trusts or True,
                server_hostname=self.server_name,
            ) as answer:
                text = await answer.text()
                if answer.status == 200:
                    self.versions[json.loads(text)["model_version"]] += 1
                else:
                    self._fail(f"{answer.status} {text[:200]} {dict(answer.headers)}, asked after {asked}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(f"{type(error).__name__} {error}, asked after {asked}")
        late.cancel()
        with self._changed:
            self.sent += 1
            self._changed.notify_all()

    @property
    def summary(self) -> str:
        """Failures by phase, and the first and the last of them."""
        shown = [*self.failures[:3], *self.failures[3:][-3:]]
        return "\n".join([f"of {self.sent} requests failed {dict(self._failed_in)}", *shown, self.seen])

    def _look(self, asked: str) -> None:
        """In a thread, so that nobody waits for it."""
        if self.witness is None or self.seen:
            return
        self.seen = f"asked after {asked}, unanswered for {WAITING:.0f} s"
        threading.Thread(target=self._tell, args=(self.witness,), daemon=True).start()

    def _tell(self, witness: Callable[[], str]) -> None:
        self.seen += f":\n{witness()}"

    def _fail(self, what: str) -> None:
        self._failed_in[self.phase] += 1
        self.failures.append(f"after {monotonic() - self._began:.2f} s, {self.phase}: {what}")
