"""The one error that a protocol answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria_serving.contract import Why
from noria_serving.errors import unicode

TOO_MANY: Final = 429
FAULT: Final = "a fault of the server; its log says more"
"""What clients are told of an exception that nobody expected."""


class RequestError(Exception):
    """Why a request gets no answer; `str()` is the sentence for the client.

    status: as in HTTP; gRPC maps it. headers: what HTTP sends beside it, such as `Allow` or `Retry-After`.
    why: what it counts as, where it is the client's fault, which 429 is not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        headers: Sequence[tuple[bytes, bytes]] = (),
        why: Why = Why.FORM,
    ) -> None:
        super().__init__(unicode(message))
        self.status = status
        self.headers = headers
        self.why = Why.UNANSWERED if status == TOO_MANY else why
