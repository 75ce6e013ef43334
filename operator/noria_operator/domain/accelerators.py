"""Which resources of Kubernetes are accelerators, and how many one asks for.

Comes in: the name of a resource and its quantity. Goes out: devices, the whole ones that it stands for.
Extended resources are called as their device plugins like: NVIDIA's `gpu`, time slices `gpu.shared` and MIG
profiles `mig-3g.20gb`, AMD's `gpu`, Intel's `i915` and `xe`, Google's `tpu`, Amazon's `neuron`, Habana's
`gaudi`, Huawei's `Ascend910`. Invariants: a MIG profile is its sevenths of a device, however large its
memory; a time slice counts as a whole device, since nobody says how many share one; amounts of memory, of
cores or of time of a device, and devices of other kinds (networks, FUSE), count nothing.
"""

from __future__ import annotations

import re
from typing import Final

from noria_operator.domain.quantities import amount

_KINDS: Final = re.compile(r"v?gpu|tpu|npu|mlu|gcu|dcu|neuron|gaudi|ascend|i915|xe$|qaic|mig-")
_SHARES: Final = re.compile(r"mem|percent|milli|gpu[-_.]?cores?")
"""Parts of devices that some plugins count beside them."""
_MIG: Final = re.compile(r"mig-(\d+)g\.")
_SLICES: Final = 7


def accelerators(name: str, quantity: str | int) -> float:
    """Devices that so much of this resource is; 0 for what is no accelerator."""
    domain, _, device = name.lower().rpartition("/")
    if not domain or domain.endswith("kubernetes.io") or _SHARES.search(device) or not _KINDS.search(device):
        return 0.0
    profile = _MIG.match(device)
    return amount(quantity) * (int(profile[1]) / _SLICES if profile else 1)
