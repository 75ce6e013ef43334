"""What a model predicts, as its manifest and its servers tell it."""

from __future__ import annotations

from typing import Final

BINARY: Final = "binary"
MULTICLASS: Final = "multiclass"
REGRESSION: Final = "regression"
