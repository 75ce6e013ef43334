"""The CRDs as the generator makes them, each made once for all tests: they only read."""

from __future__ import annotations

from functools import cache
from typing import Any

from noria_operator.api.crdgen.kinds import DEFINITIONS, Definition, crd

Json = dict[str, Any]


def made(definition: Definition) -> Json:
    """The CRD of a kind."""
    return _made(definition.plural)


def root(definition: Definition) -> Json:
    """The schema of its objects."""
    schema: Json = made(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _made(plural: str) -> Json:  # a definition has no hash
    return crd(next(one for one in DEFINITIONS if one.plural == plural))
