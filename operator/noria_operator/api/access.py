"""Who may call a ModelDeployment: holders of a key, or of a token that an issuer signed.

Comes in: `spec.router.access` as JSON. Goes out: a frozen, validated model. Invariant: no key is ever part of
an object that the operator reads: a Secret is named, and only the router's pods mount it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import DnsLabel, HeaderName

JWKS_KEY = "jwks"
"""Under which a Secret or ConfigMap holds the key set, as Envoy Gateway has it."""

_PORT = r"[0-5]?[0-9]{1,4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5])))"
"""65535 at most."""
Claimed = Annotated[str, Field(min_length=1, max_length=128)]
Url = Annotated[
    str,
    Field(
        max_length=512,
        pattern=rf"^https?://([a-z0-9-]+\.)*[a-z][a-z0-9-]*(:({_PORT}))?/[A-Za-z0-9._~/%?=&+-]*$",
    ),
]
"""By name, never by address: no form of a link-local or loopback address fits."""


class ApiKeys(Spec):
    """Keys that callers show in a header."""

    secret_name: DnsLabel = Field(
        description="Secret with a key (at least 16 characters) in each entry. Example: flights-keys."
    )
    header: HeaderName = Field(
        default="X-API-Key",
        description="Where callers show it. Default: X-API-Key.",
    )


class Jwks(Spec):
    """Where the public keys of the issuer are: one of these."""

    secret_name: DnsLabel | None = Field(default=None, description="Secret with entry jwks. Absent: not.")
    config_map_name: DnsLabel | None = Field(
        default=None, description="ConfigMap with entry jwks. Absent: not."
    )
    uri: Url | None = Field(default=None, description="URL that the router reads. Absent: not.")
    rules: ClassVar = (
        Rule(
            cel="[has(self.secretName), has(self.configMapName), has(self.uri)].exists_one(x, x)",
            message="name one of secretName, configMapName and uri",
            holds=lambda it: (
                sum(one is not None for one in (it.secret_name, it.config_map_name, it.uri)) == 1
            ),
        ),
    )


class Jwt(Spec):
    """Tokens (RFC 7519) that callers show as Authorization: Bearer."""

    issuer: Annotated[str, Field(min_length=1, max_length=256)] = Field(description="Value of iss.")
    audiences: Annotated[list[Claimed], Field(min_length=1, max_length=8)] = Field(
        description="Allowed values of aud."
    )
    jwks: Jwks = Field(description="Keys of the issuer.")
    claims: Annotated[
        dict[str, Annotated[list[Claimed], Field(min_length=1, max_length=16)]],
        Field(max_length=4),
        Rule(
            cel="self.all(k, size(k) <= 128)",
            message="names of claims have at most 128 characters",
            holds=lambda it: all(len(name) <= 128 for name in it),
        ),
    ] = Field(
        default_factory=dict,
        description="Further claims (a.b: b in a) → allowed values. Default: none.",
    )


class Access(Spec):
    """Who may call; everybody where it is absent."""

    api_keys: ApiKeys | None = Field(default=None, description="By key. Absent: not.")
    jwt: Jwt | None = Field(default=None, description="By token; with apiKeys, either will do. Absent: not.")
    rules: ClassVar = (
        Rule(
            cel="has(self.apiKeys) || has(self.jwt)",
            message="say apiKeys, jwt or both",
            holds=lambda it: it.api_keys is not None or it.jwt is not None,
        ),
    )
