"""fairlearn's figures of predictions by group; runs in an environment of its own.

In: JSON on stdin, `{"truth": [...], "predicted": [...], "groups": [...]}`. Out: JSON, by metric.
"""

import json
import sys

from fairlearn import metrics

given = json.load(sys.stdin)
found = {
    name: float(
        getattr(metrics, name)(given["truth"], given["predicted"], sensitive_features=given["groups"])
    )
    for name in (
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "equal_opportunity_difference",
        "equalized_odds_difference",
    )
}
json.dump(found, sys.stdout)
