"""A library that is not installed is missed by the name of the extra that brings it. (Those of boosters:
tests/integration/server/test_boosters.py; what PyTorch does where it is: tests/pytorch.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load
from noria_serving.model.sklearn import load_skops
from noria_serving.model.torch import library


def missed(extra: str, call: Callable[[], object]) -> None:
    with pytest.raises(NoriaError, match=rf"pip install 'noria-ml\[{extra}\]'") as caught:
        call()
    assert caught.value.reason is Reason.MISSING_DEPENDENCY


def test_pytorch_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    missed("torch", library)


def test_onnx_runtime_is_missed(matrix_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    missed("onnx", lambda: load(str(matrix_bundle.path)))


def test_skops_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    import skops.io
    from sklearn.linear_model import LinearRegression

    model = skops.io.dumps(LinearRegression().fit(np.eye(2), [0, 1]))
    monkeypatch.setitem(sys.modules, "skops.io", None)
    missed("sklearn", lambda: load_skops(model))
