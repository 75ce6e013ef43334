"""The code of the gRPC messages, made from the .proto files beside it.

Invariant: the messages stand in a descriptor pool of their own. A user's model code that imports another
server's client, whose messages have the same names, would else end the process at its import.

    python3 -m tools.protocol [--check]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.cluster.layout import CHECKOUT

ROOT = CHECKOUT / "serving"
SOURCES = ("noria_serving/protocol/inference.proto", "noria_serving/protocol/health.proto")
_SHARED, _OWN = "_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()"


def generated() -> dict[Path, str]:
    """Path and text of every file that is made from the sources."""
    with tempfile.TemporaryDirectory(prefix="noria-protocol-") as folder:
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT), f"--python_out={folder}",
             f"--pyi_out={folder}", *SOURCES],
            check=True,
        )  # fmt: skip
        files = {
            ROOT / source.with_name(f"{source.stem}_pb2{suffix}"): source.with_name(
                f"{source.stem}_pb2{suffix}"
            )
            for source in map(Path, SOURCES)
            for suffix in (".py", ".pyi")
        }
        return {
            target: (Path(folder) / made).read_text(encoding="utf-8").replace(_SHARED, _OWN)
            for target, made in files.items()
        }


def outdated() -> list[Path]:
    """The files in the checkout that differ from what the sources say, or are missing."""
    return [
        path
        for path, text in generated().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write the files, or with --check say which ones differ."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.protocol", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    if not parser.parse_args().check:
        for path, text in generated().items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = outdated()
    for path in stale:
        sys.stderr.write(f"{path.relative_to(CHECKOUT)} differs from its .proto: run `make protocol`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
