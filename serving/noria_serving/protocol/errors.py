"""The one error that a protocol answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria_serving.errors import unicode

FAULT: Final = "a fault of the server; its log says more"
"""What clients are told of an exception that nobody expected."""


class RequestError(Exception):
    """Why a request gets no answer; `str()` is the sentence for the client.

    status: as in HTTP; gRPC maps it. headers: what HTTP sends beside it, such as `Allow` or `Retry-After`.
    """

    def __init__(
        self, message: str, *, status: int = 400, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(unicode(message))
        self.status = status
        self.headers = headers
