"""Virtual time, as in the tests of kube: an hour of attempts passes in no time."""

from __future__ import annotations

from tests.unit.kube.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
