"""`python -m noria_operator.api.crdgen [--check] [--root DIR]`: write the generated files, or compare them.

Exit status 1 with `--check` when a file differs, is missing, or stands there although nothing makes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from noria_operator.api.crdgen.files import generated_files

_FOLDERS = ("crds", "charts/noria/templates/crds", "docs/api")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="crdgen", description="Generate the CRDs and their reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: here)")
    options = parser.parse_args(arguments)
    stale = outdated(options.root)
    if not options.check:
        write(options.root)
        return 0
    for path in stale:
        sys.stderr.write(f"{path} differs from the models: run `make crds`\n")
    return 1 if stale else 0


def outdated(root: Path) -> list[str]:
    """Paths whose text differs from what the models say, that are missing, or that nothing generates."""
    files = generated_files()
    differing = [str(path) for path, text in files.items() if not _equals(root / path, text)]
    known = {str(path) for path in files}
    found = {path.relative_to(root).as_posix() for folder in _FOLDERS for path in (root / folder).glob("*.*")}
    return sorted({*differing, *(found - known)})


def write(root: Path) -> None:
    """Write every generated file and remove what nothing generates any more."""
    for name in outdated(root):
        (root / name).unlink(missing_ok=True)
    for path, text in generated_files().items():
        target = root / path
        if not _equals(target, text):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")


def _equals(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())
