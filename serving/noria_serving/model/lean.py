"""scikit-learn and skops, without what they import and a model server never uses.

In: nothing. Out: skops.io. Invariant: whoever needs what was left out gets it: it is imported then.

What each leaving out is worth, measured in a server with one small model: the list of all estimators 7 MiB
and a quarter of a second; scikit-learn's ensembles and clusters 5 MiB and a tenth of a second, its trees (and
neighbours, which those import) 3 MiB; numpy's compiler and testing tools 3 MiB; scipy's solver of linear
programs 3 MiB. Finding all functions of numpy and scipy at once is worth a quarter of a second.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, Final

import numpy as np

_NOT_LOOKED_INTO: Final = ("numpy.f2py", "numpy.testing")
"""scipy and skops go through all that stands in `numpy`, and so have these imported."""
_WITHOUT: Final = ("sklearn.ensemble",)
"""skops asks for the name of a type in it, and does without where there is none; sklearn.py names it too."""
_NAMED: Final = {"sklearn.cluster": "Birch", "sklearn.tree._tree": "Tree"}
"""Types that skops asks for. Of `Birch` in order to refuse saving one: that refers to itself, and so fails
anyway. Of `Tree` it takes the name alone to load one, and needs the type to save one: see `whole`."""
_CALLED: Final = {"scipy.optimize._linprog_highs": "_linprog_highs", "scipy.optimize._milp": "milp"}
"""Functions that no prediction calls, with which the solver comes."""


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
    with _instead({name: _function(name, _CALLED[name]) for name in _CALLED}):
        import sklearn.utils  # noqa: PLC0415  scikit-learn is slow to import

    with ExitStack() as during:

        def none_of_them(type_filter: object = None) -> tuple[Any, ...]:
            """skops asks for all estimators just before it looks for the modules of functions."""
            utils: Any = sys.modules["skops.io._utils"]
            during.enter_context(_put(utils, "whichmodule", _functions_by(utils.whichmodule)))
            return ()

        during.enter_context(_put(sklearn.utils, "all_estimators", none_of_them))
        types = {name: _type(name, _NAMED[name]) for name in _NAMED}
        during.enter_context(_instead(dict.fromkeys(_WITHOUT) | types))
        return importlib.import_module("skops.io")


def whole() -> Any:
    """skops.io for who saves a model: with all types that it treats apart."""
    known = sys.modules.get("skops.io._sklearn")
    if known is not None and known.Tree is not importlib.import_module("sklearn.tree._tree").Tree:
        for name in [name for name in sys.modules if name.partition(".")[0] == "skops"]:
            del sys.modules[name]
    return importlib.import_module("skops.io")


def _functions_by(search: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """`search`, which gives the first module that has an object by a name (unless the object tells its own),
    with what it would find for universal functions (`scipy.special.expit`). skops asks for each of them, and
    `search` goes through all modules every time.
    """
    known: dict[tuple[str, int], str] = {}
    for name, module in list(sys.modules.items()):
        if name not in ("__main__", "__mp_main__"):
            for called, value in list(getattr(module, "__dict__", {}).items()):
                if isinstance(value, np.ufunc) and getattr(value, "__module__", None) is None:
                    known.setdefault((called, id(value)), name)
    return lambda obj, name: known.get((name, id(obj))) or search(obj, name)


@contextmanager
def _put(owner: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Another value under this name."""
    known = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, known)


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


def _type(module: str, name: str) -> ModuleType:
    """A module with a type that only has its name."""
    made = ModuleType(module)
    setattr(made, name, type(name, (), {"__module__": module}))
    return made


def _function(module: str, name: str) -> ModuleType:
    """A module with a function that is imported when it is called."""

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **named)

    made = ModuleType(module)
    setattr(made, name, call)
    return made
