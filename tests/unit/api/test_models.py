"""The models accept and refuse what the rules say, with a message that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.api.cases import (
    ACCEPTED,
    CHANGES,
    IMMUTABLE,
    REFUSED,
    REFUSED_BY_SCHEMA,
    Case,
    with_changes,
)
from tests.unit.api.crds import made, root
from tests.unit.api.objects import BASES, CONTINUOUS, DEPLOYMENT, TRAINING, VERSION

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.crdgen.kinds import DEFINITIONS
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.parsing import InvalidSpec, parse, parse_as, read_over
from noria_operator.api.trainingjob import TrainingJob


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_a_good_object_is_accepted(case: Case) -> None:
    parse(case.object())


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_BY_SCHEMA], ids=str)
def test_a_bad_object_is_refused_with_the_reason(case: Case) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        parse(case.object())
    assert case.message in refusal.value.message
    assert refusal.value.reason == "InvalidSpec"


def test_every_rule_has_a_case_that_breaks_it() -> None:
    shown = [case.message for case in REFUSED] + [change.message for change in CHANGES if change.message]
    declared = {message for definition in DEFINITIONS for message in _messages(made(definition))}
    untested = {message for message in declared if not any(part in message for part in shown)}
    unfixed = {
        m for m in untested if not m.startswith(("spec.model is immutable", "spec.version is immutable"))
    }
    # A ModelVersion cannot change model or version without breaking its name as well.
    assert unfixed == set()


def test_every_rule_is_met_by_an_object_that_keeps_it() -> None:
    good = [case.object() for case in ACCEPTED]
    unmet = {
        f"{definition.model.__name__}.{'.'.join(path)}"
        for definition in DEFINITIONS
        for path in _ruled(root(definition))
        if not any(obj["kind"] == definition.model.__name__ and _reaches(obj, path) for obj in good)
    }
    assert unmet == set()


def test_every_immutable_field_of_a_training_job_is_tried() -> None:
    fields = {
        info.alias or name for name, info in TrainingJob.model_fields["spec"].annotation.model_fields.items()
    }  # type: ignore[union-attr]
    assert set(IMMUTABLE["tj"]) == fields - {"suspend", "ttlSecondsAfterFinished"}


def _ruled(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where rules stand; `*` is every item of a list and every value of a map."""
    if "x-kubernetes-validations" in schema:
        yield path
    inner = {**schema.get("properties", {}), "*": schema.get("items") or schema.get("additionalProperties")}
    for name, part in inner.items():
        if isinstance(part, dict):
            yield from _ruled(part, (*path, name))


def _reaches(value: Any, path: tuple[str, ...]) -> bool:
    """Whether something stands where the path leads."""
    if not path:
        return True
    first, *rest = path
    if first == "*":
        every = value.values() if isinstance(value, dict) else value
        return any(_reaches(each, tuple(rest)) for each in every)
    return isinstance(value, dict) and first in value and _reaches(value[first], tuple(rest))


def _messages(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for rule in node.get("x-kubernetes-validations", []):
            yield rule["message"]
        for inner in node.values():
            yield from _messages(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _messages(inner)


@pytest.mark.parametrize("name", BASES)
def test_what_is_written_parses_to_the_same_object(name: str) -> None:
    first = parse(BASES[name])
    written = first.model_dump(mode="json", by_alias=True, exclude_none=True)
    again = parse(written | {"kind": BASES[name]["kind"]})
    assert again.spec == first.spec


def test_values_are_typed_in_python() -> None:
    job = parse_as(TrainingJob, TRAINING)
    assert job.spec.deadlines.active == timedelta(hours=1, minutes=30)
    assert job.spec.gates[0].min == Decimal("0.65")
    assert job.spec.resources.requests == {"cpu": "1", "memory": "1Gi"}


def test_absent_fields_have_the_documented_defaults() -> None:
    spec = {"model": "m", "image": "i", "output": {"uri": "pvc://models/m"}}
    job = parse_as(TrainingJob, TRAINING | {"spec": spec})
    assert (job.spec.retries, job.spec.deadlines.pending, job.spec.seed) == (2, timedelta(hours=1), 0)
    deployment = parse_as(ModelDeployment, DEPLOYMENT | {"spec": {"model": "m"}})
    assert deployment.spec.replicas == 1
    assert deployment.spec.strategy.analysis.on_max_hold == "Pause"
    loop = parse_as(
        ContinuousTraining, CONTINUOUS | {"spec": {"deployment": "m", "template": {"spec": spec}}}
    )
    assert loop.spec.cooldown == timedelta(hours=6)


def test_a_refusal_names_the_field() -> None:
    bad = with_changes(TRAINING, {"spec.gates.1.max": "high"})
    with pytest.raises(InvalidSpec, match=r"^spec\.gates\[1\]\.max: 'high' must be a decimal"):
        parse(bad)


def test_a_refusal_names_the_first_five_problems_and_counts_the_rest() -> None:
    bad = with_changes(TRAINING, {f"spec.bogus{n}": 1 for n in range(8)})
    with pytest.raises(InvalidSpec) as refusal:
        parse(bad)
    assert refusal.value.message.count("bogus") == 5
    assert refusal.value.message.endswith("; and 3 more")


@pytest.mark.parametrize(
    ("changes", "newer"),
    [
        ({"spec.bogus": 1}, True),
        ({"spec.resources.bogus": 1, "spec.gates.0.bogus": {}}, True),
        ({"spec.framework": "newer"}, True),
        ({"status": {"phase": "Reviewing"}}, True),
        ({"spec.bogus": 1, "spec.gates.1.max": "high"}, False),
        ({"spec.gates.1.max": "high"}, False),
    ],
)
def test_what_only_a_newer_release_can_have_written_is_told_from_what_is_wrong(
    changes: dict[str, Any], newer: bool
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        parse(with_changes(TRAINING, changes))
    assert refusal.value.newer is newer


def test_fields_of_a_newer_release_are_read_over_and_named_where_that_is_asked_for() -> None:
    newer = with_changes(DEPLOYMENT, {"spec.bogus": 1, "spec.router.bogus": 1})
    assert read_over(ModelDeployment, newer) == (
        parse_as(ModelDeployment, DEPLOYMENT),
        "spec.router.bogus: this release of Noria has no such field; "
        "spec.bogus: this release of Noria has no such field",
    )
    assert read_over(ModelDeployment, DEPLOYMENT) == (parse_as(ModelDeployment, DEPLOYMENT), "")
    for bad in ({"spec.replicas": -1}, {"spec.router.type": "Newer"}):
        with pytest.raises(InvalidSpec, match=r"spec\.r"):
            read_over(ModelDeployment, with_changes(newer, bad))


def test_a_field_that_needs_one_of_a_newer_release_is_refused() -> None:
    """A gate that says nothing that this release knows."""
    with pytest.raises(InvalidSpec, match=r"spec\.gates\[0\]"):
        read_over(TrainingJob, with_changes(TRAINING, {"spec.gates.0": {"metric": "auc", "bogus": 1}}))


def test_null_is_taken_for_absence_as_the_api_server_does() -> None:
    nulls = {"spec.seed": None, "spec.data.0.digest": None, "spec.params.max_depth": None}
    job = parse_as(TrainingJob, with_changes(TRAINING, nulls))
    assert (job.spec.seed, job.spec.data[0].digest, job.spec.params) == (0, None, {})
    with pytest.raises(InvalidSpec, match=r"spec\.image: Field required"):
        parse(with_changes(TRAINING, {"spec.image": None}))
    with pytest.raises(InvalidSpec, match=r"spec\.args\[0\]"):
        parse(with_changes(TRAINING, {"spec.args": [None]}))


def test_an_object_of_another_kind_or_version_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'Pod' is not one of TrainingJob"):
        parse({"kind": "Pod"})
    with pytest.raises(InvalidSpec, match="must be noria"):
        parse(TRAINING | {"apiVersion": "noria.dev/v2"})


def test_a_status_of_another_version_of_the_operator_is_read() -> None:
    status = {
        "phase": "Approved",
        "fieldOfTheFuture": {"a": 1},
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-31T08:00:00Z"}],
        "history": [{"at": "2026-01-31T08:00:00.5Z", "from": "Pending", "to": "Approved"}],
    }
    written = parse(VERSION | {"status": status}).status.to_json()
    assert written["phase"] == "Approved"
    assert written["history"] == [
        {"at": "2026-01-31T08:00:00.500000Z", "from": "Pending", "to": "Approved", "reason": ""}
    ]
    assert "fieldOfTheFuture" not in written
