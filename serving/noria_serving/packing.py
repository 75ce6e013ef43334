"""From a class of the user's own to the archive of a `python` bundle.

In: a subclass of PythonModel, and paths of further files. Out: a zip archive that holds the class's module
(its whole package, where it stands in one) and the files, all at the top, with a signature that the class's
own answers gave. Invariant: equal files give equal bytes, because the digest of a bundle is its identity.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from noria_serving.conversion import Converted, inputs_of
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.modules import unpacked
from noria_serving.model.python import PythonBackend, ask, guarded, outputs_of, start
from noria_serving.python_model import PythonModel
from noria_serving.signature import Signature

Array = NDArray[Any]
File = str | os.PathLike[str]
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_SAMPLE: Final = 8
"""Rows of the answer that shows what the outputs are."""


def is_own(model: Any) -> bool:
    """Whether a class of the user's own is handed over; an object of one is refused."""
    if isinstance(model, PythonModel):
        raise NoriaError(
            Reason.DATA_INVALID,
            f"hand over the class {type(model).__name__}, not an object of it: what the object has read goes "
            "into files=, and load reads it again",
        )
    return isinstance(model, type) and issubclass(model, PythonModel)


def packed(
    kind: type[PythonModel],
    files: Sequence[File],
    arrays: Mapping[str, Array],
    task: str,
    classes: Sequence[Any],
) -> Converted:
    """The archive, and an object of the class that has loaded from it; `arrays` are the training rows."""
    data = archive([_module(kind), *map(Path, files)])
    folder = unpacked(data)
    try:
        model = start(kind, Path(folder.name))
        sample = {name: array[:_SAMPLE] for name, array in arrays.items()}
        rows = len(next(iter(sample.values())))
        answer = guarded(lambda: ask(model, sample), f"{kind.__name__}.predict")
        signature = Signature(inputs_of(arrays, "FP64"), outputs_of(answer, rows, task, classes))
    except NoriaError:
        folder.cleanup()
        raise
    backend = PythonBackend(model, signature, classes, folder.cleanup)
    return Converted("python", data, backend, None, about={"class": f"{kind.__module__}:{kind.__name__}"})


def archive(paths: Sequence[Path]) -> bytes:
    """Files and folders, each at the top by its own name; caches and hidden files stay out."""
    members: dict[str, Path] = {}
    for path in paths:
        for name, file in _files(path):
            if members.setdefault(name, file).resolve() != file.resolve():
                raise NoriaError(Reason.DATA_INVALID, f"files: {members[name]} and {file} have the same name")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as content:
        for name, file in sorted(members.items()):
            content.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes())
    return target.getvalue()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
        return
    if not path.is_dir():
        raise NoriaError(Reason.NOT_FOUND, f"files: there is no {path}")
    folder = path.absolute()
    for file in folder.rglob("*"):
        parts = (folder.name, *file.relative_to(folder).parts)
        if file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield "/".join(parts), file


def _module(kind: type) -> Path:
    """The file of the class's module, or the folder of the outermost package that it stands in."""
    top, inner, _ = kind.__module__.partition(".")
    if top == "__main__" or kind.__qualname__ != kind.__name__:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"{kind.__qualname__} cannot be imported elsewhere: put it at the top of a module of its own, "
            "for example model.py, and import it from there",
        )
    file = Path(inspect.getfile(kind)).resolve()
    roots = [Path(place).resolve() for place in getattr(sys.modules[top], "__path__", ())] if inner else []
    return next((root for root in roots if root in file.parents), file)
