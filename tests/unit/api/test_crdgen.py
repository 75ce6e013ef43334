"""Each rule of the generator: what a model says is in the schema, what a schema cannot say is refused."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, computed_field, field_validator
from tests.unit.api.crds import made, root

from noria_operator.api.crdgen import SchemaError, structural_schema
from noria_operator.api.crdgen.__main__ import main, outdated
from noria_operator.api.crdgen.brevity import brief
from noria_operator.api.crdgen.files import SIZE_LIMIT, generated_files
from noria_operator.api.crdgen.kinds import DEFINITIONS, Definition
from noria_operator.api.schema import PRESERVE, STORE_DEFAULT, ListMap, ListSet, Rule, Spec
from noria_operator.api.types import Duration, Quantity

ROOT = Path(__file__).resolve().parents[3]
Json = dict[str, Any]


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


def said(text: str, **bounds: Any) -> Any:
    return Field(description=text, **bounds)


def schema_of(annotation: Any, default: Any = ..., **field: Any) -> Json:
    """The schema of a field `a` with this annotation."""
    body = {
        "__annotations__": {"a": annotation},
        "a": said("Text.", default=default, **field),
        "__module__": __name__,
    }
    model = type("Holder", (Spec,), body)
    return structural_schema(model)["properties"]["a"]


def test_a_string_keeps_its_bounds_pattern_and_description() -> None:
    schema = schema_of(str, min_length=1, max_length=9, pattern="^a$")
    assert schema == {
        "type": "string",
        "minLength": 1,
        "maxLength": 9,
        "pattern": "^a$",
        "description": "Text.",
    }


def test_references_are_inlined_and_the_field_describes_itself() -> None:
    class Inner(Spec):
        """Inner text."""

        x: bool = said("X.")

    schema = schema_of(Inner)
    assert schema["description"] == "Text."
    assert schema["properties"] == {"x": {"type": "boolean", "description": "X."}}
    assert "$ref" not in str(schema)


def test_an_optional_field_is_left_out_of_required_and_not_nullable() -> None:
    assert schema_of(int | None, None, ge=0, le=5) == {
        "type": "integer", "minimum": 0, "maximum": 5, "description": "Text.",
    }  # fmt: skip


def test_names_on_the_wire_are_camel_case() -> None:
    class Two(Spec):
        """Two."""

        two_words: bool = said("Two.")
        from_: bool = said("From.", alias="from")

    schema = structural_schema(Two)
    assert sorted(schema["properties"]) == ["from", "twoWords"]
    assert sorted(schema["required"]) == ["from", "twoWords"]


def test_an_exclusive_bound_is_written_as_openapi_v3_wants_it() -> None:
    schema = schema_of(int, gt=0, lt=10)
    assert schema["minimum"] == 0
    assert schema["exclusiveMinimum"] is True
    assert schema["maximum"] == 10
    assert schema["exclusiveMaximum"] is True


@pytest.mark.parametrize(
    ("annotation", "values"),
    [(Literal["a", "b"], ["a", "b"]), (Literal["a"], ["a"]), (Colour, ["Red", "Blue"])],
)
def test_literals_and_enums_become_an_enum(annotation: Any, values: list[str]) -> None:
    assert schema_of(annotation)["enum"] == values


def test_a_quantity_is_an_int_or_a_string_without_type() -> None:
    schema = schema_of(Quantity)
    assert schema["x-kubernetes-int-or-string"] is True
    assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert "type" not in schema


def test_a_duration_is_a_bounded_string() -> None:
    assert schema_of(Duration)["maxLength"] == 24


def test_a_map_has_typed_values_and_a_largest_size() -> None:
    schema = schema_of(dict[str, Annotated[str, Field(max_length=3)]], max_length=4)
    assert schema["additionalProperties"] == {"type": "string", "maxLength": 3}
    assert schema["maxProperties"] == 4


def test_free_form_objects_keep_unknown_fields() -> None:
    schema = schema_of(dict[str, Any], json_schema_extra=PRESERVE)
    assert schema["x-kubernetes-preserve-unknown-fields"] is True


def test_list_types_are_written() -> None:
    class Item(Spec):
        """Item."""

        name: str = said("Name.", max_length=9)

    mapped = schema_of(Annotated[list[Item], Field(max_length=3), ListMap("name")])
    assert (mapped["x-kubernetes-list-type"], mapped["x-kubernetes-list-map-keys"]) == ("map", ["name"])
    distinct = schema_of(Annotated[list[Colour], Field(max_length=3), ListSet()])
    assert distinct["x-kubernetes-list-type"] == "set"


def test_rules_of_models_and_fields_become_validations_with_reason_and_path() -> None:
    class Ruled(Spec):
        """Ruled."""

        a: Annotated[
            str,
            Field(max_length=9, description="A."),
            Rule(cel="self != 'x'", message="not x", holds=lambda a: a != "x"),
        ]
        rules: ClassVar = (
            Rule(
                cel="self.a != 'y'",
                message="not y",
                field=".a",
                reason="FieldValueForbidden",
                holds=lambda it: it.a != "y",
            ),
        )

    schema = structural_schema(Ruled)
    assert schema["x-kubernetes-validations"] == [
        {"rule": "self.a != 'y'", "message": "not y", "fieldPath": ".a", "reason": "FieldValueForbidden"}
    ]
    assert schema["properties"]["a"]["x-kubernetes-validations"] == [
        {"rule": "self != 'x'", "message": "not x"}
    ]


def test_only_marked_defaults_are_stored_by_the_api_server() -> None:
    assert "default" not in schema_of(int, 3, ge=0, le=9)
    assert schema_of(int, 3, ge=0, le=9, json_schema_extra=STORE_DEFAULT)["default"] == 3


def test_closed_models_do_not_forbid_by_additional_properties() -> None:
    assert "additionalProperties" not in structural_schema(_Plain)


class _Plain(Spec):
    """Plain."""

    a: bool = said("A.")


class _Loop(BaseModel):
    """Loop."""

    inner: _Loop | None = said("Inner.", default=None)


class _FieldValidated(BaseModel):
    a: bool = said("A.")

    @field_validator("a")
    @classmethod
    def _check(cls, value: bool) -> bool:
        return value


class _Computed(BaseModel):
    a: bool = said("A.")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> bool:
        return self.a


class _Excluded(BaseModel):
    a: bool = said("A.", exclude=True)


class _Open(BaseModel):
    """Open."""

    model_config = ConfigDict(extra="allow")
    a: bool = said("A.")


class _Undescribed(BaseModel):
    a: bool


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (_Loop, "_Loop.inner: _Loop contains itself"),
        (_FieldValidated, "_FieldValidated._check: a field validator is not in the schema"),
        (_Computed, "_Computed.twice: a computed field is not in the schema"),
        (_Excluded, "_Excluded.a: an excluded field is lost"),
        (_Open, "_Open: named and free keys cannot stand side by side"),
        (_Undescribed, "_Undescribed.a: has no description"),
    ],
)
def test_a_model_that_a_crd_cannot_hold_is_refused(model: type[BaseModel], complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        structural_schema(model)


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        (int | str, "a union"),
        (tuple[int, int], "prefixItems"),
        (set[Colour], "uniqueItems"),
        (str, "a string needs max_length"),
        (int, "an integer needs ge and le"),
        (Annotated[int, Field(ge=0)], "an integer needs ge and le"),
        (float, "numbers are decimal strings"),
        (Decimal, "a union"),
        (list[Colour], "an array needs max_length"),
        (Annotated[list[Any], Field(max_length=3)], "type None is not supported"),
        (dict[str, Colour], "a map needs max_length"),
        (dict[str, Any], "json_schema_extra=PRESERVE"),
        (dict[Annotated[str, Field(pattern="^a$")], Colour], "patternProperties"),
        (dict[Colour, Colour], "propertyNames"),
        (Annotated[int, Field(ge=0, le=9, multiple_of=3)], "multipleOf"),
        (Annotated[str, Field(max_length=3, json_schema_extra={"examples": ["a"]})], "examples"),
        (Annotated[str, Field(max_length=3), AfterValidator(str.strip)], "a validator is not in the schema"),
        (
            Annotated[
                list[Annotated[str, Field(max_length=3), AfterValidator(str.strip)]], Field(max_length=3)
            ],
            "a validator is not in the schema",
        ),
        (Any, "type None is not supported"),
    ],
    ids=str,
)
def test_what_a_structural_schema_cannot_say_is_an_error_that_names_the_field(
    annotation: Any, complaint: str
) -> None:
    with pytest.raises(SchemaError, match=complaint) as refusal:
        schema_of(annotation)
    assert refusal.value.path.startswith("Holder.a")


# -- the four kinds ---------------------------------------------------------------------------------


def _properties(schema: Json, path: str = "") -> list[tuple[str, Json, bool]]:
    found = []
    for name, inner in schema.get("properties", {}).items():
        found.append((f"{path}.{name}", inner, name in schema.get("required", [])))
        below = inner.get("items", inner.get("additionalProperties", inner))
        found += _properties(below if isinstance(below, dict) else {}, f"{path}.{name}")
    return found


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it.plural)
def test_every_optional_field_of_a_spec_says_what_absence_means(definition: Definition) -> None:
    silent = [
        path
        for path, schema, required in _properties(root(definition)["properties"]["spec"])
        if not required
        and schema.get("type") not in ("object", "array")
        and "Default" not in schema["description"]
        and "Absent" not in schema["description"]
    ]
    one_of_several = {"secretRef", "configMapRef", "min", "max", "versus", "maxDrop", "minDelta", "weight"}
    one_of_several |= {"relativeDrop", "schedule", "maxAge", "header", "cookie", "minParityRatio"}
    one_of_several |= {"maxParityDifference", "maxOpportunityDifference", "maxOddsDifference"}
    assert {path.rsplit(".", 1)[1] for path in silent} <= one_of_several | {"deployment"}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it.plural)
def test_an_object_without_status_never_reads_as_ready(definition: Definition) -> None:
    default = root(definition)["properties"]["status"]["default"]
    assert [(one["type"], one["status"], one["message"]) for one in default["conditions"]] == [
        ("Ready", "Unknown", "Waiting for the operator")
    ]
    definition.model.model_fields["status"].annotation.model_validate(default)  # type: ignore[union-attr]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it.plural)
def test_conditions_merge_by_type(definition: Definition) -> None:
    conditions = root(definition)["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == (
        "map",
        ["type"],
    )


def _undescribed(schema: Json) -> Json:
    """The schema without any description."""
    inner = {"properties": lambda it: {name: _undescribed(one) for name, one in it.items()}}
    inner |= dict.fromkeys(("items", "additionalProperties"), _undescribed)
    return {
        key: inner[key](value) if key in inner and isinstance(value, dict) else value
        for key, value in schema.items()
        if key != "description" or not isinstance(value, str)
    }


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it.plural)
def test_a_brief_crd_differs_in_descriptions_alone_and_has_one_for_every_field(
    definition: Definition,
) -> None:
    short = brief(made(definition), definition.borrowed)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert short != root(definition)
    assert _undescribed(short) == _undescribed(root(definition))
    silent = [path for path, schema, _ in _properties(short) if not schema.get("description")]
    assert silent == [".metadata", ".metadata.name"]


def test_a_borrowed_field_says_what_it_is_and_the_page_says_all() -> None:
    whole = "Longest time from the start until a pod runs, for example 30m. Default: 1h."
    files = {path.as_posix(): text for path, text in generated_files().items()}
    assert whole in files["docs/api/continuoustraining.md"]
    training = files["crds/noria.dev_continuoustrainings.yaml"]
    assert whole not in training
    assert "Longest time from the start until a pod runs., maxLength" in training
    assert whole in files["crds/noria.dev_trainingjobs.yaml"]
    assert "Refuse: nothing is trained. Warn: it is written down. Default: Refuse." in training


def test_generated_files_are_below_the_size_limit_and_parse() -> None:
    for path, text in generated_files().items():
        if path.parts[0] == "crds":
            assert len(text.encode()) < SIZE_LIMIT
            assert yaml.load(text, yaml.CSafeLoader)["kind"] == "CustomResourceDefinition"


def test_the_committed_files_are_what_the_models_say() -> None:
    assert outdated(ROOT) == []


def test_the_check_fails_for_missing_changed_and_foreign_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "crds/noria.dev_trainingjobs.yaml").write_text("changed")
    (tmp_path / "crds/left-over.yaml").write_text("left over")
    capsys.readouterr()
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "crds/left-over.yaml differs from the models: run `make crds`",
        "crds/noria.dev_trainingjobs.yaml differs from the models: run `make crds`",
    ]
    assert main(["--root", str(tmp_path)]) == 0
    assert not (tmp_path / "crds/left-over.yaml").exists()
