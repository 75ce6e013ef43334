"""Property tests judge what the code does, never how fast the machine was just then."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

settings.register_profile(
    "noria", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=12
)
settings.register_profile("thorough", settings.get_profile("noria"), max_examples=1000)
settings.load_profile("noria")


def pytest_configure() -> None:
    """While modules are read nearly nothing becomes garbage: looking for it took a tenth of that time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported stays to the end: let no collection walk through it again and again. What tests leave
    is looked for where it may come to some megabytes.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    gc.enable()
