"""The table of acceptance cases in `docs/rollout-cases.md` names tests that exist, and all of them.

The cases themselves stand in `test_rollout_cases_pods.py`, `_evidence.py`, `_changes.py` and
`_operator.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
TABLE = (TESTS.parent / "docs" / "rollout-cases.md").read_text()
PROOFS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \| .* \| (.*) \|$", TABLE, re.MULTILINE)}


def numbered(files: str) -> set[int]:
    """The cases that have a test of their number in these files."""
    found = (
        re.findall(r"^(?:async )?def test_case_(\d+)_", path.read_text(), re.MULTILINE)
        for path in TESTS.glob(files)
    )
    return {int(number) for numbers in found for number in numbers}


def test_each_of_the_55_cases_has_a_test_of_its_number() -> None:
    assert list(PROOFS) == list(range(1, 56))
    planner = {number for number, proof in PROOFS.items() if proof.startswith("planner")}
    assert planner == numbered("unit/domain/test_rollout_cases_*.py")
    assert numbered("**/test_*.py") == set(PROOFS)
    elsewhere = {int(number) for number in re.findall(r"::test_case_(\d+)_", TABLE)}
    assert planner | elsewhere == set(PROOFS)


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(\S+)::(\S+)`", TABLE)
    missing = [
        name
        for path, name in named
        if not re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE)
    ]
    assert named
    assert missing == []
