"""From a PyTorch module to a file that can be served.

In: a torch.nn.Module that takes one table of numbers, and rows. Out: ONNX where the exporter manages it and
the answers on the rows agree (as for estimators, see conversion.py); otherwise an exported program, and why.
Invariant: neither holds rows, nor paths of the machine where it was made.
"""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.conversion import PARITY, Converted, cast, difference, inputs_of, steady, timed
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.onnx import OnnxModel
from noria_serving.model.tabular import Answer, Encoding, Table
from noria_serving.model.torch import TorchModel, library
from noria_serving.signature import DATATYPES, Signature, Tensor

Array = NDArray[Any]
SUM_ERROR: Final = 1e-3
"""How far the probabilities of a row may be from 1 together."""
log = logging.getLogger(__name__)


def is_module(model: Any) -> bool:
    """Whether a PyTorch module is handed over."""
    return any(kind.__module__ == "torch.nn.modules.module" for kind in type(model).__mro__)


def traced(model: Any, sample: Mapping[str, Array], task: str, classes: Sequence[Any]) -> Converted:
    """The best form of the module; on `sample`, rows of numbers, both forms are compared and timed."""
    torch = library()
    model = copy.deepcopy(model).cpu().eval()
    signature = _signature(torch, model, sample, task, classes)
    rows = torch.tensor(_table(signature)(cast(sample, signature)))

    def answered(some: Any) -> Array:
        with torch.inference_mode():
            return np.asarray(model(some))

    expected = Answer(signature, task, classes)(_checked(answered(rows), task, classes))
    try:
        best = _as_onnx(torch, model, signature, sample, classes)
        parity = difference(best.backend.predict(cast(sample, signature)), expected)
        best = replace(best, parity=parity)
        reason = "" if parity <= PARITY else f"answers differ by {parity:.2g}"
    except Exception as error:  # the exporter raises kinds of its own; the exported program is always there
        reason = steady(error) or type(error).__name__
    if reason:
        log.warning("module is not converted to ONNX: %s", reason)
        data = _exported(torch, model, rows)
        backend = TorchModel(data, signature, task, classes=classes)
        best = Converted("torch", data, backend, None, reason)
    return timed(best, sample, lambda: answered(rows[:1]))


def _signature(
    torch: Any, model: Any, arrays: Mapping[str, Array], task: str, classes: Sequence[Any]
) -> Signature:
    text = [name for name, array in arrays.items() if array.dtype.kind == "O"]
    if text:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"a PyTorch module takes one table of numbers, and these columns hold text: {text[:9]}; encode "
            "them before, or serve a class of your own that does",
        )
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if kind not in (torch.float32, torch.float64):
        raise NoriaError(
            Reason.MODEL_INVALID, f"the module's parameters are {kind}: hand over module.float(), or double()"
        )
    precision = "FP64" if kind == torch.float64 else "FP32"
    if task == "regression":
        return Signature(inputs_of(arrays, precision), (Tensor("prediction", precision, (-1,)),))
    label = "BYTES" if any(isinstance(value, str) for value in classes) else "INT64"
    probabilities = Tensor("probabilities", precision, (-1, len(classes)))
    return Signature(inputs_of(arrays, precision), (Tensor("label", label, (-1,)), probabilities))


def _table(signature: Signature) -> Table:
    return Table(signature, Encoding(), dtype=DATATYPES[signature.outputs[-1].datatype])


def _checked(scores: Array, task: str, classes: Sequence[Any]) -> Array:
    """What the module gave, if it is what its task promises."""
    width = scores.shape[1] if scores.ndim == 2 else 1
    if scores.ndim not in (1, 2) or width not in ((1,) if task == "regression" else (1, len(classes))):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"the module gives numbers of shape {list(scores.shape)}; a {task} model gives one number a row"
            + ("" if task == "regression" else f", or one for each of its {len(classes)} classes"),
        )
    sums = scores.reshape(len(scores), -1).sum(axis=1)
    alone = width == 1
    if task != "regression" and (
        scores.min() < 0 or scores.max() > 1 or (not alone and np.abs(sums - 1).max() > SUM_ERROR)
    ):
        last = "Sigmoid()" if alone else "Softmax(dim=1)"
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"the module gives no probabilities: hand over torch.nn.Sequential(model, torch.nn.{last})",
        )
    return scores


def _exported(torch: Any, model: Any, rows: Any) -> bytes:
    try:
        program = torch.export.export(model, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    except Exception as error:
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"torch.export cannot trace the module for any number of rows: {steady(error)}; leave Python "
            "that looks at values or at the number of rows out of forward, or serve a class of your own",
        ) from error
    program.example_inputs = None  # rows have no place in a model
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has paths
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def _as_onnx(
    torch: Any, model: Any, signature: Signature, sample: Mapping[str, Array], classes: Sequence[Any]
) -> Converted:
    columns = [torch.tensor(array[:2]) for array in cast(sample, signature).values()]
    rows = torch.export.Dim("rows")
    program = torch.onnx.export(
        _by_column(torch, model, signature),
        tuple(columns),
        input_names=[f"column_{i}" for i in range(len(columns))],
        output_names=[signature.outputs[-1].name],
        dynamic_shapes={"columns": tuple({0: rows} for _ in columns)},
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")  # traces of the stack, with paths
        part.ClearField("doc_string")
    if len(signature.outputs) == 2:
        _add_label(proto.graph, classes)
    data = proto.SerializeToString(deterministic=True)
    return Converted("onnx", data, OnnxModel(data, signature), None)


def _by_column(torch: Any, model: Any, signature: Signature) -> Any:
    """The module behind a step that puts columns side by side, and a column for each class behind it."""
    kind = getattr(torch, DATATYPES[signature.outputs[-1].datatype])
    labelled = len(signature.outputs) == 2

    class Columns(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *columns: Any) -> Any:
            scores = self.model(torch.cat([column.to(kind) for column in columns], dim=1))
            if not labelled:
                return scores.reshape(-1)
            if scores.ndim == 2 and scores.shape[1] > 1:
                return scores
            positive = scores.reshape(-1)
            return torch.stack([1 - positive, positive], dim=1)

    return Columns().eval()


def _add_label(graph: Any, classes: Sequence[Any]) -> None:
    """A first output: the class with the largest probability."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  only where a model is handed over

    text = isinstance(classes[0], str)
    labels = np.array(classes, object if text else np.int64)
    graph.initializer.append(numpy_helper.from_array(labels, "labels"))
    graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["likeliest"], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Gather", ["labels", "likeliest"], ["label"]))
    kind = TensorProto.STRING if text else TensorProto.INT64
    graph.output.insert(0, helper.make_tensor_value_info("label", kind, ["rows"]))
