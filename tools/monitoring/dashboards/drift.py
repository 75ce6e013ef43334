"""What a version is asked about, against what it learnt from."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.monitoring.dashboards.parts import (
    GREEN,
    RED,
    VERSION,
    WHERE,
    YELLOW,
    Panel,
    bars,
    choice,
    happened,
    heat,
    lines,
    of_models,
    rows,
)

_FEATURE = f'{VERSION},feature="$feature"'
_TOP = f"and on (feature, version) topk(10, max by (feature, version) (model:feature_psi:1h{{{VERSION}}}))"
_PSI = ((None, GREEN), (0.1, YELLOW), (0.2, RED))


def build() -> Dashboard:
    """The dashboard."""
    made = of_models(
        "noria-drift",
        "Noria / Drift",
        "Features and predictions against the reference of their version.",
        several=False,
    )
    # The newest version with values: one that is just starting, or failed from its first request on, has none.
    # A PSI does not tell: half a count in each bin gives one to counters that stand still.
    asked = f"label_values(model:feature_missing:ratio1h{{{WHERE}}}, version)"
    made = made.with_variable(choice("version", asked, newest=True))
    made = made.with_variable(
        choice("feature", f"label_values(model_feature_reference_samples{{{VERSION}}}, feature)")
    )
    for panel in (
        heat(
            "PSI by feature",
            "Distance of the last hour from the reference. Below 0.1 nothing, above 0.2 an effect; "
            "whether noise explains it is told by the noise floor below.",
            f"max by (feature, version) (model:feature_psi:1h{{{VERSION}}})",
            "{{feature}} {{version}}",
            steps=_PSI,
        ),
        bars(
            "$feature: reference and now",
            "Shares of the bins, numbered from the lowest; categories by name.",
            "bin",
            (f"avg by (bin) (model:feature_reference:ratio{{{_FEATURE}}})", "reference"),
            (f"avg by (bin) (model:feature_bin:ratio1h{{{_FEATURE}}})", "last hour"),
        ),
        bars(
            "Predictions: reference and now",
            "The same of what the version predicts.",
            "bin",
            (f"avg by (bin) (model:prediction_reference:ratio{{{VERSION}}})", "reference"),
            (f"avg by (bin) (model:prediction_bin:ratio1h{{{VERSION}}})", "last hour"),
        ),
        lines(
            "$feature: PSI and the noise floor",
            "Drift is what is above 0.2 and above the noise of so many values.",
            (f"model:feature_psi:1h{{{_FEATURE}}}", "PSI {{version}}"),
            (f"model:feature_noise_floor:1h{{{_FEATURE}}}", "noise floor {{version}}"),
            unit="none",
        ),
        lines(
            "Predictions: PSI",
            "The first thing to look at where labels come late.",
            (f"model:prediction_psi:1h{{{VERSION}}}", "{{version}}"),
            unit="none",
        ),
        lines(
            "Drifted share of features",
            "Above effect and noise, with 200 values or more.",
            (f"model:drifted_features:ratio1h{{{VERSION}}}", "{{version}}"),
            unit="percentunit",
            most=1,
        ),
        rows(
            "Most drifted",
            "The ten features that are farthest from their reference.",
            ("PSI", f"topk(10, max by (feature, version) (model:feature_psi:1h{{{VERSION}}}))", "none"),
            (
                "JS (bits)",
                f"max by (feature, version) (model:feature_jsd_bits:1h{{{VERSION}}}) {_TOP}",
                "none",
            ),
            (
                "largest change",
                f"max by (feature, version) (model:feature_linf:1h{{{VERSION}}}) {_TOP}",
                "percentunit",
            ),
            (
                "values",
                f"max by (feature, version) (model:feature_samples:increase1h{{{VERSION}}}) {_TOP}",
                "short",
            ),
            names=("feature", "version"),
            width=12,
            height=10,
        ),
        lines(
            "Values in the last hour",
            "Fewer than 200 are too few to speak of drift.",
            (f"max by (version) (model:feature_samples:increase1h{{{VERSION}}})", "{{version}}"),
            width=12,
            height=10,
        ),
        _dirty("Missing", "model:feature_missing:ratio1h"),
        _dirty("Unseen categories", "model:feature_unseen:ratio1h"),
        _dirty("Out of range", "model:feature_out_of_range:ratio1h"),
        rows(
            "As the operator sees it",
            "The columns that stand out in the last closed window of a drift or data quality trigger, on its own exact counts.",
            ("score", f"noria_drift_score{{{WHERE}}}", "none"),
            ("noise floor", f"noria_drift_floor{{{WHERE}}}", "none"),
            names=("deployment", "training", "trigger", "feature", "check"),
            width=24,
            height=7,
        ),
    ):
        made = made.with_panel(panel)
    return happened(made)


def _dirty(title: str, ratio: str) -> Panel:
    """Features with such values; one of them where none has any."""
    shares = f"{ratio}{{{VERSION}}}"
    return lines(
        title,
        "Share of the values of the last hour.",
        (f"{shares} > 0 or topk(1, {shares})", "{{feature}} {{version}}"),
        unit="percentunit",
    )
