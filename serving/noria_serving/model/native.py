"""C libraries of boosters, called without their Python packages.

`import xgboost` or `import lightgbm` brings scikit-learn, SciPy and pandas with it: 150 MB and seconds that a
prediction has no use for (docs/bundle.md has the figures). Both have a documented C interface, which is all
that serving needs. The wheel is found without being imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from noria_serving.errors import NoriaError, Reason


def open_library(package: str, stem: str) -> ctypes.CDLL:
    """The C library in the wheel of `package`, which is also the name of our extra."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, f"{package} models need: pip install 'noria-ml[{package}]'"
        )
    name = {"darwin": f"lib{stem}.dylib", "win32": f"{stem}.dll"}.get(sys.platform, f"lib{stem}.so")
    path = Path(spec.submodule_search_locations[0]) / "lib" / name
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY,
            f"{package} is installed, but its library cannot be loaded: {error}; where that is libgomp.so.1, "
            "install the OpenMP runtime of your system (Debian: libgomp1)",
        ) from error
