"""Clients that others wrote, each in its own environment, against a real server: all their checks pass."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from benchmarks.conformance.suites import SUITES, Suite
from tests.clients.conftest import Noria

pytestmark = pytest.mark.extended
CHECKS = [
    pytest.param(suite, check, id=f"{suite.name}-{check}") for suite in SUITES for check in suite.checks()
]


@pytest.fixture(scope="session")
def reports() -> dict[str, Mapping[str, str | None]]:
    """What each script said; each runs once."""
    return {}


@pytest.mark.parametrize(("suite", "check"), CHECKS)
def test_client(noria: Noria, reports: dict[str, Mapping[str, str | None]], suite: Suite, check: str) -> None:
    if suite.name not in reports:
        reports[suite.name] = suite.run(noria.target)
    wrong = reports[suite.name].get(check, "the script did not run this check")
    if wrong is not None:
        pytest.fail(wrong, pytrace=False)
