"""Clients that others wrote, each in its own environment, against a real server: every check of theirs passes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from benchmarks.conformance.suites import SUITES, Suite
from tests.clients.conftest import Noria

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
    report = reports[suite.name]
    assert check in report, f"{suite.path.name} did not run this check: {report}"
    assert report[check] is None
