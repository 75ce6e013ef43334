"""A request to try a model with: one row in the middle of what training saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from noria_serving.reference import Bins
from noria_serving.server.service import Service
from noria_serving.signature import Tensor


def request(service: Service) -> dict[str, object]:
    """The body of an inference request; of a very large tensor only the first 1,000 values."""
    known: dict[str, list[Bins]] = defaultdict(list)
    for bins in service.loaded.reference.features:
        if bins.projection is None:
            known[bins.input].append(bins)
    return {"inputs": [_tensor(tensor, known[tensor.name]) for tensor in service.signature.inputs]}


def _tensor(tensor: Tensor, features: Sequence[Bins]) -> dict[str, object]:
    shape = [1 if size == -1 else size for size in tensor.shape]
    count = 1
    for size in shape:
        count *= size
    filler = {"BYTES": "", "BOOL": False}.get(tensor.datatype, 0)
    data: list[object] = [filler] * min(count, 1000)
    for bins in features:
        if bins.column >= len(data):
            continue
        if bins.kind == "category":
            data[bins.column] = bins.values[0] if bins.values else ""
        elif tensor.datatype != "BOOL":
            middle = bins.edges[len(bins.edges) // 2] if bins.edges else bins.low
            data[bins.column] = round(middle, 4) if tensor.datatype.startswith("FP") else round(middle)
    datatype = "FP32" if tensor.datatype == "FP16" else tensor.datatype
    return {"name": tensor.name, "shape": shape, "datatype": datatype, "data": data}
