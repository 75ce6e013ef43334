"""The CRDs on a real API server: they accept and refuse what the models do, in cases and under fuzz."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.api.cases import (
    ABSENT,
    ACCEPTED,
    CHANGES,
    REFUSED,
    REFUSED_BY_SCHEMA,
    Case,
    Change,
    with_changes,
)
from tests.unit.api.objects import BASES
from tests.unit.domain import test_triggers as quality
from tests.unit.domain import test_triggers_concept as concept
from tests.unit.domain import test_triggers_estimated as estimated
from tests.unit.domain import test_triggers_monitoring as monitoring
from tools.cluster import layout
from tools.cluster.api import Api, ApiError

from noria_operator.api.crdgen.kinds import DEFINITIONS
from noria_operator.api.names import PLURALS
from noria_operator.api.parsing import InvalidSpec, parse

Json = dict[str, Any]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def admin(kubeconfig: Path) -> Path:
    """The admin kubeconfig of a control plane with our CRDs, and a namespace for what is really stored."""
    Api(kubeconfig).post("/api/v1/namespaces", {"metadata": {"name": "stored"}})
    return kubeconfig


@pytest.fixture(scope="module")
def api(admin: Path) -> Api:
    """The API server as its admin."""
    return Api(admin)


def collection(kind: str, namespace: str = "default") -> str:
    return f"/apis/noria.dev/v1alpha1/namespaces/{namespace}/{PLURALS[kind]}"


def refusal(api: Api, obj: Json) -> str | None:
    """What the server says against creating `obj`, None when it would."""
    try:
        api.post(f"{collection(obj['kind'])}?dryRun=All&fieldValidation=Strict", obj)
    except ApiError as error:
        assert error.status in (400, 422), error
        return str(json.loads(str(error))["message"])
    return None


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_a_good_object_is_accepted(api: Api, case: Case) -> None:
    assert refusal(api, case.object()) is None


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_broken_rule_is_refused_with_its_advice(api: Api, case: Case) -> None:
    said = refusal(api, case.object())
    assert said is not None
    assert case.message in said


@pytest.mark.parametrize("case", REFUSED_BY_SCHEMA, ids=str)
def test_a_value_outside_the_schema_is_refused(api: Api, case: Case) -> None:
    assert refusal(api, case.object()) is not None


@pytest.mark.parametrize("change", CHANGES, ids=lambda it: f"{it.base}:{it.path}")
def test_an_update_of_an_immutable_field_is_refused(api: Api, change: Change) -> None:
    base = BASES[change.base]
    path = collection(base["kind"], "stored")
    try:
        stored = api.get(f"{path}/{base['metadata']['name']}")
    except ApiError:
        stored = api.post(path, base)
    if change.value is ABSENT and change.path.rsplit(".", 1)[1] not in stored["spec"]:
        pytest.fail(f"the base object does not have {change.path}")
    query = f"{path}/{base['metadata']['name']}?dryRun=All&fieldManager=test&force=true"
    patched = with_changes(base, {change.path: change.value})
    try:
        api._send("PUT", query, patched | {"metadata": stored["metadata"]})
        said = ""
    except ApiError as error:
        said = str(json.loads(str(error))["message"])
    assert change.message in said
    assert bool(said) == bool(change.message)


# -- the same answer from the model and from the server ------------------------------------------------

_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 100, 101, 2**31, 2**53, 2**63),
    *("", "a", "A", "a.b", "a-", "-a", "a_b", "a b", "é", "a\n", "a\x00"),
    *("a" * length for length in (40, 41, 63, 64, 254)),
    *("0", "1", "0.5", "1.0", ".5", "5.", "-1", "0.0", "1e3", "NaN", "1Gi", "1gi", "500m"),
    *("0s", "1s", "90s", "1h30m", "5", "-5m", "1h1h1h1h1h", "999999h", "61m"),
    *("pvc://a/b", "pvc://a", "pvc://A", "pvc://a/../b", "pvc://a/b/..", "s3://bkt/x/", "s3://b", "http://x"),
    *(
        "gs://bkt/x",
        "az://bkt",
        "https://h.example/x",
        "https://u:p@h/x",
        "https://1.2.3.4/x",
        "https://0x7f/x",
    ),
    *("oci://h/x:1", "oci://h/x", "oci://h/X:1", "oci://h:5000/x@sha256:" + "0" * 64),
    *("0 2 * * 1", "* * * * *", "60 * * * *", "@daily", "sha256:" + "0" * 64),
    *("Exists", "Equal", "NoExecute", "champion", "Approved", "custom", "noria", "PATH", "NORIA_X"),
    *("noria-router", "version.noria.internal", "holdout", "flight-delay", "flight-delay-4"),
    *([], {}, [{}], ["a"], ["a", "a"], [None], {"a": "b"}, {"A": "b"}, {"a b": "c"}),
    *({"name": "a"}, [{"name": "a"}] * 2, {"secretRef": {"name": "a"}}),
    *({"weight": 10}, {"pause": True}, {"weight": 10, "pause": True}),
    *({"key": "a"}, {"operator": "Exists", "value": "a"}),
    *({"metric": "auc", "min": "0.1"}, {"metric": "auc", "versus": "champion"}),
]


def _places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> Json:
    """A good object with one to three of its values replaced, removed, doubled, or a key added."""
    obj = copy.deepcopy(BASES[draw(st.sampled_from(sorted(BASES)))])
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, obj)
    return obj


def _mutate(draw: st.DrawFn, obj: Json) -> None:
    places = [path for path in _places(obj["spec"]) if path]
    *way, last = draw(st.sampled_from(places))
    place: Any = obj["spec"]
    for key in way:
        place = place[key]
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "add"])):
        case "replace":
            place[last] = copy.deepcopy(draw(st.sampled_from(_VALUES)))
        case "remove":
            del place[last]
        case "double" if isinstance(place, list):
            place.append(copy.deepcopy(place[last]))
        case _ if isinstance(place, dict):
            # Never null: under an unknown name strict decoding refuses it, though nothing would be stored.
            key = draw(st.sampled_from(["bogus", "name", "value", "weight", "min", "version", "schedule"]))
            place[key] = copy.deepcopy(draw(st.sampled_from([one for one in _VALUES if one is not None])))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_the_server_accepts_exactly_what_the_model_accepts(api: Api, obj: Json) -> None:
    try:
        parse(obj)
    except InvalidSpec as error:
        model = error.message
    else:
        model = None
    server = refusal(api, obj)
    assert (server is None) == (model is None), f"server: {server}\nmodel: {model}"


# -- status, columns, explain ----------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_a_new_object_says_that_it_waits_for_the_operator(api: Api, base: str) -> None:
    obj = with_changes(BASES[base], {})
    created = api.post(f"{collection(obj['kind'])}?dryRun=All", obj | {"status": {"phase": "Approved"}})
    assert [(one["type"], one["status"]) for one in created["status"]["conditions"]] == [("Ready", "Unknown")]
    assert created["status"].get("phase") in (None, "Pending")


def test_what_triggers_on_counts_write_is_kept_whole(api: Api) -> None:
    """A field that the schema lacks would be dropped without a word, and the marks with it."""
    obj = BASES["ct"] | {"metadata": {"name": "watching", "namespace": "stored"}}
    api.post(collection("ContinuousTraining", "stored"), obj)
    drifted, broken = monitoring.moved("distance"), monitoring.nulls("carrier")
    requests = [
        monitoring.windows(monitoring.drift(), drifted, drifted),
        monitoring.windows(monitoring.quality(), broken),
        estimated.windows(estimated.trigger(), estimated.SURE, estimated.UNSURE),
        *concept.fed(*concept.steps(0.1, 40), *concept.steps(0.6, 3))[-1:],
        quality.windows(quality.rule(), 0.7, 0.7),
    ]
    status = {"triggers": [one.entry for one in requests]}
    body = {name: obj[name] for name in ("apiVersion", "kind", "metadata")} | {"status": status}
    applied = api.apply(f"{collection('ContinuousTraining', 'stored')}/watching/status", body)
    assert applied["status"]["triggers"] == status["triggers"]


def test_status_is_applied_on_its_own_and_conditions_merge_by_type(api: Api) -> None:
    obj = with_changes(BASES["md"], {"metadata.name": "applied"})
    api.post(collection("ModelDeployment"), obj)
    when = "2026-01-31T08:00:00Z"
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": when}
    ]
    status = {"observedGeneration": 1, "phase": "Healthy", "conditions": conditions}
    body = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {"name": "applied"},
        "status": status,
    }
    path = f"{collection('ModelDeployment')}/applied"
    applied = api.apply(f"{path}/status", body)
    assert applied["status"] == status
    assert applied["metadata"]["generation"] == 1
    assert applied["spec"] == obj["spec"]
    again = api.apply(f"{path}/status", body)
    assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]


def test_only_the_replicas_default_is_stored(api: Api) -> None:
    obj = BASES["md"] | {"metadata": {"name": "small"}, "spec": {"model": "small"}}
    created = api.post(f"{collection('ModelDeployment')}?dryRun=All", obj)
    assert created["spec"] == {"model": "small", "replicas": 1}


def kubectl(admin: Path, *words: str) -> str:
    command = [str(layout.binary("kubectl")), f"--kubeconfig={admin}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_kubectl_shows_columns_short_names_and_the_category(admin: Path, api: Api) -> None:
    api.post(collection("ModelDeployment"), with_changes(BASES["md"], {"metadata.name": "shown"}))
    header = kubectl(admin, "get", "md", "shown").splitlines()[0].split()
    columns = ["NAME", "MODEL", "STABLE", "CANARY", "STEPS-DONE", "WEIGHT", "PHASE", "READY", "AGE"]
    assert header == columns
    assert "modeldeployment.noria.dev/shown" in kubectl(admin, "get", "noria")
    assert "shown" in kubectl(admin, "get", "md", "--field-selector", "spec.model=flight-delay")
    assert "shown" not in kubectl(admin, "get", "md", "--field-selector", "spec.model=other")


def test_kubectl_scales_a_deployment(admin: Path, api: Api) -> None:
    path = collection("ModelDeployment")
    api.post(path, with_changes(BASES["md"], {"metadata.name": "scaled"}))
    kubectl(admin, "scale", "md", "scaled", "--replicas=7")
    assert api.get(f"{path}/scaled")["spec"]["replicas"] == 7


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it.plural)
def test_kubectl_explains_every_field(admin: Path, definition: Any) -> None:
    text = kubectl(admin, "explain", f"{definition.model.__name__.lower()}.spec")
    assert "<no description>" not in text
    assert "FIELDS:" in text
    weight = kubectl(admin, "explain", "md.spec.strategy.steps.weight")
    assert "Percent of requests for the challenger, for example 10." in weight


# -- examples ------------------------------------------------------------------------------------------


def example_objects() -> list[Json]:
    """Noria's objects in the example manifests, with an image in place of what the demo fills in."""
    found = []
    for path in sorted(EXAMPLES.glob("*/manifests/*.yaml")):
        text = re.sub(r"\$\{\w+\}", "flights:1", path.read_text(encoding="utf-8"))
        documents = [one for one in yaml.safe_load_all(text) if one]
        found += [one for one in documents if one["apiVersion"].startswith("noria.dev/")]
    return found


@pytest.mark.parametrize("obj", example_objects(), ids=lambda it: f"{it['kind']}-{it['metadata']['name']}")
def test_an_example_is_accepted_by_model_and_server(api: Api, obj: Json) -> None:
    parse(obj)
    obj["metadata"].pop("namespace", None)
    assert refusal(api, obj) is None
