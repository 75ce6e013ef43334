"""The table of acceptance cases in `docs/rollout-cases.md` names tests that exist, and all of them.

The cases themselves stand in `test_rollout_cases_pods.py`, `_evidence.py` and `_changes.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
TABLE = (TESTS.parent / "docs" / "rollout-cases.md").read_text()
PROOFS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \| .* \| (.*) \|$", TABLE, re.MULTILINE)}
PLANNER = {
    int(found)
    for path in Path(__file__).parent.glob("test_rollout_cases_*.py")
    for found in re.findall(r"^def test_case_(\d+)_", path.read_text(), re.MULTILINE)
}


def test_each_of_the_55_cases_is_proven_or_says_what_it_waits_for() -> None:
    assert list(PROOFS) == list(range(1, 56))
    assert {number for number, proof in PROOFS.items() if proof.startswith("planner")} == PLANNER
    for number, proof in PROOFS.items():
        assert re.search(r"^planner|`|^waits for", proof), number


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(\S+)::(\S+)`", TABLE)
    missing = [
        name
        for path, name in named
        if not re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE)
    ]
    assert named
    assert missing == []
