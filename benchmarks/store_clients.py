"""What a client of an object store costs: seconds and resident memory from import to an open store.

    python -m benchmarks.store_clients obstore|s3fs|gcsfs|adlfs

In an environment that has it (`pip install obstore s3fs gcsfs adlfs`). Nothing is sent. One client a process.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path

FSSPEC = {
    "s3fs": ("s3", {"anon": True}),
    "gcsfs": ("gs", {"token": "anon"}),
    "adlfs": ("az", {"account_name": "x"}),
}
PAGE = 4096


def resident() -> float:
    """MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def open_client(name: str) -> object:
    """A client, as a program would open it."""
    if name == "obstore":
        return import_module("obstore.store").S3Store("bucket", region="us-east-1", skip_signature=True)
    scheme, options = FSSPEC[name]
    return import_module("fsspec").filesystem(scheme, **options)


if __name__ == "__main__":
    before, started = resident(), time.perf_counter()
    open_client(sys.argv[1])
    seconds = time.perf_counter() - started
    sys.stdout.write(f"{sys.argv[1]} {seconds:.2f} s {resident() - before:.0f} MB\n")
