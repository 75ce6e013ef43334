"""What else of scikit-learn's follows numbers of a file without a look at bounds: columns of sparse rows that
an encoder or a vocabulary gives, support vectors, neighbours, centers, votes.

In: an object that skops rebuilt. Out: nothing, or `ModelInvalid`. Invariant: no number leads out of the
arrays that compiled code (libsvm, SciPy's sparse rows, BLAS) reads with it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from noria_serving.model.trees import damaged

_CLASSIFIERS: Final = ("c_svc", "nu_svc")
_COMPARED: Final = frozenset({"_fit_X", "cluster_centers_"})
"""Rows that those to come are compared with: neighbours, centers."""
_TEXTS: Final = "OUS"
"""Kinds of categories that are looked up in a table, and not searched for among sorted ones."""


def check(one: Any, where: str) -> None:
    """Look at one object, not at those that it holds."""
    parts = vars(one)
    if "_n_support" in parts:
        _support(one, where)
    if "_n_features_outs" in parts:
        _encoder(one, where)
    if "le_" in parts and "voting" in parts:
        _votes(one, where)
    if isinstance(words := parts.get("vocabulary_"), dict) and set(words.values()) != set(range(len(words))):
        raise damaged(where, "its vocabulary leads out of its columns")
    for name in _COMPARED & parts.keys():
        if parts[name].shape[1:] != (one.n_features_in_,):
            raise damaged(where, f"{name} is of another width than its rows")


def _support(model: Any, where: str) -> None:
    """libsvm takes all sizes from the vectors' numbers and from how many there are of a class."""
    rows, counts = model.support_, np.asarray(model._n_support, dtype=np.int64)
    vectors, pairs = len(rows), len(counts) * (len(counts) - 1) // 2
    if model._impl in _CLASSIFIERS and (counts.min() < 0 or counts.sum() != vectors):
        raise damaged(where, "its classes have other support vectors than there are")
    if model._dual_coef_.shape != (len(counts) - 1, vectors) or model._intercept_.size != pairs:
        raise damaged(where, "it has not a coefficient for each class and support vector")
    if model._probA.size != model._probB.size or model._probA.size not in (0, pairs):
        raise damaged(where, "it has not a probability for each pair of classes")
    if model.kernel != "precomputed":
        if len(model.support_vectors_) != vectors:
            raise damaged(where, "it has not as many support vectors as it says")
    elif vectors and not 0 <= rows.min() <= rows.max() < model.shape_fit_[0]:
        raise damaged(where, "its support vectors lead out of the kernel")


def _votes(model: Any, where: str) -> None:
    """What an estimator says is counted at its place, in as many counts as the largest of them asks for."""
    places = np.arange(len(model.classes_))
    if not all(np.array_equal(voter.classes_, places) for voter in model.estimators_):
        raise damaged(where, "its estimators tell other classes apart than it does")


def _encoder(encoder: Any, where: str) -> None:
    """What a category becomes: its place, less the one that is dropped, within the columns of its feature."""
    sizes = [len(categories) for categories in encoder.categories_]
    for categories in encoder.categories_:
        if categories.dtype.kind not in _TEXTS and not np.array_equal(
            np.searchsorted(categories, categories), np.arange(len(categories))
        ):
            raise damaged(where, "its categories are not sorted")
    if encoder._infrequent_enabled:
        for number, mapping in enumerate(encoder._default_to_infrequent_mappings):
            if mapping is None:
                continue
            if len(mapping) != sizes[number] or not np.array_equal(
                np.unique(mapping), range(mapping.max() + 1)
            ):
                raise damaged(where, "its infrequent categories lead out of its columns")
            sizes[number] = int(mapping.max()) + 1
    if encoder._drop_idx_after_grouping is not None:
        for number, dropped in enumerate(encoder._drop_idx_after_grouping.tolist()):
            if dropped is not None:
                if not 0 <= dropped < sizes[number]:
                    raise damaged(where, "it drops a category that it has not")
                sizes[number] -= 1
    if list(encoder._n_features_outs) != sizes:
        raise damaged(where, "its categories lead out of its columns")
