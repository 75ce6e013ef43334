"""Evidently's figures of a reference and a current column; runs in an environment of its own.

In: JSON on stdin, `{"numbers": [reference, current], "categories": [reference, current]}`. Out: JSON.
"""

import json
import sys

import pandas as pd
from evidently.legacy.calculations import stattests
from evidently.legacy.core import ColumnType

TESTS = {
    "psi": stattests.psi_stat_test,
    "jensenshannon": stattests.jensenshannon_stat_test,
    "hellinger": stattests.hellinger_stat_test,
    "wasserstein": stattests.wasserstein_stat_test,
}

given = json.load(sys.stdin)
found = {}
for name, kind in (("numbers", ColumnType.Numerical), ("categories", ColumnType.Categorical)):
    reference, current = (pd.Series(column) for column in given[name])
    for test, measure in TESTS.items():
        if name == "numbers" or test != "wasserstein":
            found[f"{name} {test}"] = float(measure(reference, current, kind, None).drift_score)
json.dump(found, sys.stdout)
