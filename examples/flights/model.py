"""The model: logistic regression on categories and scaled numbers, small enough to read and exact in ONNX.

In: the features to use. Out: an unfitted scikit-learn pipeline over named columns.
"""

from __future__ import annotations

from collections.abc import Collection

from examples.flights.features import CATEGORIES, DAY, FEATURES, NUMBERS
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def pipeline(*, features: Collection[str] = FEATURES, c: float = 0.3) -> Pipeline:
    """The columns of `features` that the honest model reads: all but the day of the year."""
    unknown = set(features) - set(FEATURES)
    if unknown:
        raise ValueError(f"no such features: {sorted(unknown)}; choose from {', '.join(FEATURES)}")
    categories = [name for name in CATEGORIES if name in features]
    numbers = [name for name in NUMBERS if name in features and name != DAY]
    parts = []
    if categories:
        parts.append(("categories", OneHotEncoder(handle_unknown="ignore"), categories))
    if numbers:
        parts.append(("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers))
    return make_pipeline(ColumnTransformer(parts), LogisticRegression(C=c, max_iter=300))
