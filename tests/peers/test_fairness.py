"""Our measures of fairness are fairlearn's of the same names, on the same rows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from tests.peers.running import told

from noria_operator.domain.fairness import Check, Group, Policy, judge

pytestmark = pytest.mark.extended

SHARES = {"a": (0.3, 0.7, 0.2), "b": (0.5, 0.55, 0.3), "c": (0.4, 0.6, 0.05)}
"""Of each group: positive labels, and of positive and of negative ones those that are predicted positive."""
NAMES = {
    Check.PARITY_DIFFERENCE: "demographic_parity_difference",
    Check.PARITY_RATIO: "demographic_parity_ratio",
    Check.OPPORTUNITY_DIFFERENCE: "equal_opportunity_difference",
    Check.ODDS_DIFFERENCE: "equalized_odds_difference",
}


@pytest.mark.parametrize("seed", [1, 2])
def test_measures_are_fairlearns(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.choice([*SHARES], 6000).tolist()
    truth = [int(random.random() < SHARES[group][0]) for group in groups]
    predicted = [
        int(random.random() < SHARES[group][1 if label else 2])
        for group, label in zip(groups, truth, strict=True)
    ]
    theirs = told(
        "peer-fairlearn", "fairlearn_figures.py",
        json.dumps({"truth": truth, "predicted": predicted, "groups": groups}),
    )  # fmt: skip
    counts = Counter(zip(groups, truth, predicted, strict=True))
    ours = [
        Group(
            name,
            sum(counts[name, label, call] for label in (0, 1) for call in (0, 1)),
            counts[name, 0, 1] + counts[name, 1, 1],
            *(counts[name, label, call] for label in (0, 1) for call in (0, 1)),
        )
        for name in SHARES
    ]
    bounds = dict.fromkeys(NAMES, 0.1)
    found = {one.check: one.value for one in judge(Policy(bounds), ours, timedelta(days=1)).findings}
    assert set(found) == set(Check), "a measure that is compared with nobody"
    for check, name in NAMES.items():
        assert found[check] == pytest.approx(theirs[name], abs=1e-12), name
