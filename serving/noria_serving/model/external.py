"""Does an ONNX model keep tensors in other files? ONNX Runtime would read whatever file they name.

In: the bytes of a model. Out: yes or no, from protobuf's own encoding, not from what its writers usually make
of it (protobuf.dev/programming-guides/encoding; the numbers of fields are those of onnx.proto). Invariant:
every message that ONNX Runtime may take for a tensor is looked at; nothing is copied, and what nobody can
read is a ValueError.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Final

KEY: Final = b"location"
"""What the name of the file is called, in a list of keys and values."""
TENSOR: Final = "TensorProto"
EXTERNAL_DATA: Final = 13
"""That list, in a tensor."""
PARTS: Final[Mapping[str, Mapping[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR, 6: "GraphProto", 10: TENSOR, 11: "GraphProto", 22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}  # fmt: skip
"""Of each message that may hold tensors: the fields that do, and what they hold."""
_VARINT, _DOUBLE, _LENGTH, _SINGLE = 0, 1, 2, 5
"""How a field is encoded; groups, which ONNX has none of, are not read."""


def has_external(data: bytes | mmap.mmap) -> bool:
    """Whether some tensor names a file."""
    if data.find(KEY) < 0:
        return False
    messages = [("ModelProto", 0, len(data))]
    while messages:
        kind, at, end = messages.pop()
        while at < end:
            tag, at = _number(data, at, 5)
            field, form = (tag & 0xFFFFFFFF) >> 3, tag & 7
            if form == _VARINT:
                _, at = _number(data, at, 10)
            elif form == _LENGTH:
                length, begin = _number(data, at, 5)
                at = begin + length
                if kind == TENSOR and field == EXTERNAL_DATA:
                    return True
                if field in PARTS[kind]:
                    messages.append((PARTS[kind][field], begin, at))
            elif form in (_DOUBLE, _SINGLE):
                at += 8 if form == _DOUBLE else 4
            else:
                raise ValueError(f"a field is encoded as {form}")
        if at != end:
            raise ValueError("a field is longer than what it stands in")
    return False


def _number(data: bytes | mmap.mmap, at: int, most: int) -> tuple[int, int]:
    """(a number of up to so many bytes, where it ends); seven bits a byte, the lowest first."""
    number = 0
    for place, byte in enumerate(data[at : at + most]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number does not end")
