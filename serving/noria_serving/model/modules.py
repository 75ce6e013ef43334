"""The modules and files of a `python` bundle: unpacked into scratch space, imported by their own names.

In: a verified archive. Out: a directory and the class that the manifest names. Invariants: what is imported
is what the archive holds, never a module of another bundle or of the server; `close` takes all of it out
again. It is code of the user's, and runs only where the administrator allows that.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
import threading
import zipfile
import zlib
from contextlib import suppress
from functools import cache
from importlib.machinery import all_suffixes
from importlib.metadata import packages_distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

from noria_serving import scratch
from noria_serving.errors import NoriaError, Reason

_SUFFIXES: Final = tuple(all_suffixes())
_CLASS: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Modules:
    """The code of one archive in this process; everyone who opens the same archive shares it."""

    _open: ClassVar[dict[str, Modules]] = {}
    _lock: ClassVar = threading.RLock()

    def __init__(self, folder: TemporaryDirectory[str], digest: str) -> None:
        self.directory = Path(folder.name)
        self._folder, self._digest, self._users = folder, digest, 0
        self._names = {
            path.name.partition(".")[0]
            for path in self.directory.iterdir()
            if path.name.endswith(_SUFFIXES) or any(path.rglob("*.py"))
        }

    @classmethod
    def open(cls, archive: bytes | Path, digest: str) -> Modules:
        """The modules of an archive, of which `digest` is the identity."""
        with cls._lock:
            found = cls._open.get(digest) or cls._entered(unpacked(archive), digest)
            found._users += 1
            return found

    def find(self, name: str) -> Any:
        """The class `module:Class`; raises what its module raises."""
        if not _CLASS.fullmatch(name):
            raise NoriaError(Reason.MANIFEST_INVALID, f"`class` must be module:Class, not {name!r:.200}")
        module, _, attribute = name.partition(":")
        if module.partition(".")[0] not in self._names:
            raise NoriaError(Reason.MANIFEST_INVALID, f"the archive holds no module {module!r}")
        with self._lock:
            found = getattr(importlib.import_module(module), attribute, None)
        if found is None:
            raise NoriaError(Reason.MODEL_INVALID, f"the module {module!r} has no class {attribute!r}")
        return found

    def close(self) -> None:
        """Forget the modules, once nobody uses them."""
        with self._lock:
            self._users -= 1
            if self._users or self._open.pop(self._digest, None) is None:
                return
            with suppress(ValueError):  # the code may have changed the path itself
                sys.path.remove(self._folder.name)
            for name in [name for name in sys.modules if name.partition(".")[0] in self._names]:
                del sys.modules[name]
            self._folder.cleanup()

    @classmethod
    def _entered(cls, folder: TemporaryDirectory[str], digest: str) -> Modules:
        modules = cls(folder, digest)
        try:
            modules._check_names()
        except NoriaError:
            folder.cleanup()
            raise
        sys.path.insert(0, folder.name)
        importlib.invalidate_caches()
        cls._open[digest] = modules
        return modules

    def _check_names(self) -> None:
        others = {name for modules in self._open.values() for name in modules._names}
        installed = _installed()
        for name in sorted(self._names):
            if name in others:
                raise NoriaError(
                    Reason.MODEL_INVALID,
                    f"another model of this process has a module {name!r} already, with other content: "
                    "unload that one first, or serve this one from a process of its own",
                )
            if name in sys.stdlib_module_names or name in sys.modules or name in installed:
                raise NoriaError(
                    Reason.MODEL_INVALID,
                    f"the module {name!r} of the bundle has the name of an installed one: rename it",
                )


@cache
def _installed() -> frozenset[str]:
    """Names of all modules that could be imported here without any bundle."""
    return frozenset(packages_distributions())


def unpacked(archive: bytes | Path) -> TemporaryDirectory[str]:
    """Its files in a directory of this process alone."""
    folder = scratch.directory()
    try:
        with zipfile.ZipFile(io.BytesIO(archive) if isinstance(archive, bytes) else archive) as content:
            content.extractall(folder.name)  # keeps inside the folder; more caution helps little against code
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        folder.cleanup()
        raise NoriaError(
            Reason.FORMAT_REFUSED, f"the model file is not a zip archive of modules: {error!s:.200}"
        ) from error
    except OSError as error:
        folder.cleanup()
        raise NoriaError(
            Reason.STORAGE_UNAVAILABLE,
            f"the model's files cannot be written to {folder.name}: {error.strerror}; give the pod more "
            "scratch space",
        ) from error
    return folder
