"""NannyML's figures of a reference and a current column; runs in an environment of its own.

In: JSON on stdin, `{"numbers": [reference, current], "categories": [reference, current]}`. Out: JSON.
"""

import json
import sys

import pandas as pd
from nannyml.chunk import SizeBasedChunker
from nannyml.drift.univariate.methods import FeatureType, MethodFactory
from nannyml.thresholds import ConstantThreshold

MEASURES = {
    "numbers": ("jensen_shannon", "hellinger", "kolmogorov_smirnov", "wasserstein"),
    "categories": ("jensen_shannon", "hellinger", "l_infinity", "chi2"),
}

given = json.load(sys.stdin)
found = {}
for name, kind in (("numbers", FeatureType.CONTINUOUS), ("categories", FeatureType.CATEGORICAL)):
    reference, current = (pd.Series(column, name="x") for column in given[name])
    if name == "categories":
        reference, current = reference.astype("category"), current.astype("category")
    for measure in MEASURES[name]:
        method = MethodFactory.create(
            measure,
            kind,
            chunker=SizeBasedChunker(1000),
            threshold=ConstantThreshold(upper=0.1),
            computation_params={},
        )
        method.fit(reference)
        found[f"{name} {measure}"] = float(method.calculate(current))
json.dump(found, sys.stdout)
