"""Large bodies are parsed another way, and nobody can tell."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving.protocol import large
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.v2 import decode
from noria_serving.signature import Signature, Tensor

MATRIX = Signature((Tensor("x", "FP32", (-1, 2)),), (Tensor("y", "FP32", (-1,)),))
COLUMNS = Signature(
    (Tensor("a", "FP64", (-1, 1)), Tensor("b", "FP16", (-1, 1)), Tensor("n", "INT64", (-1, 1))),
    (Tensor("y", "FP32", (-1,)),),
)


def text(data: str, *, shape: str = "[2, 2]", datatype: str = "FP32", more: str = "") -> str:
    return (
        f'{{{more}"inputs": [{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "data": {data}}}]}}'
    )


TAKEN = {
    "flat": text("[1, 2, 3.5, -4e-3]"),
    "rows": text("[[1, 2], [3.5, -0.0]]"),
    "one row": text("[[1, 2]]", shape="[1, 2]"),
    "the largest whole numbers": text("[18446744073709551615, -9223372036854775808, 9007199254740993, 0]"),
    "the smallest numbers": text("[5e-324, 2.2250738585072014e-308, 1e-400, 1.17549429e-38]"),
    "doubles that are no floats": text("[0.1, 16777217, 1.00000017881393432617187499, 3.4e38]"),
    "beyond FP32": text("[1e39, 0, 0, 0]"),
    "more members": text("[1, 2, 3, 4]", more='"id": "q", "outputs": [{"name": "y"}], '),
    "parameters": text("[1, 2, 3, 4]", more='"parameters": {"timeout": 0, "a": [[1], {"b": []}]}, '),
    "spaces": "{ " + text("[ [1,\n2] ,\t[3, 4]]")[1:] + "  \r\n",
    "a negative shape": text("[1, 2, 3, 4]", shape="[-2, -2]"),
    "an unknown name": text("[1, 2, 3, 4]").replace('"x"', '"z"'),
    "twice": text("[1, 2, 3, 4]").replace(
        "]}]}", ']}, {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'
    ),
}
DOUBTFUL = {
    "too few": text("[1, 2, 3]"),
    "rows too long": text("[[1, 2, 3], [4]]"),
    "deeper": text("[[1, 2], [3, [4]]]"),
    "deeper, in a flat list": text("[1, 2, 3, [4]]"),
    "nothing in it": text("[[], 1, 2, 3, 4]"),
    "empty": text("[]", shape="[0, 2]"),
    "three dimensions": text("[[[1, 2]], [[3, 4]]]", shape="[2, 1, 2]"),
    "null": text("[1, null, 3, 4]"),
    "true": text("[1, true, 3, 4]"),
    "text": text('[1, "2", 3, 4]'),
    "text for rows": text('["ab", "cd"]'),
    "an object": text('[1, {"a": 2}, 3, 4]'),
    "no list": text("7"),
    "a number for inputs": '{"inputs": 7}',
    "too large for 64 bits": text("[18446744073709551616, 0, 0, 0]"),
    "beyond FP64": text("[1e999, 0, 0, 0]"),
    "a name twice": text("[1, 2, 3, 4]").replace('"data"', '"data": [9, 9, 9, 9], "data"'),
    "inputs twice": text("[1, 2, 3, 4]", more='"inputs": [], '),
    "an escape": text("[1, 2, 3, 4]", more='"id": "\\ud800", '),
    "brackets in a text": text("[1, 2, 3, 4]", more='"id": "[", '),
    "whole numbers": text("[1, 2, 3, 4]", datatype="INT64"),
    "half": text("[1, 2, 3, 4]", datatype="FP16"),
    "a shape of words": text("[1, 2, 3, 4]", shape='["2", 2]'),
    "no shape": text("[1, 2, 3, 4]", shape="null"),
    "a shape that is true": text("[1, 2]", shape="[true, 2]"),
    "a huge shape": text("[1, 2]", shape="[4294967296, 4294967296]"),
    "not JSON": text("[1, 2, 03, 4]"),
    "cut off": text("[1, 2, 3, 4]")[:-1],
    "more behind it": text("[1, 2, 3, 4]") + "{}",
    "a byte order mark": "\ufeff" + text("[1, 2, 3, 4]"),
    "a control character": text("[1, 2, 3, 4]", more='"id": "\x01", '),
    "a list": "[" + text("[1, 2, 3, 4]") + "]",
    "deep": text("[" * 2000 + "1" + "]" * 2000),
    "deep elsewhere": text("[1, 2, 3, 4]", more='"parameters": ' + '{"a": [' * 700 + "]}" * 700 + ", "),
}  # fmt: skip


def outcome(content: bytes, signature: Signature) -> Any:
    try:
        request = decode(content, signature)
    except RequestError as refused:
        return refused.status, str(refused)
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in request.inputs.items()}
    return arrays, request[1:]


def both(monkeypatch: pytest.MonkeyPatch, content: bytes, signature: Signature) -> tuple[Any, Any]:
    """(what becomes of it when it counts as large, and otherwise)."""
    monkeypatch.setattr(large, "LARGE", 0)
    monkeypatch.setattr(large, "EACH", 0)
    alike = outcome(content, signature)
    monkeypatch.setattr(large, "LARGE", 1 << 40)
    return alike, outcome(content, signature)


@pytest.mark.parametrize("case", TAKEN)
def test_numbers_are_taken_and_are_the_same(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    content = TAKEN[case].encode()
    monkeypatch.setattr(large, "LARGE", 0)
    assert large.parse(content) is not None
    one, other = both(monkeypatch, content, MATRIX)
    assert one == other


@pytest.mark.parametrize("case", DOUBTFUL)
def test_whatever_is_in_doubt_is_left_to_the_usual_way(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    content = DOUBTFUL[case].encode()
    monkeypatch.setattr(large, "LARGE", 0)
    assert large.parse(content) is None
    one, other = both(monkeypatch, content, MATRIX)
    assert one == other


def test_columns_of_floats_are_taken_for_whatever_the_model_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"name": name, "shape": shape, "datatype": "FP64", "data": data}
        for name, shape, data in (("b", [2], [7e4, 1.0001]), ("a", [2, 1], [[0.1], [2]]), ("n", [2], [1, 2]))
    ]
    for inputs in (entries, [{**entries[0], "data": [6e4, 1.0001]}, entries[1]]):
        content = json.dumps({"inputs": inputs}).encode()
        one, other = both(monkeypatch, content, COLUMNS)
        assert one == other


def test_small_bodies_are_not_looked_at_twice() -> None:
    assert large.parse(TAKEN["flat"].encode()) is None


def test_what_is_small_for_so_many_inputs_is_not_looked_at_twice() -> None:
    content = text(str([[1.5, 2.5]] * 3000), shape="[3000, 2]").encode()
    room = (len(content) - large.LARGE) // large.EACH
    assert large.parse(content, 1 + room) is not None
    assert large.parse(content, 2 + room) is None


def test_more_than_is_kept_is_parsed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "KEPT", 0)
    monkeypatch.setattr(large, "LARGE", 0)
    document = large.parse(TAKEN["rows"].encode())
    assert document is not None
    assert document["inputs"][0]["data"].tolist() == [1, 2, 3.5, 0]


pieces = st.one_of(
    st.sampled_from([*'[]{}",:. \\tfn-eE019', "null", "true", "[[", "]]", "],[", "1e5", '"data"', "\x00"]),
    st.floats().map(repr),
    st.integers(-(2**65), 2**65).map(str),
)  # fmt: skip


@given(
    case=st.sampled_from(sorted(TAKEN)),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), pieces), max_size=3),
)
def test_a_body_with_mistakes_in_it_gets_the_same_answer(
    case: str, edits: list[tuple[int, int, str]]
) -> None:
    content = TAKEN[case]
    for at, length, piece in edits:
        content = content[:at] + piece + content[at + length :]
    with pytest.MonkeyPatch.context() as patch:
        one, other = both(patch, content.encode(), MATRIX)
    assert one == other


@given(
    rows=st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=9)
)
def test_every_number_is_the_same_to_the_last_bit(rows: list[tuple[float, float]]) -> None:
    wide = Signature((Tensor("x", "FP64", (-1, 2)),), MATRIX.outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "LARGE", 0)
        content = text(json.dumps(rows), shape=f"[{len(rows)}, 2]", datatype="FP64").encode()
        assert decode(content, wide).inputs["x"].tobytes() == np.array(rows).tobytes()
