"""What can go wrong between the operator and the API server, as types.

Every answer of the API server that is no success becomes one `ApiError` subclass, so that callers decide by
type and never by comparing numbers. `Terminal` and its kin are raised by controllers: they say how the work
queue goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from noria_operator.kube.kinds import Kind


class ApiError(Exception):
    """An answer of the API server that is no success.

    `status` is the HTTP code (0 when there was no answer), `reason` the machine-readable word of the `Status`
    object, `message` its text for people.
    """

    status: int
    reason: str
    message: str

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Unauthorized(ApiError):
    """401: the credentials are missing or expired."""


class Forbidden(ApiError):
    """403: RBAC, an admission policy or a quota says no."""


class NamespaceTerminating(ApiError):
    """403 on create: the namespace is being deleted, and everything in it with it. Not a `Forbidden`: no
    right is missing, and there is nobody left to tell.
    """


class NotFound(ApiError):
    """404: no such object (or no such kind: the CRDs are not installed)."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken."""


class Conflict(ApiError):
    """409: the object changed since it was read, or a precondition on its uid failed. Read it again."""


class Gone(ApiError):
    """410: the list token or the resourceVersion is too old. Start again."""


class Invalid(ApiError):
    """400 or 422: the API server refuses the object as it is; sending it again changes nothing."""


class TooManyRequests(ApiError):
    """429, still after the client's own retries."""


class ServerError(ApiError):
    """5xx, still after the client's own retries."""


class Unavailable(ApiError):
    """No answer: the connection failed or timed out. The write may have been applied."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def error_of(status: int, body: Any) -> ApiError:
    """The typed error for an HTTP status and the (perhaps not JSON) body that came with it."""
    fields = body if isinstance(body, dict) else {}
    reason = str(fields.get("reason") or f"HTTP{status}")
    message = str(fields.get("message") or body or "no message")
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExists(status, reason, message)
    if status == 403 and _TERMINATING in _causes(fields):
        return NamespaceTerminating(status, reason, message)
    return _BY_STATUS.get(status, ServerError)(status, reason, message)


_TERMINATING = "NamespaceTerminating"
"""`v1.NamespaceTerminatingCause`, which the admission plugin NamespaceLifecycle adds."""


def _causes(fields: dict[str, Any]) -> set[str]:
    """The machine-readable reasons in `details.causes` of a `Status` object."""
    details = fields.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    found = causes if isinstance(causes, list) else ()
    return {str(cause.get("reason")) for cause in found if isinstance(cause, dict)}


class Terminal(Exception):
    """Raised by `reconcile`: nothing will get better until somebody changes the object.

    The object gets `Stalled=True` and `Ready=False` with this reason and message, and what else of its status
    is `told`; it rests until its generation changes (or, where `retry` is set, until that much time has
    passed).
    """

    retry: ClassVar[timedelta | None] = None

    def __init__(self, reason: str, message: str, *, told: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.told = told or {}


class NameConflict(Terminal):
    """A child's name is taken by an object that we do not control; it is never adopted nor changed.

    It is looked at again from time to time, because removing that object changes no generation of ours.
    """

    retry = timedelta(minutes=1)

    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__(
            "NameConflict",
            f"{kind.kind} {name!r} exists and is not controlled by this object; "
            f"delete or rename it, or give this object another name",
        )
        self.kind = kind
        self.name = name
