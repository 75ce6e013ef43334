"""A class of the user's own behind the signature.

In: rows by input name, in any order; the class sees them read-only, in the order of the signature, as it may
join them to one matrix. Out: copies of its answers, each checked against the signature. Invariant: whatever
the class does or raises, this process gets an answer of the stated shape or an Exception.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.modules import Modules
from noria_serving.python_model import PythonModel
from noria_serving.signature import DATATYPES, Signature, Tensor

Array = NDArray[Any]
T = TypeVar("T")
LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
_DATATYPES: Final = {name: datatype for datatype, name in DATATYPES.items() if datatype != "BYTES"}
log = logging.getLogger(__name__)


class PythonBackend:
    """An object of the user's class that has loaded its files."""

    blocks: Final = True
    """Nobody knows what it waits for."""

    def __init__(
        self, model: PythonModel, signature: Signature, classes: Sequence[Any], close: Callable[[], None]
    ) -> None:
        """`close`: gives back the files and modules."""
        self.signature, self.close = signature, close
        self._model = model
        self._labels = _labels(signature, classes)

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        ordered = {tensor.name: inputs[tensor.name] for tensor in self.signature.inputs}
        rows, answer = len(next(iter(ordered.values()))), ask(self._model, ordered)
        expected = {tensor.name: tensor for tensor in self.signature.outputs}
        optional = {LABEL} if self._labels is not None else set()
        if not expected.keys() - optional <= answer.keys() <= expected.keys():
            raise ValueError(f"predict gave the outputs {list(answer)}; expected were {list(expected)}")
        given = {name: _checked(expected[name], value, rows) for name, value in answer.items()}
        if self._labels is not None and LABEL not in given:
            given[LABEL] = self._labels[given[PROBABILITIES].argmax(axis=1)]
        return [given[name] for name in expected]


def open_python(
    archive: bytes | Path, digest: str, name: str, signature: Signature, classes: Sequence[Any]
) -> PythonBackend:
    """The class `module:Class` of an archive."""
    modules = Modules.open(archive, digest)
    try:
        kind = guarded(lambda: modules.find(name), f"importing {name!r}")
        return PythonBackend(start(kind, modules.directory), signature, classes, modules.close)
    except NoriaError:
        modules.close()
        raise


def start(kind: type[PythonModel], directory: Path) -> PythonModel:
    """An object of the class, after its `load`."""
    if not (isinstance(kind, type) and issubclass(kind, PythonModel)):
        raise NoriaError(Reason.MODEL_INVALID, f"{kind!r:.200} is no subclass of noria_serving.PythonModel")
    model = guarded(kind, f"{kind.__name__}()")
    load: Callable[[Path], object] = model.load
    given = guarded(lambda: load(directory), f"{kind.__name__}.load")
    if inspect.isawaitable(given):
        getattr(given, "close", lambda: None)()  # it is never awaited, which is told here
        raise NoriaError(
            Reason.MODEL_INVALID, f"{kind.__name__}.load gave a {type(given).__name__}: make it a plain def"
        )
    return model


def guarded(call: Callable[[], T], what: str) -> T:
    """The result of code of the user's; whatever it raises becomes a NoriaError, with the traceback in the
    log.
    """
    try:
        return call()
    except NoriaError:
        raise
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except BaseException as error:  # a model does not decide when the server ends
        log.error("the model's own code failed", exc_info=error)  # noqa: TRY400
        message = f"{what} raised {type(error).__name__}: {error!s:.500}"
        raise NoriaError(Reason.MODEL_INVALID, message) from error


def missing(error: ModuleNotFoundError) -> NoriaError:
    """What to do about a module that is not here."""
    return NoriaError(
        Reason.MISSING_DEPENDENCY,
        f"the model's code imports {error.name!r}, which is not installed here: if it is a module of your "
        "own, give it to save(…, files=[…]); else build an image FROM the server's that has it, and name "
        "that image in spec.server.image and spec.evaluation.image",
    )


def ask(model: PythonModel, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """What `predict` gives, by output name."""
    try:
        answer: object = model.predict({name: _read_only(array) for name, array in inputs.items()})
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except Exception:
        raise
    except BaseException as error:  # such as SystemExit: a model does not decide when the server ends
        raise RuntimeError(f"predict raised {type(error).__name__}: {error!s:.300}") from error
    if not isinstance(answer, Mapping):
        raise TypeError(f"predict gave a {type(answer).__name__}; expected was a dict from output to array")
    return dict(answer)


def outputs_of(answer: Mapping[str, Any], rows: int, task: str, classes: Sequence[Any]) -> tuple[Tensor, ...]:
    """The outputs that an answer shows; NoriaError where a model of this task must give others."""
    tensors = {name: _tensor(name, value, rows) for name, value in answer.items()}
    if task == "regression":
        first = next(iter(tensors.values()), None)
        if first is None or first.datatype in ("BYTES", "BOOL") or first.shape not in ((-1,), (-1, 1)):
            raise NoriaError(
                Reason.MODEL_INVALID,
                f"predict of a regression must give its numbers first, of shape [rows]; it gave {first}",
            )
        return tuple(tensors.values())
    text = any(isinstance(value, str) for value in classes)
    label = Tensor(LABEL, "BYTES" if text else "INT64", (-1,))
    if tensors.keys() == {LABEL} and tensors[LABEL].shape == (-1,):
        return (label,)
    scores = tensors.get(PROBABILITIES)
    if scores is None or not scores.datatype.startswith("FP") or scores.shape != (-1, len(classes)):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"predict of a {task} model must give {PROBABILITIES!r}, floating-point numbers of shape [rows, "
            f"{len(classes)}], a column for each of {list(classes)[:20]}, or {LABEL!r} and nothing else; it "
            f"gave {scores or list(tensors)}",
        )
    return tuple({LABEL: label, **tensors}.values())


def _labels(signature: Signature, classes: Sequence[Any]) -> Array | None:
    label = next((tensor for tensor in signature.outputs if tensor.name == LABEL), None)
    if label is None or not classes or all(t.name != PROBABILITIES for t in signature.outputs):
        return None
    return np.array(classes, DATATYPES[label.datatype])


def _array(name: str, value: Any) -> Array:
    """A copy, so that a class may use its arrays again while this answer is still on its way."""
    try:
        return np.array(value)
    except ValueError as error:
        raise ValueError(f"output {name!r} is no array: {error}") from error


def _tensor(name: str, value: Any, rows: int) -> Tensor:
    array = guarded(lambda: _array(name, value), "predict")
    datatype = "BYTES" if array.dtype.kind in "OU" else _DATATYPES.get(array.dtype.name)
    if not isinstance(name, str) or not name or datatype is None or array.shape[:1] != (rows,):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"output {name!r:.100} is {array.dtype} of shape {list(array.shape)}; expected were numbers, "
            f"truth values or text with one entry for each of the {rows} rows",
        )
    return Tensor(name, datatype, (-1, *array.shape[1:]))


def _checked(tensor: Tensor, value: Any, rows: int) -> Array:
    array = _array(tensor.name, value)
    text = tensor.datatype == "BYTES"
    alike = (
        array.dtype.kind in "OU"
        if text
        else np.can_cast(array.dtype, DATATYPES[tensor.datatype], "same_kind")
    )
    shape = (rows, *tensor.shape[1:])
    if not alike or array.shape != shape or (text and not _all_text(array)):
        raise ValueError(
            f"output {tensor.name!r} is {array.dtype} of shape {list(array.shape)}; expected was "
            f"{tensor.datatype} of shape {list(shape)}"
        )
    given = array.astype(DATATYPES[tensor.datatype], copy=False)
    if given.dtype.kind in "iu" and (lost := given != array).any():
        raise ValueError(f"output {tensor.name!r} holds {array[lost][0]}, which is no {tensor.datatype}")
    return given


def _all_text(array: Array) -> bool:
    return all(isinstance(value, str) for value in array.reshape(-1).tolist())


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
