"""Property tests judge what the code does, never how fast the machine was just then."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("noria", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noria")
