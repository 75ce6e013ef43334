"""What a model must not hold, because a JSON schema would lose it in silence.

Comes in: a model class. Goes out: nothing, or SchemaError naming the field. Invariant: every check that
Python makes on an object stands in its schema as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    PlainValidator,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.fields import FieldInfo

_VALIDATORS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)
_OWN_VALIDATORS = frozenset({"_obey_rules"})


class SchemaError(Exception):
    """The model says something that a CRD cannot say; `path` names the field."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def check_declarations(model: type[BaseModel]) -> None:
    """Refuse validators, computed and excluded fields of `model` and of all models inside."""
    seen: set[type[BaseModel]] = set()
    todo = [(model, model.__name__)]
    while todo:
        current, path = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        _check_decorators(current, path)
        for name, info in current.model_fields.items():
            field = f"{path}.{info.alias or name}"
            _check_field(info, field)
            todo.extend((inner, field) for inner in _models(info.annotation))


def _check_decorators(model: type[BaseModel], path: str) -> None:
    decorators = model.__pydantic_decorators__
    for name, found in (
        ("field validator", decorators.field_validators),
        ("validator", decorators.validators),
        ("root validator", decorators.root_validators),
        ("model validator", decorators.model_validators),
        ("computed field", decorators.computed_fields),
    ):
        if extra := set(found) - _OWN_VALIDATORS:
            raise SchemaError(f"{path}.{sorted(extra)[0]}", f"a {name} is not in the schema: declare a Rule")


def _check_field(info: FieldInfo, path: str) -> None:
    if info.exclude:
        raise SchemaError(path, "an excluded field is lost when the object is written")
    _check_metadata(list(info.metadata), path)
    for inner in _annotated(info.annotation):
        _check_metadata(list(inner.__metadata__), path)


def _check_metadata(metadata: list[Any], path: str) -> None:
    # WithJsonSchema states the schema by hand, so its author answers for what the validator accepts.
    stated = any(isinstance(item, WithJsonSchema) for item in metadata)
    if not stated and any(isinstance(item, _VALIDATORS) for item in metadata):
        raise SchemaError(path, "a validator is not in the schema: declare a Rule")


def _annotated(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield annotation
    for inner in get_args(annotation):
        yield from _annotated(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
