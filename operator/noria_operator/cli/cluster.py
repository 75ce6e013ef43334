"""What the command line reads and writes in the cluster, through the official `kubernetes` client.

In: names that a person typed. Out: plain objects. A command is an annotation with a fresh id; the operator
answers by putting the id into `status.commands`. Nothing is decided here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import kube_config
from urllib3.exceptions import HTTPError

from noria_operator.api import names

Json = dict[str, Any]
Items = list[Json]

SEARCHED = (names.MODEL_DEPLOYMENT, names.CONTINUOUS_TRAINING, names.TRAINING_JOB, names.MODEL_VERSION)
"""Where a name is looked for when no kind is given, in this order."""
POLL_SECONDS = 0.2


class CommandError(Exception):
    """What a person asked for cannot be done; the message says why and what to do."""


class Objects(Protocol):
    """The three things that the command line does with objects of ours."""

    def get(self, kind: str, name: str) -> Json | None: ...

    def list(self, kind: str) -> Items: ...

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None: ...


class Cluster:
    """Objects of one namespace of the cluster that the kubeconfig names."""

    def __init__(self, namespace: str | None, context: str | None) -> None:
        file = os.environ.get("KUBECONFIG") or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        used, found = client.Configuration(), kube_config.KubeConfigMerger(file).config
        if found is None:
            raise CommandError(f"there is no kubeconfig at {file}; set KUBECONFIG")
        try:
            loader = kube_config.KubeConfigLoader(found, config_base_path=None, active_context=context)
            loader.load_and_set(used)
        except config.ConfigException as error:
            raise CommandError(f"no usable kubeconfig: {error}; set KUBECONFIG or --context") from error
        self.namespace = namespace or loader.current_context["context"].get("namespace", "default")
        self._api = client.CustomObjectsApi(client.ApiClient(used))

    def get(self, kind: str, name: str) -> Json | None:
        """The object, or None."""
        with _answered():
            try:
                found: Any = self._api.get_namespaced_custom_object(*self._place(kind), name)
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
        return dict(found)

    def list(self, kind: str) -> Items:
        """All objects of a kind in the namespace, by name."""
        with _answered():
            found: Any = self._api.list_namespaced_custom_object(*self._place(kind))
        return sorted(found["items"], key=lambda obj: str(obj["metadata"]["name"]))

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None:
        """Set annotations, leaving all others."""
        body = {"metadata": {"annotations": annotations}}
        with _answered():
            self._api.patch_namespaced_custom_object(*self._place(kind), name, body)

    def _place(self, kind: str) -> tuple[str, str, str, str]:
        return names.GROUP, names.VERSION, self.namespace, names.PLURALS[kind]


@contextmanager
def _answered() -> Iterator[None]:
    """Say in a sentence what the API server refused, or that it did not answer."""
    try:
        yield
    except ApiException as error:
        raise CommandError(f"the API server said {error.status}: {error.reason}") from error
    except HTTPError as error:
        raise CommandError(f"the API server does not answer: {error}") from error


def find(objects: Objects, name: str) -> Json:
    """The object that a person means: `kind/name` (short names too), or a name looked for in every kind."""
    kinds: tuple[str, ...] = SEARCHED
    wanted = name
    if "/" in name:
        prefix, wanted = name.split("/", 1)
        kinds = tuple(kind for kind in SEARCHED if prefix.lower() in _spellings(kind))
        if not kinds:
            known = ", ".join(names.SHORT_NAMES.values())
            raise CommandError(f"there is no kind {prefix!r}; say one of {known} before the slash")
    for kind in kinds:
        found = objects.get(kind, wanted)
        if found is not None:
            return found
    raise CommandError(f"nothing is called {name!r} here; see `kubectl get {names.CATEGORY}`")


def command(
    objects: Objects,
    kind: str,
    name: str,
    verb: str,
    *,
    mark: str,
    wait: float,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Give a command; true when the operator acknowledged it within `wait` seconds."""
    found = objects.get(kind, name)
    if found is None:
        raise CommandError(f"there is no {kind} {name!r}; see `kubectl get {names.PLURALS[kind]}`")
    annotation = names.command_annotation(verb)
    mark = names.command_id({annotation: mark}, verb)
    if _acknowledged(found, verb) == mark:
        raise CommandError(f"{verb} {mark!r} was carried out before, and is not again; give another --id")
    objects.annotate(kind, name, {annotation: mark})
    for _ in range(max(1, round(wait / POLL_SECONDS))):
        with suppress(CommandError):  # given it is, and not to be given again
            if _acknowledged(objects.get(kind, name) or {}, verb) == mark:
                return True
        sleep(POLL_SECONDS)
    return False


def _acknowledged(found: Json, verb: str) -> str | None:
    """The id that the operator acted on last."""
    id_: str | None = (found.get("status", {}).get("commands") or {}).get(verb)
    return id_


def _spellings(kind: str) -> set[str]:
    return {names.SHORT_NAMES[kind], names.PLURALS[kind], kind.lower()}
