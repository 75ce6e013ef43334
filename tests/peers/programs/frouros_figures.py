"""frouros' figures of a reference and a current column of numbers; runs in an environment of its own.

In: JSON on stdin, `{"numbers": [reference, current]}`. Out: JSON.
"""

import json
import sys

import numpy as np
from frouros.detectors import data_drift

reference, current = (np.array(column) for column in json.load(sys.stdin)["numbers"])
found = {}
for measure in ("PSI", "EMD", "JS", "HellingerDistance"):
    detector = getattr(data_drift, measure)()
    detector.fit(X=reference)
    result, _ = detector.compare(X=current)
    found[measure] = float(result.distance)
json.dump(found, sys.stdout)
