"""Versions of a small, real model, trained at once and ready to be served, or served."""

from __future__ import annotations

from typing import Any

from tests.e2e.kube import Kube, phase
from tests.e2e.manifests import claim, model_deployment, training_job


def approve(kube: Kube, image: str, count: int) -> None:
    """The ModelVersions tiny-1 to tiny-`count`, trained beside each other by jobs in `image`."""
    kube.apply(claim())
    for number in range(1, count + 1):
        kube.apply(training_job(f"tiny-run-{number}", image, seed=number))
    for number in range(1, count + 1):
        kube.until("TrainingJob", f"tiny-run-{number}", phase("Succeeded"), timeout=180)
    for number in range(1, count + 1):
        kube.until("ModelVersion", f"tiny-{number}", phase("Approved"), timeout=60)


def serve(kube: Kube, image: str, **spec: Any) -> None:
    """The version tiny-1 in a ModelDeployment `tiny`, which is healthy."""
    approve(kube, image, 1)
    kube.apply(model_deployment(**spec))
    kube.until("ModelDeployment", "tiny", phase("Healthy"), timeout=180)
