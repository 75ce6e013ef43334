"""What requests are made of is not taken from the kernel anew for each."""

from __future__ import annotations

import subprocess
import sys

import pytest

from noria_serving import allocator

PROGRAM = """
import resource, sys
from noria_serving import allocator

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        arrays = [bytearray(400_000) for _ in range(4)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(10)
before, kept = faults(100), allocator.keep()
faults(10)
print(before, kept, faults(100))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_large_arrays_of_one_request_serve_the_next() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kept, after = done.stdout.split()
    assert kept == "True"
    assert int(before) > 10_000, "else there is nothing to gain here"
    assert int(after) < 1_000


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep()
