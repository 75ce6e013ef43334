"""Who may call a ModelDeployment, as its router has to check it, and what is told of that.

Comes in: `spec.router.access`, what routers report, the status before. Goes out: a Guard with a digest of its
rules, and the condition AccessReady. Invariants: what cannot be understood lets nobody in; a deployment that
was once checked is never opened by anything but its spec; one that was open is checked as soon as every
router can, and says so until then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from noria_operator.api.access import Access
from noria_operator.domain.conditions import Condition, of_type

Json = dict[str, Any]

CONDITION = "AccessReady"

HOST_LIMIT: Final = 253
"""Characters of a name in DNS. The host of an issuer is measured here, for the API's pattern cannot; Envoy
does not start with a longer one."""
_FIRST: Final = "audiences", "claims", "config_map", "deployment", "header", "issuer", "keys", "secret", "uri"
"""Fields of a Guard that its digest always holds, as it did at first: another digest replaces router pods.
Later ones are in it where they are not at their defaults.
"""


class Reason(StrEnum):
    """Why AccessReady is what it is."""

    CHECKED = "Checked"
    """Every router lets in whom the spec says, and nobody else."""
    ROUTERS_STARTING = "RoutersStarting"
    """It was open before: nothing is checked until every router can."""
    ROUTERS_CHANGING = "RoutersChanging"
    """Checked, by some routers still as the spec said before."""
    KEYS_MISSING = "KeysMissing"
    """A Secret or ConfigMap holds nothing to check with: nobody is let in by it."""
    KEYS_INVALID = "KeysInvalid"
    """The same, since its content is no key set, or `access` says nothing that routers could go by."""
    ROUTERS_SILENT = "RoutersSilent"
    """No router could be asked."""


class Held(StrEnum):
    """What a router holds to check credentials of one kind with."""

    UNUSED = ""
    PRESENT = "present"
    MISSING = "missing"
    INVALID = "invalid"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one deployment. `keys` is the Secret with its callers' keys, shown in `header` (lower
    case). Tokens are taken where there is an `issuer`; its key set is in the entry of a `secret` or
    `config_map`, or at `uri`; `claims` are further ones and their values. With neither, nobody is let in.
    """

    deployment: str
    keys: str = ""
    header: str = ""
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    secret: str = ""
    config_map: str = ""
    uri: str = ""
    claims: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rules: str = field(init=False, default="")

    def __post_init__(self) -> None:
        values = asdict(self)
        later = [one for one in fields(self) if one.init and one.name not in _FIRST]
        said = [values[name] for name in _FIRST]
        said += [(one.name, values[one.name]) for one in later if values[one.name] != one.default]
        object.__setattr__(self, "rules", hashlib.sha256(repr(said).encode()).hexdigest()[:16])


def guard(deployment: Json) -> Guard | None:
    """The rules of a ModelDeployment as it is in the API server; None where everybody may call."""
    said = (deployment["spec"].get("router") or {}).get("access")
    if said is None:
        return None
    name = deployment["metadata"]["name"]
    try:
        access = Access.model_validate(said)
    except ValidationError:
        return Guard(name)
    keys, jwt = access.api_keys, access.jwt
    if jwt and jwt.jwks.uri and len(urlsplit(jwt.jwks.uri).hostname or "") > HOST_LIMIT:
        return Guard(name)
    return Guard(
        name,
        keys=keys.secret_name if keys else "",
        header=keys.header.lower() if keys else "",
        issuer=jwt.issuer if jwt else "",
        audiences=tuple(jwt.audiences) if jwt else (),
        secret=(jwt.jwks.secret_name or "") if jwt else "",
        config_map=(jwt.jwks.config_map_name or "") if jwt else "",
        uri=(jwt.jwks.uri or "") if jwt else "",
        claims=tuple((claim, tuple(values)) for claim, values in sorted(jwt.claims.items())) if jwt else (),
    )


def lost_headers(deployment: Json) -> str:
    """Which headers that versions are to be chosen by are taken off before, as they hold a credential; empty
    where none is.
    """
    rules, strategy = guard(deployment), deployment["spec"].get("strategy") or {}
    if rules is None:
        return ""
    sticky, arms = strategy.get("sticky") or {}, (strategy.get("experiment") or {}).get("arms") or ()
    asked = [("sticky", sticky.get("header", ""))]
    for where, ones in (("steps", strategy.get("steps") or ()), ("experiment", arms)):
        asked += [(where, header["name"]) for one in ones for header in one.get("match") or ()]
    taken = {rules.header if rules.keys else "", "authorization" if rules.issuer else ""} - {""}
    lost = [f"{name} in spec.strategy.{where}" for where, name in asked if name.lower() in taken]
    why = "spec.router.access takes this header off before a version is chosen by it; name another one"
    return f"{', '.join(dict.fromkeys(lost))}: {why}" if lost else ""


def enforced(deployment: Json) -> bool:
    """Whether routers are to let nobody in unchecked: always, but for a deployment that was open, until every
    router can check."""
    if (deployment["spec"].get("router") or {}).get("access") is None:
        return False
    return not _open(deployment.get("status") or {})


def _open(status: Mapping[str, Any]) -> bool:
    """Whether nothing is checked yet, since the deployment was open before it had `access`."""
    reason = next((one["reason"] for one in status.get("conditions", ()) if one["type"] == CONDITION), "")
    return reason == Reason.ROUTERS_STARTING if reason else bool(status.get("traffic"))


@dataclass(frozen=True, slots=True)
class Told:
    """What one router reports: the digest of the rules that it checks (empty: none), and what it holds."""

    rules: str = ""
    keys: Held = Held.UNUSED
    jwks: Held = Held.UNUSED

    @staticmethod
    def of(body: Any) -> Told | None:
        """None when it is no report."""
        try:
            return Told(str(body["rules"]), Held(body.get("keys", "")), Held(body.get("jwks", "")))
        except (TypeError, KeyError, ValueError, AttributeError):
            return None


def condition(guard: Guard, told: Sequence[Told | None], status: Mapping[str, Any]) -> Condition:
    """AccessReady, from what routers that may get requests report (None: one that could not be asked) and the
    status before."""
    asked = [one for one in told if one is not None]
    behind = sum(one.rules != guard.rules for one in asked)
    if _open(status) and (not told or len(asked) < len(told) or behind):
        text = (
            "nothing is checked yet: router pods that cannot check, or could not be asked, still take "
            "requests; see kubectl describe deployment noria-router"
        )
        return Condition(CONDITION, False, Reason.ROUTERS_STARTING, text)
    if not asked:
        return Condition(CONDITION, None, Reason.ROUTERS_SILENT, "no router could be asked")
    if behind:
        text = f"{behind} of {len(asked)} router pods check as spec said before, or let nobody in"
        return Condition(CONDITION, False, Reason.ROUTERS_CHANGING, text)
    for held, what in ((Held.MISSING, Reason.KEYS_MISSING), (Held.INVALID, Reason.KEYS_INVALID)):
        texts = [_keys_text(guard)] * any(one.keys == held for one in asked)
        texts += [_jwks_text(guard)] * any(one.jwks == held for one in asked)
        if texts:
            return Condition(CONDITION, False, what, "; ".join(texts))
    ways = _ways(guard)
    if not ways:
        text = f"nobody is let in: access is not valid, or its issuer's host has over {HOST_LIMIT} characters"
        return Condition(CONDITION, False, Reason.KEYS_INVALID, text)
    return Condition(CONDITION, True, Reason.CHECKED, "callers need " + " or ".join(ways))


def unasked(deployment: Json) -> Condition | None:
    """What status says of the spec as it is, where nobody is asked this time; None where it says nothing."""
    conditions = (deployment.get("status") or {}).get("conditions", ())
    told = of_type(conditions, CONDITION)
    if not told or told.get("observedGeneration") != deployment["metadata"].get("generation"):
        return None
    known = {"True": True, "False": False}.get(told["status"])
    return Condition(CONDITION, known, told["reason"], told.get("message", ""))


def _keys_text(guard: Guard) -> str:
    return (
        f"Secret {guard.keys} is not there, or has no entry of at least 16 characters on one line: no key is "
        f"accepted; a change is seen within about a minute"
    )


def _jwks_text(guard: Guard) -> str:
    where = f"Secret {guard.secret}" if guard.secret else f"ConfigMap {guard.config_map}"
    return (
        f"{where} is not there, or its entry jwks is not a JSON Web Key Set: no token is accepted; a change "
        f"is seen within about a minute"
    )


def _ways(guard: Guard) -> list[str]:
    ways = [f"a key in {guard.header}"] if guard.keys else []
    return ways + ([f"a token of {guard.issuer}"] if guard.issuer else [])
