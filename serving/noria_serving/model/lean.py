"""scikit-learn and skops, without what they import and a model server never uses.

In: nothing. Out: skops.io. Invariant: whoever needs what was left out gets it: it is imported then.

What each leaving out is worth, measured in a server with one small model: the list of all estimators 7 MiB
and a quarter of a second; scikit-learn's ensembles and clusters 5 MiB and a tenth of a second; numpy's
compiler and testing tools 3 MiB.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

_NOT_LOOKED_INTO: Final = ("numpy.f2py", "numpy.testing")
"""scipy and skops go through all that stands in `numpy`, and so have these imported."""
_WITHOUT: Final = ("sklearn.ensemble",)
"""skops asks for the name of a type in it, and does without where there is none; sklearn.py names it too."""
_CLUSTERS: Final = "sklearn.cluster"
"""skops asks for `Birch` in it, in order to refuse saving one: that refers to itself, and so fails anyway."""


class _Later(ModuleType):
    """Stands for a module that is imported when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def skops() -> Any:
    """The first import of skops.io."""
    for name in _NOT_LOOKED_INTO:
        package, _, short = name.rpartition(".")
        if name not in sys.modules:
            setattr(importlib.import_module(package), short, _Later(name))
    import sklearn.utils  # noqa: PLC0415  scikit-learn is slow to import

    complete = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = _none_of_them
    try:
        with _instead({**dict.fromkeys(_WITHOUT), _CLUSTERS: _clusters()}):
            return importlib.import_module("skops.io")
    finally:
        sklearn.utils.all_estimators = complete


@contextmanager
def _instead(modules: dict[str, ModuleType | None]) -> Iterator[None]:
    """Other modules under these names (None: no module), unless the real ones are there already."""
    put = {name: module for name, module in modules.items() if name not in sys.modules}
    known: dict[str, Any] = sys.modules  # where None is what the import system knows as absent
    known.update(put)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


def _clusters() -> ModuleType:
    module = ModuleType(_CLUSTERS)
    module.Birch = type("Birch", (), {})  # type: ignore[attr-defined]
    return module


def _none_of_them(type_filter: object = None) -> tuple[Any, ...]:
    return ()
