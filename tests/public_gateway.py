"""A real gateway as tests see it, whichever implementation it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class PublicGateway(Protocol):
    """A Gateway of the cluster, its controller, and two proxies that answer for it."""

    @property
    def where(self) -> tuple[str, str]:
        """Namespace and name of the Gateway."""

    @property
    def url(self) -> str:
        """Where its listener without TLS answers, by whichever proxy."""

    @property
    def own_urls(self) -> Sequence[str]:
        """Where every one of its proxies may be asked, as the operator's pods see it."""

    def restart_controller(self) -> None:
        """Kill it and wait until it is back, while the proxies go on with what they have."""

    def replace_routers(self) -> None:
        """One proxy after the other, each with its grace; returns when the old ones have ended."""

    def kill_router(self) -> None:
        """One of them, without any grace; returns when another one has taken its place."""

    def waiting(self) -> str:
        """Where requests wait, by proxy, for whoever looks for one that hangs."""
