"""The kinds of the Gateway API in a cluster that more than one gateway stands in.

Each implementation ships them in the version that it knows. Invariant: a kind never goes back to an older
version, which the API server refuses once objects of the newer one were kept; a later one has all that an
earlier implementation reads.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from tests.e2e.conftest import Program

VERSION = "gateway.networking.k8s.io/bundle-version"


def install_kinds(kubectl: Program, file: Path) -> None:
    """Apply the definitions in a file but for those that are there in a newer version."""
    there = {crd["metadata"]["name"]: _version(crd) for crd in kubectl.json("get", "crd")["items"]}
    wanted = [crd for crd in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader) if crd]
    newer = [crd for crd in wanted if _version(crd) >= there.get(crd["metadata"]["name"], (0,))]
    for crd in newer:  # one by one: together they are larger than a request may be
        kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(crd))
    kubectl("wait", "--for=condition=Established", *(f"crd/{crd['metadata']['name']}" for crd in wanted))


def _version(crd: dict[str, Any]) -> tuple[int, ...]:
    said = (crd["metadata"].get("annotations") or {}).get(VERSION, "")
    return tuple(map(int, re.findall(r"\d+", said))) or (0,)
