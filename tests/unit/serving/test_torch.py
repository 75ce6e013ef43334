"""Where PyTorch is not installed; the rest is checked where it is, in tests/pytorch."""

from __future__ import annotations

import sys

import pytest

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.torch import library


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NoriaError, match=r"noria-ml\[torch\]") as caught:
        library()
    assert caught.value.reason is Reason.MISSING_DEPENDENCY
