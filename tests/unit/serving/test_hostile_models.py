"""Model files that others load, made to harm: refused by an allow-list, under whatever name they come."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from tests.unit.serving.test_artifact import Copy, refusal, rewrite

from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model import sklearn
from noria_serving.model.formats import FORMATS

REFUSED = (Reason.FORMAT_REFUSED, Reason.MODEL_INVALID)


def _text(word: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(word)]) + word.encode()


def _by_numpy(code: str) -> bytes:
    """A pickle that names nothing but numpy, whose `__builtins__` hold `eval`."""
    get = _text("numpy") + _text("__builtins__.get") + pickle.STACK_GLOBAL
    call = pickle.TUPLE1 + pickle.REDUCE
    return pickle.PROTO + b"\x04" + get + _text("eval") + call + _text(code) + call + pickle.STOP


BY_NUMPY = _by_numpy("__import__('os').mkdir('/nonexistent/this-ran')")


def _safetensors(header: bytes, *, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + bytes(16)


def _tensors(*entries: tuple[str, int, int]) -> bytes:
    """A header as it is written, so that a name can stand in it twice."""
    said = (
        f'"{name}": {json.dumps({"dtype": "F32", "shape": [2], "data_offsets": [begin, end]})}'
        for name, begin, end in entries
    )
    return ("{" + ", ".join(said) + "}").encode()


SAFETENSORS = {
    "a header of 100 MB": _safetensors(b"{", size=100_000_000),
    "overlapping offsets": _safetensors(_tensors(("a", 0, 8), ("b", 4, 12))),
    "a key that stands twice": _safetensors(_tensors(("a", 0, 8), ("a", 8, 16))),
    "a pickle": pickle.dumps({"a": 1}),
}


def test_row_19_a_pickle_that_names_numpy_alone_is_not_read(
    matrix_bundle: Bundle, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ran = copy_of(matrix_bundle), list[str]()
    monkeypatch.setattr(os, "mkdir", ran.append)
    pickle.loads(BY_NUMPY)
    assert ran.pop() == "/nonexistent/this-ran"
    (path / "model.onnx").write_bytes(BY_NUMPY)
    for form in FORMATS:
        rewrite(path, format=form)
        assert refusal(path) in REFUSED, form
    assert ran == []


@pytest.mark.parametrize(
    ("module", "name"),
    [("numpy", "__builtins__"), ("numpy.__builtins__", "eval"), ("numpy", "__builtins__.eval")],
)
def test_row_19_a_skops_file_reaches_no_builtins_by_numpy(module: str, name: str) -> None:
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(np.sum))) as good:
        schema = json.loads(good.read("schema.json"))
    assert (schema["__module__"], schema["__class__"]) == ("numpy", "sum")
    crafted = io.BytesIO()
    with zipfile.ZipFile(crafted, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema | {"__module__": module, "__class__": name}))
    with pytest.raises(NoriaError, match="not trusted") as caught:
        sklearn.load_skops(crafted.getvalue())
    assert caught.value.reason is Reason.FORMAT_REFUSED


@pytest.mark.parametrize("content", SAFETENSORS.values(), ids=SAFETENSORS)
@pytest.mark.parametrize("form", ["safetensors", *FORMATS])
def test_row_20_safetensors_are_no_format_and_pass_for_none(
    content: bytes, form: str, matrix_bundle: Bundle, copy_of: Copy
) -> None:
    path = copy_of(matrix_bundle)
    (path / "model.onnx").rename(path / "model.safetensors")
    (path / "model.safetensors").write_bytes(content)
    rewrite(path, format=form, model="model.safetensors")
    assert refusal(path) in REFUSED
