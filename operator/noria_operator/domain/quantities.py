"""Resource quantities of Kubernetes as numbers.

Source: k8s.io/apimachinery `resource.Quantity` (decimal and binary suffixes, exponents).
"""

from __future__ import annotations

import re
from typing import Final

_SUFFIXES: Final = {
    "": 1.0,
    **{suffix: 10.0**power for suffix, power in zip("num", (-9, -6, -3), strict=True)},
    **{suffix: 1000.0**power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": 1024.0**power for power, suffix in enumerate("KMGTPE", 1)},
}
_PARTS: Final = re.compile(r"([0-9.]+)(?:([eE][+-]?[0-9]+)|([A-Za-z]*))")


def amount(quantity: str | int) -> float:
    """`500m` → 0.5, `1Gi` → 1073741824.0. Raises ValueError for what is no quantity."""
    found = _PARTS.fullmatch(str(quantity))
    if found is None or (found[3] or "") not in _SUFFIXES:
        raise ValueError(f"{quantity!r} is not a quantity such as 500m, 2 or 4Gi")
    return float(found[1] + (found[2] or "")) * _SUFFIXES[found[3] or ""]
