"""Files of scikit-learn's whose trees lead out of themselves are refused: they ended the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.sklearn import load_skops

ROWS = np.random.default_rng(0).integers(0, 4, size=(120, 4)).astype(float)
LABELS = (ROWS[:, 0] > 1).astype(int) + (ROWS[:, 1] > 2)

MODELS: dict[str, Callable[[], Any]] = {
    "a tree": lambda: DecisionTreeClassifier(ccp_alpha=0.01),
    "a forest": lambda: RandomForestClassifier(3),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=2),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5),
    "parts of the features": lambda: BaggingClassifier(DecisionTreeClassifier(), 3, max_features=0.5),
    "a boosted tree": lambda: AdaBoostClassifier(n_estimators=3),
    "more features than columns": lambda: make_pipeline(OneHotEncoder(), RandomForestClassifier(3)),
    "begun otherwise": lambda: GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
    "begun at zero": lambda: GradientBoostingClassifier(n_estimators=2, init="zero"),
    "no tree": LogisticRegression,
}


def fitted(name: str) -> Any:
    return MODELS[name]().fit(ROWS, LABELS)


def nodes(tree: Any, **values: int) -> None:
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    for field, value in values.items():
        state["nodes"][field][0] = value
    tree.__setstate__(state)


def histogram(model: Any, **values: int) -> None:
    for field, value in values.items():
        model._predictors[0][0].nodes[field][0] = value


def rootless(tree: Any) -> None:
    state = tree.__getstate__()
    tree.__setstate__(
        state | {"nodes": state["nodes"][:0].copy(), "values": state["values"][:0].copy(), "node_count": 0}
    )


def rootless_histogram(model: Any) -> None:
    model._predictors[0][0].nodes = model._predictors[0][0].nodes[:0].copy()


def narrowed(model: Any) -> None:
    """Rows have fewer columns when they come to the trees."""
    model._preprocessor = VarianceThreshold().fit(ROWS * [1, 0, 0, 0])


def nested(model: Any) -> None:
    """What one begins with begins with too few numbers itself, which is not to be found out by asking it."""
    inner = fitted("gradient boosting")
    inner.init_ = DummyClassifier().fit(ROWS, np.zeros(len(ROWS)))
    model.init_ = inner


def widest(model: Any) -> None:
    """More columns than there is memory for."""
    model.n_features_in_ = 10**12
    for holder in model.estimators_.reshape(-1).tolist():
        state, holder.n_features_in_ = holder.tree_.__getstate__(), 10**12
        holder.tree_ = Tree(10**12, np.array([1]), 1)
        holder.tree_.__setstate__(state)


def only_first_output(model: Any) -> None:
    model.estimators_ = model.estimators_[:, :1]


def wider(model: Any) -> None:
    """Trees of other rows than those that they get."""
    other = GradientBoostingClassifier(n_estimators=2).fit(np.hstack([ROWS, ROWS]), LABELS)
    model.estimators_ = other.estimators_


CRAFTED: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a child": ("a tree", lambda model: nodes(model.tree_, left_child=10**9)),
    "the other child": ("a tree", lambda model: nodes(model.tree_, right_child=-7)),
    "a circle": ("a tree", lambda model: nodes(model.tree_, left_child=0)),
    "a feature": ("a tree", lambda model: nodes(model.tree_, feature=4)),
    "a width": ("a tree", lambda model: setattr(model, "n_features_in_", 1)),
    "one of a forest": ("a forest", lambda model: nodes(model.estimators_[1].tree_, left_child=10**9)),
    "within a pipeline": (
        "more features than columns",
        lambda model: nodes(model[-1].estimators_[0].tree_, left_child=10**9),
    ),
    "one that is boosted": (
        "gradient boosting",
        lambda model: nodes(model.estimators_[0, 0].tree_, feature=4),
    ),
    "wider rows": ("gradient boosting", wider),
    "a tree without a root": ("a tree", lambda model: rootless(model.tree_)),
    "a first estimator of one class": (
        "gradient boosting",
        lambda model: setattr(model, "init_", DummyClassifier().fit(ROWS, np.zeros(len(ROWS)))),
    ),
    "a first estimator with another": ("gradient boosting", nested),
    "histograms without a root": ("histograms", rootless_histogram),
    "narrower rows for histograms": ("histograms", narrowed),
    "more columns than memory": ("gradient boosting", widest),
    "too few outputs": ("gradient boosting", only_first_output),
    "a child of histograms": ("histograms", lambda model: histogram(model, left=10**6)),
    "a feature of histograms": ("histograms", lambda model: histogram(model, feature_idx=4)),
    "a category": ("histograms", lambda model: histogram(model, is_categorical=1)),
    "categories": ("histograms", lambda model: model._bin_mapper.is_categorical_.fill(1)),
    "a part that is missing": ("histograms", lambda model: delattr(model, "_bin_mapper")),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_scikit_learn_writes_is_taken(name: str) -> None:
    model = fitted(name)
    loaded = load_skops(skops.io.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(ROWS), model.predict_proba(ROWS))


@pytest.mark.parametrize("case", CRAFTED)
def test_what_leads_out_of_a_tree_is_refused(case: str) -> None:
    name, craft = CRAFTED[case]
    model = fitted(name)
    craft(model)
    with pytest.raises(NoriaError) as caught:
        load_skops(skops.io.dumps(model))
    assert caught.value.reason is Reason.MODEL_INVALID
