"""What counts as an accelerator in a budget of hours, and as how many."""

from __future__ import annotations

import pytest

from noria_operator.domain.accelerators import accelerators


@pytest.mark.parametrize(
    ("name", "quantity", "devices"),
    [
        ("nvidia.com/gpu", "2", 2),
        ("nvidia.com/gpu.shared", "1", 1),
        ("nvidia.com/mig-1g.5gb", "7", 1),
        ("nvidia.com/mig-3g.20gb", "1", 3 / 7),
        ("nvidia.com/mig-1g.10gb.me", "1", 1 / 7),
        ("amd.com/gpu", 4, 4),
        ("gpu.intel.com/i915", "1", 1),
        ("gpu.intel.com/xe", "1", 1),
        ("google.com/tpu", "8", 8),
        ("aws.amazon.com/neuron", "1", 1),
        ("aws.amazon.com/neuroncore", "2", 2),
        ("habana.ai/gaudi", "8", 8),
        ("huawei.com/Ascend910", "8", 8),
        ("volcano.sh/vgpu-number", "2", 2),
        ("volcano.sh/vgpu-memory", "8000", 0),
        ("volcano.sh/vgpu-cores", "50", 0),
        ("aliyun.com/gpu-mem", "16", 0),
        ("gpu.intel.com/millicores", "500", 0),
        ("cpu", "8", 0),
        ("memory", "1Gi", 0),
        ("hugepages-2Mi", "1Gi", 0),
        ("rdma/hca_shared_devices_a", "1", 0),
        ("vpc.amazonaws.com/efa", "4", 0),
        ("example.kubernetes.io/gpu", "1", 0),
        ("smarter-devices/fuse", "1", 0),
    ],
)
def test_devices_count_and_nothing_else(name: str, quantity: str | int, devices: float) -> None:
    assert accelerators(name, quantity) == pytest.approx(devices)
