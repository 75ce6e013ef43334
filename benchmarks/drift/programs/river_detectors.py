"""Where river's detectors alarm on sequences of errors, one by one; runs in an environment of its own.

In: `.npy` files of 0 and 1 as arguments. Out: JSON, `{file: {detector: [items at which it alarmed]}}`. Every
detector starts anew after an alarm, as its own documentation has it.
"""

import json
import sys

import numpy as np
from river import drift
from river.drift import binary

DETECTORS = {
    "ADWIN": drift.ADWIN,
    "Page-Hinkley": drift.PageHinkley,
    "DDM": binary.DDM,
    "EDDM": binary.EDDM,
    "HDDM_A": binary.HDDM_A,
    "HDDM_W": binary.HDDM_W,
}

found = {}
for path in sys.argv[1:]:
    errors = np.load(path).tolist()
    found[path] = {}
    for name, make in DETECTORS.items():
        detector, alarms = make(), []
        for place, error in enumerate(errors):
            detector.update(error)
            if detector.drift_detected:
                alarms.append(place)
        found[path][name] = alarms
json.dump(found, sys.stdout)
