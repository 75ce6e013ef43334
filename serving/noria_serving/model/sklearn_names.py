"""The names of columns in an estimator of scikit-learn's, which most estimators only check.

In: an estimator that was fitted on a DataFrame, and its signature. Out: whether its rows may come as a plain
matrix; then it has no names any more. Invariant: an estimator that selects by name, makes DataFrames between
its steps, or looks at the types of single columns keeps them, and so wants a DataFrame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.sklearn_trees import parts_of
from noria_serving.signature import Signature

_NAMES: Final = "feature_names_in_"


def numbered(estimator: Any, signature: Signature) -> Any:
    """The same estimator, without its names where its answers do not depend on them."""
    datatypes = {tensor.datatype for tensor in signature.inputs}
    everything = [vars(one) for one in parts_of(estimator)]
    try:
        named = "BYTES" in datatypes or any(
            _selects(parts)
            or _output(parts) not in (None, "default")
            or ("categories_" in parts and len(datatypes) > 1)
            for parts in everything
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NoriaError(
            Reason.MODEL_INVALID, f"the model's columns are damaged: {type(error).__name__}: {error!s:.200}"
        ) from error
    if not named:
        for parts in everything:
            parts.pop(_NAMES, None)
    return estimator


def makes_frames(estimator: Any) -> bool:
    """Whether a step of it was asked for DataFrames of pandas', whatever its rows come as."""
    return any(_output(vars(one)) == "pandas" for one in parts_of(estimator))


def _selects(parts: Mapping[str, Any]) -> bool:
    """Of a ColumnTransformer: whether a step of it has its columns by name."""
    for *_, columns in parts.get("transformers_", ()):
        ends = [columns.start, columns.stop] if isinstance(columns, slice) else columns
        if any(isinstance(end, str) for end in np.asarray(ends, dtype=object).reshape(-1).tolist()):
            return True
    return False


def _output(parts: Mapping[str, Any]) -> Any:
    """What `set_output` asked for."""
    return parts.get("_sklearn_output_config", {}).get("transform")
