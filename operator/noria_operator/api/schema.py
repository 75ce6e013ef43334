"""How a model says what the API server must check as well: rules in CEL beside their Python twin, list types,
bounds.

Comes in: declarations on pydantic models and fields. Goes out: validators for Python and `x-kubernetes-*`
keywords in the JSON schema, from which `crdgen` writes the CRDs. Invariant: a rule is declared once, with
both halves, so that the API server and the operator accept the same objects (property-tested on a real API
server).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Reason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate"]

STORE_DEFAULT: Final[dict[str, Any]] = {"x-noria-store-default": True}
"""`json_schema_extra` of a field whose default the API server writes into the object (others apply it on
reading)."""
PRESERVE: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
"""`json_schema_extra` of a free-form object."""


def _always(_: Any) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check: `cel` for the API server, `holds` for Python, and a message that says what to do.

    As metadata of a type (`Annotated[str, Rule(...)]`) it sees the value; in `Model.rules` it sees the model.
    `field` is the path that the error points at, relative to where the rule stands (`.spec.model`).
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""
    reason: Reason = "FieldValueInvalid"

    def keyword(self) -> dict[str, Any]:
        """The rule as an entry of `x-kubernetes-validations`, where an absent reason is FieldValueInvalid."""
        entry = {"rule": self.cel, "message": self.message, "fieldPath": self.field, "reason": self.reason}
        return {name: text for name, text in entry.items() if text not in ("", "FieldValueInvalid")}

    def check(self, value: Any) -> Any:
        """Return `value`, or raise the message."""
        if not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message, "path": self.field})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler(schema)
        return json_schema | {
            "x-kubernetes-validations": [*json_schema.get("x-kubernetes-validations", []), self.keyword()]
        }


def transition(*, cel: str, message: str, field: str) -> Rule:
    """A rule on `self` and `oldSelf`: only the API server sees both, so Python has nothing to check."""
    return Rule(cel=cel, message=message, field=field, reason="FieldValueForbidden", holds=_always)


def immutable_spec(spec: type[BaseModel], *, but: Iterable[str], advice: str) -> tuple[Rule, ...]:
    """Rules for the root of a kind: every field of `spec` keeps its value, but for those named (wire
    names)."""
    free = set(but)
    rules = []
    for name, info in spec.model_fields.items():
        wire = info.alias or name
        if wire in free:
            continue
        new, old = f"self.spec.{wire}", f"oldSelf.spec.{wire}"
        same = f"{new} == {old}"
        if not info.is_required():
            same = f"has({new}) == has({old}) && (!has({new}) || {same})"
        rules.append(
            transition(cel=same, message=f"spec.{wire} is immutable: {advice}", field=f".spec.{wire}")
        )
    return tuple(rules)


class ListMap:
    """A list whose items are told apart by `keys`: no two alike, and server-side apply merges each item."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def check(self, items: list[Any]) -> list[Any]:
        """Return `items`, or name the keys that stand twice."""
        seen: set[Any] = set()
        for item in items:
            values = tuple(getattr(item, key) for key in self.keys)
            if values in seen:
                told = ", ".join(f"{key} {value}" for key, value in zip(self.keys, values, strict=True))
                raise PydanticCustomError("duplicate", "{told} stands twice", {"told": told})
            seen.add(values)
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [*self.keys],
        }


@dataclass(frozen=True)
class ListSet:
    """A list of different scalars; server-side apply merges it item by item."""

    def check(self, items: list[Any]) -> list[Any]:
        """Return `items`, or name the one that stands twice."""
        if len(set(items)) < len(items):
            twice = next(item for index, item in enumerate(items) if item in items[:index])
            raise PydanticCustomError("duplicate", "{value} stands twice", {"value": twice})
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-list-type": "set"}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Spec(BaseModel):
    """Part of what users write: unknown fields and other types are refused, as the API server does."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, frozen=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            rule.check(self)
        return self

    @cached_property
    def wording(self) -> str:
        """A digest of what is written here: another one is another rule. Fields at their defaults do not
        count, so that a field added by a newer Noria makes no other rule.
        """
        return _digest(self.model_dump_json(exclude_defaults=True))

    @cached_property
    def full_wording(self) -> str:
        """The digest with defaults, as earlier releases wrote it down."""
        return _digest(self.model_dump_json())

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            json_schema["x-kubernetes-validations"] = [rule.keyword() for rule in cls.rules]
        return json_schema


class Status(BaseModel):
    """Part of what the operator writes: typed, but an older or newer operator's extra fields are read
    over."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """The wire form, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
