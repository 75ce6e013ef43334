"""NannyML's estimates on its own data, and the data; runs in an environment of its own.

In: nothing. Out: JSON: scores and labels of the reference, scores of the analysis, estimates by chunk of
5,000.
"""

import json
import sys

import nannyml as nml

CHUNK = 5000
METRICS = ["roc_auc", "accuracy", "f1"]

reference, analysis, _ = nml.load_synthetic_binary_classification_dataset()
estimator = nml.CBPE(
    problem_type="classification_binary",
    y_pred_proba="y_pred_proba",
    y_pred="y_pred",
    y_true="work_home_actual",
    timestamp_column_name="timestamp",
    metrics=METRICS,
    chunk_size=CHUNK,
)
estimator.fit(reference)
told = estimator.estimate(analysis).filter(period="analysis").to_df()
found = {
    "known": [reference["y_pred_proba"].tolist(), reference["work_home_actual"].astype(int).tolist()],
    "scores": analysis["y_pred_proba"].tolist(),
    "called": analysis["y_pred"].astype(int).tolist(),
    "estimates": {metric: told[(metric, "value")].tolist() for metric in METRICS},
    "calibrated": bool(estimator.needs_calibration),
}
json.dump(found, sys.stdout)
