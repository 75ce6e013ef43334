"""Files of scikit-learn's whose numbers lead out of arrays are refused: they ended the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, SVR, NuSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.sklearn import load_skops

ROWS = np.random.default_rng(0).integers(0, 4, size=(120, 4)).astype(float)
GAPS = np.where(ROWS == 3, np.nan, ROWS)
NAMES = ROWS.astype(int).astype(str).astype(object)
TEXTS = [" ".join(f"word{value}" for value in row) for row in NAMES]
LABELS = (ROWS[:, 0] > 1).astype(int) + (ROWS[:, 1] > 2)


TREE = ("tree", DecisionTreeClassifier(max_depth=2))
LINE = ("line", LogisticRegression())


def behind(first: Any) -> Any:
    return make_pipeline(first, LogisticRegression())


MODELS: dict[str, tuple[Any, Any]] = {
    "vectors": (SVC(), ROWS),
    "vectors of two": (NuSVC(), ROWS[LABELS < 2]),
    "vectors for numbers": (SVR(), ROWS),
    "a kernel": (SVC(kernel="precomputed"), ROWS @ ROWS.T),
    "numbers": (behind(OneHotEncoder()), ROWS),
    "gaps": (behind(OneHotEncoder(handle_unknown="ignore")), GAPS),
    "names": (behind(OneHotEncoder(drop="first")), NAMES),
    "two of names": (behind(OneHotEncoder(drop="if_binary")), NAMES),
    "rare names": (behind(OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist")), NAMES),
    "rare names less one": (behind(OneHotEncoder(max_categories=3, drop="first")), NAMES),
    "texts": (behind(TfidfVectorizer()), TEXTS),
    "neighbours": (KNeighborsClassifier(algorithm="brute"), ROWS),
    "neighbours by distances": (KNeighborsClassifier(metric="precomputed"), ROWS @ ROWS.T),
    "neighbours for gaps": (behind(KNNImputer()), GAPS),
    "centers": (KMeans(3, n_init=1), ROWS),
    "votes": (VotingClassifier([TREE, LINE]), ROWS),
    "weighed votes": (VotingClassifier([TREE, LINE], voting="soft", weights=[1, 2]), ROWS),
    "a mean": (VotingRegressor([("tree", DecisionTreeRegressor(max_depth=2))]), ROWS),
    "a judge": (StackingClassifier([TREE], LogisticRegression(), cv=2), ROWS),
}


def fitted(name: str) -> Any:
    model, rows = MODELS[name]
    return model.fit(rows, LABELS[: len(rows)] if len(rows) == len(LABELS) else LABELS[LABELS < 2])


def put(holder: Any, **values: Any) -> None:
    vars(holder).update(values)


CRAFTED: dict[str, tuple[str, Callable[[Any], None]]] = {
    "counts": ("vectors", lambda m: put(m, _n_support=m._n_support + np.int32([-(10**8), 10**8, 0]))),
    "more classes": ("vectors", lambda m: put(m, _n_support=np.r_[m._n_support, np.zeros(9, np.int32)])),
    "too few bounds": ("vectors", lambda m: put(m, _intercept_=m._intercept_[:1])),
    "too few coefficients": ("vectors", lambda m: put(m, _dual_coef_=m._dual_coef_[:, :1].copy())),
    "too few probabilities": ("vectors", lambda m: put(m, _probA=np.zeros(3), _probB=np.zeros(1))),
    "too few for numbers": (
        "vectors for numbers",
        lambda m: put(m, _dual_coef_=m._dual_coef_[:, :1].copy()),
    ),
    "too few vectors": ("vectors", lambda m: put(m, support_vectors_=np.zeros((0, 4)))),
    "a row of a kernel": ("a kernel", lambda m: put(m, support_=m.support_ + np.int32(10**8))),
    "columns": ("numbers", lambda m: put(m[0], _n_features_outs=[10**8, 14 - 10**8, 1, 1])),
    "categories out of order": (
        "numbers",
        lambda m: m[0].categories_.insert(0, m[0].categories_.pop(0)[::-1]),
    ),
    "what is dropped": ("names", lambda m: m[0]._drop_idx_after_grouping.fill(9)),
    "what is rare": ("rare names", lambda m: m[0]._default_to_infrequent_mappings[3].fill(10**8)),
    "a word": ("texts", lambda m: m[0].vocabulary_.update(word1=10**8)),
    "narrower neighbours": ("neighbours", lambda m: put(m, _fit_X=m._fit_X[:, :1].copy())),
    "a vote far away": ("votes", lambda m: put(m.estimators_[0], classes_=m.classes_ + 10**8)),
    "narrower centers": ("centers", lambda m: put(m, cluster_centers_=m.cluster_centers_[:, :1].copy())),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_scikit_learn_writes_is_taken(name: str) -> None:
    model, rows = fitted(name), MODELS[name][1]
    loaded = load_skops(skops.io.dumps(model))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


@pytest.mark.parametrize("case", CRAFTED)
def test_what_leads_out_of_an_array_is_refused(case: str) -> None:
    name, craft = CRAFTED[case]
    model = fitted(name)
    craft(model)
    with pytest.raises(NoriaError) as caught:
        load_skops(skops.io.dumps(model))
    assert caught.value.reason is Reason.MODEL_INVALID
