"""Where data and models lie, as URIs: volumes and stores, and for models also web servers and registries.

Comes in: strings on the wire. Goes out: checked strings, and their parts. Invariants: a location holds no
credentials, no query and no address in digits; it never climbs (`..`); what the CRD accepts is what parses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from noria_operator.api.schema import Rule
from noria_operator.api.types import SUBDOMAIN

Scheme = Literal["pvc", "s3", "gs", "az", "https", "oci"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
STORES: Final[tuple[Scheme, ...]] = ("pvc", "s3", "gs", "az")
"""Where Noria also writes and lists; the others are only read, and hold models."""

_SEGMENTS: Final = "(/[A-Za-z0-9._=+@,~-]+)*/?"
_HOST: Final = r"([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?"
"""A name, never an address: its last label begins with a letter."""
_TAG: Final = "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})"
_REPOSITORY: Final = f"(/[a-z0-9]+([._-]+[a-z0-9]+)*)+{_TAG}"
_STORE: Final = f"pvc://{SUBDOMAIN}{_SEGMENTS}|(s3|gs|az)://[a-z0-9][a-z0-9._-]{{1,61}}[a-z0-9]{_SEGMENTS}"
STORE_PATTERN: Final = f"^({_STORE})$"
LOCATION_PATTERN: Final = f"^({_STORE}|https://{_HOST}{_SEGMENTS}|oci://{_HOST}{_REPOSITORY})$"
_DOTS: Final = r"/[.][.]?(/|$)"
STORE_FORMS: Final = "pvc://<claim>/<path>, or s3://, gs:// or az://<bucket>/<prefix>"
FORMS: Final = (
    "pvc://<claim>/<path>, s3://, gs:// or az://<bucket>/<prefix>, https://<host>/<path> or "
    "oci://<registry>/<repository>:<tag>"
)
_CHARACTERS: Final = "paths hold letters, digits and . _ = + @ , ~ - only"


def _schemes(schemes: tuple[Scheme, ...], forms: str) -> Rule:
    return Rule(
        cel=f"self.matches('^({'|'.join(schemes)})://')",
        message=f"must be {forms}; nothing else is allowed",
        holds=lambda uri: uri.startswith(tuple(f"{scheme}://" for scheme in schemes)),
    )


def _shape(pattern: str, forms: str, advice: str) -> Rule:
    compiled = re.compile(pattern[1:-1])
    return Rule(
        cel=f"self.matches(r'{pattern}')",
        message=f"must be {forms}; {advice}",
        holds=lambda uri: compiled.fullmatch(uri) is not None,
    )


_NO_CLIMBING: Final = Rule(
    cel=f"!self.matches(r'{_DOTS}')",
    message="must not contain the segments . or ..: write the path that is meant",
    holds=lambda uri: re.search(_DOTS.replace("$", r"\Z"), uri) is None,
)
StoreLocation = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    _schemes(STORES, STORE_FORMS),
    _shape(STORE_PATTERN, STORE_FORMS, _CHARACTERS),
    _NO_CLIMBING,
]
"""A place that is read and written: a volume or an object store."""
Location = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    _schemes(SCHEMES, FORMS),
    _shape(
        LOCATION_PATTERN,
        FORMS,
        f"{_CHARACTERS}; hosts are lower-case names, without user, password or query",
    ),
    _NO_CLIMBING,
]
"""A place that a model is read from."""


@dataclass(frozen=True)
class ParsedLocation:
    """A location in its parts; `root` is the claim, bucket, container, or host with its port; `path` has no
    slash at either end.
    """

    scheme: Scheme
    root: str
    path: str


def parse_location(uri: str) -> ParsedLocation:
    """`pvc://models/flights/` → (pvc, models, flights). Raises ValueError for other schemes."""
    scheme, _, rest = uri.partition("://")
    root, _, path = rest.partition("/")
    for known in SCHEMES:
        if scheme == known and root:
            return ParsedLocation(known, root, path.strip("/"))
    raise ValueError(f"{uri!r} is not a location: write {FORMS}")
