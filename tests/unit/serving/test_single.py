"""Requests of one row of columns are looked at all at once, and nobody can tell, but by what they lie in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noria_serving import reference
from noria_serving.columns import Row
from noria_serving.counters.recorder import Recorder
from noria_serving.protocol import large, v1, v2, v2_grpc
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferRequest
from noria_serving.protocol.inference_pb2 import ModelInferRequest
from noria_serving.protocol.raw import to_raw
from noria_serving.signature import DATATYPES, Signature, Tensor

OUTPUTS = (Tensor("y", "FP32", (-1,)),)
KINDS = {
    "a": "FP32",
    "carrier": "BYTES",
    "b": "FP32",
    "n": "INT8",
    "wide": "FP64",
    "late": "BOOL",
    "to": "BYTES",
}
ROW: dict[str, Any] = {
    "a": 0.5, "carrier": "Zürich", "b": None, "n": -7, "wide": 1e300, "late": True, "to": None,
}  # fmt: skip
FRAME = Signature(tuple(Tensor(name, kind, (-1, 1)) for name, kind in KINDS.items()), OUTPUTS)
NUMBERS = Signature(tuple(one for one in FRAME.inputs if one.datatype != "BYTES"), OUTPUTS)
FLAT = Signature(tuple(Tensor(name, kind, (-1,)) for name, kind in KINDS.items()), OUTPUTS)
BESIDE = Signature(
    (
        Tensor("vector", "FP32", (-1, 3)),
        *FRAME.inputs,
        Tensor("half", "FP16", (-1, 1)),
        Tensor("said", "BYTES", (-1,)),
    ),
    OUTPUTS,
)
VECTOR = Signature((Tensor("vector", "FP32", (-1, 3)), *FRAME.inputs, Tensor("one", "FP32", (-1,))), OUTPUTS)
OTHERS: dict[str, Any] = {"vector": [0.5, 1.0, None], "half": [2.5], "said": ["so"]}
"""Data of the tensors that stand beside the columns."""
Decode = Callable[[Signature], InferRequest]


def entries(**changes: Any) -> list[dict[str, Any]]:
    """Of V2, in JSON; `changes`: other members of the entries by name, or None to leave one out."""
    whole = [
        {"name": name, "shape": [1], "datatype": KINDS[name], "data": [value]} for name, value in ROW.items()
    ]
    return [one | changes.get(one["name"], {}) for one in whole if changes.get(one["name"], {}) is not None]


def body(inputs: Any) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


def piece(name: str, value: Any) -> bytes:
    filled = value if value is not None else "" if KINDS[name] == "BYTES" else np.nan
    return to_raw(np.array([filled], DATATYPES[KINDS[name]]), KINDS[name])


def behind(
    pieces: dict[str, bytes], tail: bytes = b"", more: Sequence[dict[str, Any]] = (), **changes: Any
) -> Decode:
    """With binary tensors, and `more` that have none."""
    heads = [
        {
            "name": name, "shape": [1, 1], "datatype": KINDS[name],
            "parameters": {"binary_data_size": len(data)},
        } | changes.get(name, {})
        for name, data in pieces.items()
    ]  # fmt: skip
    head = body([*heads, *more])
    whole = head + b"".join(pieces.values()) + tail
    return lambda signature: v2.decode(whole, signature, json_length=str(len(head)).encode())


def message(pieces: dict[str, bytes], *, shape: Sequence[int] = (1, 1), **kinds: str) -> Decode:
    request = ModelInferRequest(model_name="m")
    for name, data in pieces.items():
        request.inputs.add(name=name, datatype=kinds.get(name, KINDS[name]), shape=shape)
        request.raw_input_contents.append(data)
    return lambda signature: v2_grpc.decode(
        v2_grpc.received(request.SerializeToString()), signature, deadline=None
    )


def typed(row: dict[str, Any], *, shape: Sequence[int] = (1, 1), **said: str) -> Decode:
    """Values in the contents that their datatype has, or the datatype or the field that is `said`."""
    request = ModelInferRequest(model_name="m")
    for name, value in row.items():
        kind = said.get(name) if said.get(name) in DATATYPES else KINDS[name]
        entry = request.inputs.add(name=name, datatype=kind, shape=shape)
        told = value.encode() if isinstance(value, str) else value
        values = told if isinstance(told, list) else [told]
        field = said.get(name, kind)
        getattr(entry.contents, v2_grpc.CONTENTS.get(field, field)).extend(values)
    return lambda signature: v2_grpc.decode(
        v2_grpc.received(request.SerializeToString()), signature, deadline=None
    )


def in_json(inputs: Any) -> Decode:
    return lambda signature: v2.decode(body(inputs), signature)


def instance(row: Any) -> Decode:
    return lambda signature: v1.decode(json.dumps({"instances": [row]}).encode(), signature)


def outcome(decode: Decode, signature: Signature) -> Any:
    try:
        request = decode(signature)
    except RequestError as refused:
        return refused.status, str(refused)
    arrays = {
        name: (array.dtype, array.shape, array.flags.writeable, repr(array.tolist()))
        for name, array in request.inputs.items()
    }
    return arrays, request[1:]


def usual(signature: Signature) -> Signature:
    """The same, whose tensors are looked at one by one."""
    other = Signature(signature.inputs, signature.outputs)
    other.__dict__["columns"] = None
    return other


def others(**changes: Any) -> list[dict[str, Any]]:
    """Of V2, in JSON, of the tensors that are no columns."""
    kinds = {"vector": "FP32", "half": "FP32", "said": "BYTES"}
    shapes = {"vector": [1, 3], "half": [1, 1], "said": [1]}
    return [
        {"name": name, "shape": shapes[name], "datatype": kinds[name], "data": data} | changes.get(name, {})
        for name, data in OTHERS.items()
    ]  # fmt: skip


def vector_behind(data: bytes, columns: Sequence[dict[str, Any]]) -> Decode:
    """As clients send an embedding: its bytes after the JSON, and the columns in it."""
    first, *rest = others(vector={"parameters": {"binary_data_size": 12}})
    del first["data"]
    head = body([*columns[:3], first, *columns[3:], *rest])
    return lambda signature: v2.decode(head + data, signature, json_length=str(len(head)).encode())


def all_behind(*, backwards: bool = False, tail: bytes = b"", **changes: bytes) -> Decode:
    """As tritonclient sends it."""
    kinds = KINDS | {"vector": "FP32", "half": "FP16", "said": "BYTES"}
    pieces = {"vector": b"\0" * 12, **PIECES, "half": b"\0\0", "said": b"\2\0\0\0so", **changes}
    shapes = {"vector": [1, 3], "said": [1]}
    heads = [
        {
            "name": name, "shape": shapes.get(name, [1, 1]), "datatype": kinds[name],
            "parameters": {"binary_data_size": len(data)},
        }
        for name, data in pieces.items()
    ]  # fmt: skip
    step = -1 if backwards else 1
    head = body(heads[::step])
    whole = head + b"".join([*pieces.values()][::step]) + tail
    return lambda signature: v2.decode(whole, signature, json_length=str(len(head)).encode())


def raw_beside(**changes: bytes) -> Decode:
    request = ModelInferRequest(model_name="m")
    kinds = KINDS | {"vector": "FP32", "half": "FP16", "said": "BYTES"}
    pieces = {"vector": b"\0" * 12, **PIECES, "half": b"\0\0", "said": b"\2\0\0\0so", **changes}
    for name, data in pieces.items():
        shape = [1, 3] if name == "vector" else [1] if name == "said" else [1, 1]
        request.inputs.add(name=name, datatype=kinds[name], shape=shape)
        request.raw_input_contents.append(data)
    return lambda signature: v2_grpc.decode(
        v2_grpc.received(request.SerializeToString()), signature, deadline=None
    )


FULL = {**ROW, "b": 1.5, "to": "UA"}
PIECES = {name: piece(name, value) for name, value in ROW.items()}


def without(*names: str, of: Mapping[str, bytes] = PIECES) -> dict[str, bytes]:
    return {name: data for name, data in of.items() if name not in names}


def nested(value: Any, deep: int) -> Any:
    for _ in range(deep):
        value = [value]
    return value


TAKEN = {
    "JSON": in_json(entries()),
    "in another order": in_json(entries()[::-1]),
    "whole numbers for floats": in_json(entries(a={"data": [3]}, wide={"data": [-(2**64)]})),
    "not small": in_json(entries(a={"data": [1e38]})),
    "the largest": in_json(entries(n={"data": [127]}, a={"data": [3.4028234e38]})),
    "parameters": in_json(
        entries(a={"parameters": {}}, n={"parameters": None}, to={"parameters": {"x": [1]}})
    ),
    "a hint of what it holds": in_json([one | {"parameters": {"content_type": "np"}} for one in entries()]),
    "a size that is null": in_json(entries(a={"parameters": {"binary_data_size": None}})),
    "another float": in_json(entries(a={"datatype": "FP64"}, wide={"datatype": "FP32"})),
    "another float, and beyond its range": in_json(entries(wide={"datatype": "FP32", "data": [-1e308]})),
    "integers for floats": in_json(
        entries(a={"datatype": "INT64", "data": [2**53 + 3]}, wide={"datatype": "UINT8", "data": [255]})
    ),
    "integers for all floats": in_json(
        [
            one | {"datatype": "INT64", "data": [7]} if one["datatype"] in ("FP32", "FP64") else one
            for one in entries()
        ]
    ),
    "another integer": in_json(entries(n={"datatype": "INT64", "data": [-7]})),
    "floats for integers": in_json(entries(n={"datatype": "FP64", "data": [-7.0]})),
    "a whole number with a point": in_json(entries(n={"data": [7.0]})),
    "whole numbers with a point for floats": in_json(entries(a={"datatype": "INT64", "data": [3.0]})),
    "nested": in_json([one | {"shape": [1, 1], "data": [one["data"]]} for one in entries()]),
    "nested once more than the shape says": in_json([one | {"data": [one["data"]]} for one in entries()]),
    "a member of its own": in_json(entries(a={"note": 1})),
    "parameters, nothing behind the JSON": behind({}, more=entries(a={"parameters": {"content_type": "np"}})),
    "V1": instance(ROW),
    "a list of V1": instance([*ROW.values()]),
    "V1, a whole number with a point": instance({**ROW, "n": -7.0}),
    "binary tensors": behind(PIECES),
    "binary tensors in another order": behind(dict(reversed(PIECES.items()))),
    "binary tensors with hints": behind(
        PIECES, a={"parameters": {"content_type": "np", "binary_data_size": 4}, "note": 1}
    ),
    "binary integers for floats": behind(
        {**PIECES, "a": to_raw(np.array([2**53 + 3]), "INT64")}, a={"datatype": "INT64"}
    ),
    "binary floats for integers": behind(
        {**PIECES, "n": to_raw(np.array([7.0]), "FP64")}, n={"datatype": "FP64"}
    ),
    "binary numbers, texts in JSON": behind(
        {name: data for name, data in PIECES.items() if KINDS[name] != "BYTES"},
        more=[one for one in entries() if one["datatype"] == "BYTES"],
    ),
    "nested, some": in_json(entries(a={"data": [[0.5]]}, to={"data": [[None]]})),
    "one in JSON": behind(without("b"), more=entries()[2:3]),
    "one behind the JSON": behind({"a": PIECES["a"]}, more=entries(a=None)),
    "in four forms": behind(
        {**without("carrier", "b", "n", "wide"), "a": to_raw(np.array([0.5]), "FP64")},
        more=[
            one | {"data": [one["data"]]} if one["name"] in ("b", "n") else one
            for one in entries(a=None, late=None, to=None)
        ],
        a={"datatype": "FP64"},
    ),
    "V1, values in lists": instance({name: [value] for name, value in ROW.items()}),
    "V1, some in lists": instance({**ROW, "a": [0.5], "to": ["UA"]}),
    "gRPC": message(PIECES),
    "gRPC, another datatype": message({**PIECES, "a": b"\0\1", "n": b"\7\0"}, a="BF16", n="UINT16"),
    "gRPC in another order": message(dict(reversed(PIECES.items()))),
    "typed contents": typed(FULL),
    "typed contents, another datatype": typed({**FULL, "a": 3, "n": 7}, a="INT64", n="UINT32"),
    "typed contents, floats for integers": typed({**FULL, "n": 7.0}, n="FP64"),
    "typed contents in another order": typed(dict(reversed(FULL.items()))),
    "typed contents with NaN": typed({**FULL, "a": float("nan"), "wide": float("inf"), "to": ""}),
}
DOUBTFUL = {
    "nothing": in_json([]),
    "no list": in_json({}),
    "no objects": in_json([1] * len(KINDS)),
    "one is missing": in_json(entries(n=None)),
    "one twice": in_json([*entries(n=None), entries()[0]]),
    "one too many": in_json([*entries(), entries()[0]]),
    "another name": in_json(entries(n={"name": "m"})),
    "a name that is a list": in_json(entries(n={"name": ["n"]})),
    "half floats in JSON": in_json(entries(a={"datatype": "FP16"})),
    "integers for floats, too large": in_json(entries(a={"datatype": "INT8", "data": [128]})),
    "integers for texts": in_json(entries(to={"datatype": "INT64", "data": [3]})),
    "a datatype that is a list": in_json(entries(a={"datatype": ["FP64"]})),
    "another float, too large": in_json(entries(a={"datatype": "FP64", "data": [1e39]})),
    "another float behind the JSON": behind(PIECES, a={"datatype": "FP64"}),
    "gRPC, another float": typed({**FULL, "a": 1.0}, a="fp64_contents"),
    "an unknown datatype": in_json(entries(a={"datatype": "FP31"})),
    "parameters that are a list": in_json(entries(a={"parameters": []})),
    "parameters that are a text": in_json(entries(a={"parameters": ""})),
    "parameters instead of data": in_json(
        [{k: v for k, v in one.items() if k != "data"} | {"parameters": {}} for one in entries()]
    ),
    "a size and nothing behind the JSON": in_json(entries(a={"parameters": {"binary_data_size": 4}})),
    "a size that is none": in_json(entries(a={"parameters": {"binary_data_size": "4"}})),
    "nested, some of them texts": in_json(entries(carrier={"data": [["A"]]}, to={"data": [{"A": 1}]})),
    "nested too deep": in_json([one | {"shape": [1, 1], "data": [[one["data"]]]} for one in entries()]),
    "nested, two values": in_json([one | {"data": [one["data"] * 2]} for one in entries()]),
    "nested, no value": in_json([one | {"data": [[]]} for one in entries()]),
    "nested, as many values as columns": in_json(entries(a={"data": [[1, 2]]}, b={"data": [[]]})),
    "one in JSON, too large": behind(without("n"), more=entries(n={"data": [128]})[3:4]),
    "one in JSON, two values": behind(without("b"), more=entries(b={"data": [1, 2]})[2:3]),
    "one in JSON, and a size wrong": behind({**without("b"), "a": b"\0" * 3}, more=entries()[2:3]),
    "no data": in_json([{**one, "data": None} for one in entries()]),
    "data left out": in_json(
        [{**{k: v for k, v in one.items() if k != "data"}, "x": 1} for one in entries()]
    ),
    "two values": in_json(entries(a={"data": [1, 2]})),
    "no value": in_json(entries(a={"data": []})),
    "a text for data": in_json(entries(carrier={"data": "A"})),
    "an object for data": in_json(entries(carrier={"data": {"A": 1}})),
    "two rows": in_json([one | {"shape": [2], "data": one["data"] * 2} for one in entries()]),
    "two rows in one": in_json(entries(a={"shape": [2], "data": [1, 2]})),
    "no rows": in_json([one | {"shape": [0], "data": []} for one in entries()]),
    "a shape that is true": in_json(entries(a={"shape": [True]})),
    "a shape of floats": in_json(entries(a={"shape": [1.0]})),
    "a shape of nothing": in_json(entries(a={"shape": []})),
    "a shape of three": in_json(entries(a={"shape": [1, 1, 1]})),
    "a number for a shape": in_json(entries(a={"shape": 1})),
    "a text for a shape": in_json(entries(a={"shape": "1"})),
    "a number for a text": in_json(entries(carrier={"data": [7]})),
    "a text for a number": in_json(entries(a={"data": ["7"]})),
    "true for a number": in_json(entries(n={"data": [True]})),
    "a broken number for a whole one": in_json(entries(n={"data": [7.5]})),
    "a broken float for a whole number": in_json(entries(n={"datatype": "FP64", "data": [7.5]})),
    "binary NaN for a whole number": behind({**PIECES, "n": b"\0\0\xc0\x7f"}, n={"datatype": "FP32"}),
    "null for a whole number": in_json(entries(n={"data": [None]})),
    "too large": in_json(entries(n={"data": [128]})),
    "too large for FP32": in_json(entries(a={"data": [-1e39]})),
    "an instance of lists of two": instance({name: [value, value] for name, value in ROW.items()}),
    "an instance too large": instance({**ROW, "n": 128}),
    "an instance that lacks one": instance({"a": 1}),
    "both ways": behind({"a": b"\0\0\0\0"}),
    "a size too small": behind({**PIECES, "a": b"\0\0\0"}),
    "more behind it": behind(PIECES, b"\0"),
    "less behind it": behind(PIECES, to={"parameters": {"binary_data_size": 9}}),
    "a size that is true": behind(PIECES, a={"parameters": {"binary_data_size": True}}),
    "a size below nought": behind(PIECES, a={"parameters": {"binary_data_size": -4}}),
    "no size": behind(PIECES, a={"parameters": {"size": 4}}),
    "no parameters": behind(PIECES, a={"parameters": None}),
    "data and a size": behind(PIECES, to={"data": ["A"], "parameters": {"binary_data_size": 4}}),
    "data and sizes, the first in JSON": behind(PIECES, more=entries(n=None), a={"data": [1.0]}),
    "one in JSON": behind(PIECES, to={"data": ["A"], "parameters": {}}),
    "no BOOL": behind({**PIECES, "late": b"\2"}),
    "no UTF-8": behind({**PIECES, "to": b"\1\0\0\0\xff"}),
    "two texts": behind({**PIECES, "carrier": PIECES["carrier"] * 2}),
    "binary integers, too large": behind({**PIECES, "n": b"\0\1"}, n={"datatype": "INT16"}),
    "two sizes wrong, their sum right": behind({**PIECES, "a": b"\0" * 3, "b": b"\0" * 5}),
    "gRPC, too few bytes": message({**PIECES, "wide": b""}),
    "gRPC, no UTF-8": message({**PIECES, "to": b"\1\0\0\0\xff"}),
    "gRPC, two rows": message({name: data * 2 for name, data in PIECES.items()}, shape=(2, 1)),
    "gRPC, of another shape": message(PIECES, shape=()),
    "gRPC, one is missing": message({"a": PIECES["a"]}),
    "typed contents, infinite": typed({**FULL, "a": float("-inf")}),
    "typed contents of another type": typed({**FULL, "a": 1}, a="int_contents"),
    "typed contents, two values": typed({**FULL, "a": [1.0, 2.0]}),
    "typed contents, none": typed({**FULL, "a": []}),
    "typed contents, too large": typed({**FULL, "n": 128}),
    "typed contents, no UTF-8": typed({**FULL, "to": [b"\xff"]}),
    "typed contents, two rows": typed(
        {n: [v, v] for n, v in FULL.items() if not isinstance(v, str)}, shape=(2, 1)
    ),
}

RANKS = ("JSON", "nested", "V1", "a list of V1", "binary tensors", "gRPC", "typed contents")


@pytest.mark.parametrize(
    ("case", "signature"),
    [*((case, FRAME) for case in TAKEN), *((case, FLAT) for case in RANKS)],
)
def test_a_row_is_taken_and_is_the_same(case: str, signature: Signature) -> None:
    request = TAKEN[case](signature)
    assert type(request.inputs) is Row
    assert request.rows == 1
    assert outcome(TAKEN[case], signature) == outcome(TAKEN[case], usual(signature))


TAKEN_BESIDE = {
    "JSON": in_json([*others(), *entries()]),
    "in another order": in_json([*entries()[::-1], *others()[::-1]]),
    "a vector behind the JSON": vector_behind(b"\0" * 12, entries()),
    "columns behind the JSON": behind(PIECES, more=others()),
    "all behind the JSON": all_behind(),
    "all behind the JSON in another order": all_behind(backwards=True),
    "V1": instance({**ROW, **OTHERS}),
    "gRPC": raw_beside(),
}
DOUBTFUL_BESIDE = {
    "a vector is missing": in_json([*entries(), *others()[1:]]),
    "a vector twice": in_json([*entries(), *others()[:1], *others()[:2]]),
    "a vector and no columns": in_json(others()),
    "another name": in_json([*entries(), *others(vector={"name": "v"})]),
    "a name that is a list": in_json([*entries(), *others(vector={"name": []})]),
    "no name": in_json([{}, *entries(), *others()[1:]]),
    "no object": in_json([1, *entries(), *others()[1:]]),
    "no list": in_json({}),
    "a vector too short": in_json([*entries(), *others(vector={"data": [1.0]})]),
    "a vector too large": in_json([*others(half={"data": [1e6]}), *entries()]),
    "both wrong, the column first": in_json([*entries(a={"data": ["x"]}), *others(vector={"data": []})]),
    "both wrong, the vector first": in_json([*others(vector={"data": []}), *entries(a={"data": ["x"]})]),
    "two rows of one": in_json([*entries(), *others(vector={"shape": [2, 3], "data": [1.0] * 6})]),
    "too few bytes": vector_behind(b"\0" * 8, entries()),
    "too many bytes": vector_behind(b"\0" * 13, entries()),
    "bytes, and a column of no number": vector_behind(b"\0" * 12, entries(a={"data": ["x"]})),
    "all behind the JSON, a vector too short": all_behind(vector=b"\0" * 8),
    "all behind the JSON, a column too short": all_behind(wide=b"\0" * 7),
    "all behind the JSON, and more": all_behind(tail=b"\0"),
    "V1, a vector too short": instance({**ROW, **OTHERS, "vector": [1.0]}),
    "gRPC, too few bytes": raw_beside(vector=b"\0" * 8),
    "gRPC, a column of too few bytes": raw_beside(wide=b""),
}


@pytest.mark.parametrize("case", TAKEN_BESIDE)
def test_columns_beside_other_tensors_are_taken_at_once_and_are_the_same(case: str) -> None:
    request = TAKEN_BESIDE[case](BESIDE)
    assert type(request.inputs) is Row
    assert request.rows == 1
    assert outcome(TAKEN_BESIDE[case], BESIDE) == outcome(TAKEN_BESIDE[case], usual(BESIDE))


def test_columns_beside_a_vector_so_long_that_its_body_is_large_are_taken_at_once() -> None:
    names = [one for one in KINDS if KINDS[one] in ("FP32", "FP64")]
    columns = [one | {"data": [1e-3]} for one in entries() if one["name"] in names]
    columns[0] |= {"shape": [1, 1], "data": [[1e-3]]}
    vector = {"name": "vector", "shape": [1, 4096], "datatype": "FP32", "data": [0.25] * 4096}
    signature = Signature(
        (Tensor("vector", "FP32", (-1, 4096)), *(Tensor(one, KINDS[one], (-1, 1)) for one in names)), OUTPUTS
    )
    assert large.parse(body([vector, *columns]), len(columns) + 1) is not None
    decode = in_json([vector, *columns])
    assert type(decode(signature).inputs) is Row
    assert outcome(decode, signature) == outcome(decode, usual(signature))


@pytest.mark.parametrize("case", TAKEN_BESIDE)
def test_what_is_kept_of_a_row_is_all_of_it(case: str) -> None:
    inputs = TAKEN_BESIDE[case](BESIDE).inputs
    assert isinstance(inputs, Row)
    kept = inputs.packed()
    for name, array in inputs.items():
        found = [repr(kept.value(name, column).tolist()) for column in range(array.size)]
        assert found == [repr([value]) for value in array.reshape(-1).tolist()], name
    assert sum(array.size for array in kept.arrays) == sum(array.size for array in inputs.values())


@pytest.mark.parametrize("case", DOUBTFUL_BESIDE)
def test_whatever_is_wrong_beside_columns_gets_the_same_answer(case: str) -> None:
    expected = outcome(DOUBTFUL_BESIDE[case], usual(BESIDE))
    assert outcome(DOUBTFUL_BESIDE[case], BESIDE) == expected


@pytest.mark.parametrize("case", DOUBTFUL)
def test_whatever_is_in_doubt_is_left_to_the_usual_way(case: str) -> None:
    expected = outcome(DOUBTFUL[case], usual(FRAME))
    assert outcome(DOUBTFUL[case], FRAME) == expected
    if isinstance(expected[0], dict):
        assert type(DOUBTFUL[case](FRAME).inputs) is dict


@pytest.mark.parametrize(
    "tensors",
    [
        (Tensor("x", "FP32", (-1, 2)),),
        (Tensor("x", "FP32", (1, 1)),),
        (Tensor("x", "FP32", (-1, 1)), Tensor("y", "FP32", (-1,))),
        (Tensor("x", "FP32", (-1, 1)), Tensor("y", "FP32", (-1, 8))),
        (Tensor("x", "FP16", (-1, 1)),),
    ],
    ids=["a matrix", "one row for ever", "different dimensions", "only one beside a vector", "FP16"],
)
def test_inputs_that_are_no_columns_are_looked_at_one_by_one(tensors: tuple[Tensor, ...]) -> None:
    assert Signature(tensors, OUTPUTS).columns is None


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-130, 130),
    st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3), st.just([1]), st.just({}),
)  # fmt: skip
LIKELY = {
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.none()
    | st.integers(-(2**70), 2**70),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    "BYTES": st.text(max_size=3) | st.none(),
    "INT8": st.integers(-128, 128),
    "BOOL": st.booleans(),
}
HINTS = st.sampled_from(["content_type", "binary_data_size"])
FEW_STRANGE = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), ANY), max_size=2)


@given(
    row=st.fixed_dictionaries({name: LIKELY[kind] for name, kind in KINDS.items()}),
    strange=FEW_STRANGE,
    order=st.permutations(sorted(KINDS)),
    stated=st.dictionaries(st.sampled_from(sorted(KINDS)), st.sampled_from([*DATATYPES, "BF16", "FP31"])),
)
@example(row=ROW, strange=[], order=sorted(KINDS), stated={"a": "FP64"})
def test_any_value_becomes_the_same_or_gets_the_same_answer(
    row: dict[str, Any], strange: list[tuple[str, Any]], order: list[str], stated: dict[str, str]
) -> None:
    row, kinds = {**row, **dict(strange)}, {**KINDS, **stated}
    v2_json = in_json([{"name": n, "shape": [1, 1], "datatype": kinds[n], "data": [row[n]]} for n in order])
    for decode in (v2_json, instance(row)):
        assert outcome(decode, FRAME) == outcome(decode, usual(FRAME))


@given(
    strange=FEW_STRANGE,
    beside=st.lists(st.tuples(st.sampled_from(sorted(OTHERS)), st.lists(ANY, max_size=3) | ANY), max_size=1),
    order=st.permutations(range(len(BESIDE.inputs))),
    rows=st.dictionaries(st.sampled_from(sorted(OTHERS)), st.just([2, 3]), max_size=1),
)
@example(strange=[], beside=[], order=list(range(10)), rows={})
def test_any_value_beside_columns_becomes_the_same_or_gets_the_same_answer(
    strange: list[tuple[str, Any]],
    beside: list[tuple[str, Any]],
    order: list[int],
    rows: dict[str, list[int]],
) -> None:
    columns = entries(**{name: {"data": [value]} for name, value in strange})
    changes = {name: {"data": value} for name, value in beside}
    for name, shape in rows.items():
        changes[name] = {"shape": shape, "data": [1.0] * 6}
    both = [*columns, *others(**changes)]
    decode = in_json([both[at] for at in order])
    assert outcome(decode, BESIDE) == outcome(decode, usual(BESIDE))


@given(
    parameters=st.lists(
        st.none() | st.dictionaries(HINTS, ANY | st.just(4), max_size=2), min_size=7, max_size=7
    ),
    without=st.sets(st.integers(0, 6)),
    tail=st.none() | st.sampled_from([b"", b"\0\0\0\0"]),
    lacks=st.sets(st.integers(0, 6), max_size=1),
)
@example(parameters=[{"content_type": "np"}] * 7, without=set(), tail=None, lacks=set())
def test_any_parameters_of_tensors_change_as_much_as_in_the_usual_way(
    parameters: list[Any], without: set[int], tail: bytes | None, lacks: set[int]
) -> None:
    inputs = [one | {"parameters": said} for one, said in zip(entries(), parameters, strict=True)]
    inputs = [
        {
            k: v
            for k, v in one.items()
            if not ((k == "parameters" and at in without) or (k == "data" and at in lacks))
        }
        for at, one in enumerate(inputs)
    ]
    head = body(inputs)
    length = None if tail is None else str(len(head)).encode()

    def decode(signature: Signature) -> InferRequest:
        return v2.decode(head + (tail or b""), signature, json_length=length)

    assert outcome(decode, FRAME) == outcome(decode, usual(FRAME))


def bytes_of(kind: str) -> st.SearchStrategy[bytes]:
    """Of one element, as a rule."""
    if kind == "BYTES":
        return st.sampled_from([b"\1\0\0\0A", b"\0\0\0\0", b""])
    size = 2 if kind == "BF16" else np.dtype(DATATYPES[kind]).itemsize
    return st.binary(min_size=size, max_size=size)


@given(
    data=st.data(),
    order=st.permutations(sorted(KINDS)),
    stated=st.dictionaries(st.sampled_from(["a", "b", "n", "wide"]), st.sampled_from([*DATATYPES, "BF16"])),
    listed=st.dictionaries(st.sampled_from(sorted(KINDS)), st.sampled_from([0, 1, 1, 2])),
)
def test_any_bytes_become_the_same_or_get_the_same_answer(
    data: st.DataObject, order: list[str], stated: dict[str, str], listed: dict[str, int]
) -> None:
    """Also beside values in JSON, each `listed` in so many lists."""
    kinds: dict[str, Any] = {name: stated.get(name, KINDS[name]) for name in order}
    pieces = {name: data.draw(bytes_of(kind)) for name, kind in kinds.items()}
    heads: dict[str, Any] = {name: {"datatype": kind} for name, kind in kinds.items()}
    values = {name: data.draw(LIKELY[KINDS[name]]) for name in listed}
    more = entries(
        **{name: heads[name] | {"data": nested(values[name], 1 + listed[name])} for name in listed}
    )
    some = behind(without(*listed, of=pieces), more=[one for one in more if one["name"] in listed], **heads)
    for decode in (behind(pieces, **heads), message(pieces, **kinds), some):
        assert outcome(decode, FRAME) == outcome(decode, usual(FRAME))


@pytest.mark.parametrize(
    "signature",
    [FRAME, NUMBERS, BESIDE, VECTOR],
    ids=["columns", "of numbers", "beside others", "beside a vector"],
)
def test_a_recorder_counts_rows_and_other_requests_together(signature: Signature) -> None:
    """In any order, and whichever came first."""
    random = np.random.default_rng(3)
    values = {
        tensor.name: random.choice(["AA", "UA"], (40, *tensor.shape[1:])).astype(object)
        if tensor.datatype == "BYTES"
        else random.uniform(0, 1.5, (40, *tensor.shape[1:])).astype(DATATYPES[tensor.datatype])
        for tensor in signature.inputs
    }
    scores = random.uniform(size=40)
    known = reference.parse(reference.build(signature, values, scores))
    apart = [{name: array[at : at + 1] for name, array in values.items()} for at in range(40)]
    rows = [raw(one, signature).inputs for one in apart]
    assert {type(one) for one in rows} == {Row}
    backwards = [dict(reversed(one.items())) for one in apart]
    totals = []
    for requests in (
        apart,
        rows,
        backwards,
        [*apart[:9], *rows[9:]],
        [*rows[:9], *backwards[9:20], *rows[20:]],
    ):
        recorder = Recorder(known)
        for at, one in enumerate(requests):
            recorder.answered(one, scores[at : at + 1])
            if at in (3, 15):
                recorder.fold()
        recorder.fold()
        totals.append(recorder.state.vector.tolist())
    assert totals[1:] == totals[:1] * 4
    assert sum(totals[0]) > 40 * len(signature.inputs)


def raw(arrays: Mapping[str, Any], signature: Signature) -> InferRequest:
    """As gRPC brings it."""
    request = ModelInferRequest(model_name="m")
    for tensor in signature.inputs:
        array = arrays[tensor.name]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array, tensor.datatype))
    return v2_grpc.decode(v2_grpc.received(request.SerializeToString()), signature, deadline=None)
