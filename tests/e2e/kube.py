"""A cluster as a test sees it: apply objects, wait until the API server says that something holds.

Waiting is watching: a condition is tested on every change of the object and never by sleeping. When it does
not come true in time, the error shows the object's status and the Events about it, which is what one would
look at by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

Json = dict[str, Any]
GROUP = "noria.dev/v1alpha1"
API_OF = {
    "TrainingJob": GROUP,
    "ModelVersion": GROUP,
    "ModelDeployment": GROUP,
    "ContinuousTraining": GROUP,
    "Deployment": "apps/v1",
    "ControllerRevision": "apps/v1",
    "Job": "batch/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Lease": "coordination.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "APIService": "apiregistration.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
}


class Kube:
    """One namespace of the cluster behind `kubeconfig`."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.client = kubernetes.config.new_client_from_config(str(kubeconfig))
        self.core = kubernetes.client.CoreV1Api(self.client)
        self._dynamic = DynamicClient(self.client)

    def at(self, namespace: str) -> Kube:
        """The same cluster, another namespace."""
        return Kube(self.kubeconfig, namespace)

    def apply(self, body: Json) -> Json:
        """Server-side apply, as `kubectl apply --server-side` does it."""
        resource = self._resource(body["kind"])
        name = body["metadata"]["name"]
        answer = resource.server_side_apply(
            body={"apiVersion": API_OF.get(body["kind"], "v1"), **body},
            name=name,
            namespace=body["metadata"].get("namespace", self.namespace),
            field_manager="e2e",
            force_conflicts=True,
        )
        return answer.to_dict()

    def get(self, kind: str, name: str) -> Json | None:
        """The object, or None."""
        try:
            return self._resource(kind).get(name=name, namespace=self.namespace).to_dict()
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, labels: str = "") -> list[Json]:
        """Objects of a kind in the namespace."""
        found = self._resource(kind).get(namespace=self.namespace, label_selector=labels)
        return [item.to_dict() for item in found.items]

    def pods(self, labels: str) -> set[str]:
        """Names of the pods with these labels that are not going."""
        found = [pod["metadata"] for pod in self.list("Pod", labels)]
        return {meta["name"] for meta in found if "deletionTimestamp" not in meta}

    def delete(self, kind: str, name: str, *, grace: int | None = None) -> None:
        """Delete one object; `grace` in seconds, 0 kills a pod at once. Nothing happens when it is gone."""
        options: Json = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            self._resource(kind).delete(name=name, namespace=self.namespace, body=options)
        except ApiException as error:
            if error.status != 404:
                raise

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None:
        """Merge annotations into an object, as `kubectl annotate --overwrite` does."""
        self.merge(kind, name, {"metadata": {"annotations": annotations}})

    def merge(self, kind: str, name: str, body: Json) -> None:
        """Merge fields into an object, as `kubectl patch --type=merge` does."""
        body = {**body, "metadata": {**body.get("metadata", {}), "name": name}}
        self._resource(kind).patch(
            body=body, namespace=self.namespace, content_type="application/merge-patch+json"
        )

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """Set `spec.replicas` through the subresource, as `kubectl scale` and autoscalers do."""
        body = {"metadata": {"name": name}, "spec": {"replicas": replicas}}
        self._resource(kind).scale.patch(
            body=body, name=name, namespace=self.namespace, content_type="application/merge-patch+json"
        )

    def until(self, kind: str, name: str, holds: Callable[[Json], bool], *, timeout: float = 120) -> Json:
        """The object as soon as `holds(object)`; an `AssertionError` with its status after `timeout`."""
        deadline = monotonic() + timeout
        last: Json = {}
        while (left := deadline - monotonic()) > 0:
            for event in self._resource(kind).watch(
                namespace=self.namespace, name=name, timeout=max(1, int(left))
            ):
                last = event["object"].to_dict()
                if event["type"] != "DELETED" and holds(last):
                    return last
        raise AssertionError(
            f"{kind} {name} did not get there within {timeout:.0f} s.\n"
            f"status: {json.dumps(last.get('status'), indent=1)}\nevents:\n{self.events(name)}"
        )

    def until_gone(self, kind: str, name: str, *, timeout: float = 60) -> None:
        """Return when the object no longer exists."""
        if self.get(kind, name) is None:
            return
        deadline = monotonic() + timeout
        while monotonic() < deadline:
            for event in self._resource(kind).watch(namespace=self.namespace, name=name, timeout=5):
                if event["type"] == "DELETED":
                    return
            if self.get(kind, name) is None:
                return
        raise AssertionError(f"{kind} {name} is still there after {timeout:.0f} s")

    def cluster_ip(self, service: str) -> str:
        """The address of a Service."""
        found = self.get("Service", service)
        assert found is not None
        return str(found["spec"]["clusterIP"])

    def events(self, name: str) -> str:
        """The Events about objects whose names begin with `name`, a line each."""
        found = self.core.list_namespaced_event(self.namespace).items
        return "\n".join(
            f"{event.type} {event.reason} {about.kind}/{about.name}: {event.message}"
            for event in found
            if (about := event.involved_object).name.startswith(name)
        )

    def _resource(self, kind: str) -> Any:
        return self._dynamic.resources.get(api_version=API_OF.get(kind, "v1"), kind=kind)


@contextmanager
def namespace(kubeconfig: Path, name: str) -> Iterator[Kube]:
    """A fresh namespace under the restricted Pod Security Standard, deleted afterwards."""
    kube = Kube(kubeconfig, name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        yield kube
    finally:
        kube.core.delete_namespace(name)


def condition(obj: Json, type: str) -> Json:
    """The condition of that type, or {} while the object has none."""
    found = obj.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type), {})


def phase(wanted: str) -> Callable[[Json], bool]:
    """Holds once `status.phase` is the wanted one."""
    return lambda obj: obj.get("status", {}).get("phase") == wanted
