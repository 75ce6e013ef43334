"""From a pydantic model to the structural schema of a CRD.

Comes in: a model class. Goes out: an OpenAPI v3 schema as Kubernetes wants it: no references, bounds and
descriptions on everything, `x-kubernetes-*` keywords. Invariant: a keyword that this module does not know is
an error naming the field, never dropped.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from noria_operator.api.crdgen.declared import SchemaError, check_declarations

__all__ = ["SchemaError", "structural_schema"]

Schema = dict[str, Any]

_COPIED: Final = frozenset(
    {
        "description", "enum", "format", "maxItems", "maxLength", "maxProperties", "maximum", "minItems",
        "minLength", "minProperties", "minimum", "pattern", "required", "type",
        "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
    }
)  # fmt: skip
_HANDLED: Final = frozenset(
    {
        "additionalProperties",
        "const",
        "default",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "items",
        "properties",
    }
)
_DROPPED: Final = frozenset({"title", "x-noria-store-default"})
_FORMATS: Final = frozenset({"date-time"})


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of `model`. Raises SchemaError naming the field."""
    check_declarations(model)
    schema = model.model_json_schema(by_alias=True)
    return _Walk(schema.pop("$defs", {})).convert(schema, model.__name__, ())


class _Walk:
    """One conversion; holds the definitions that references point into."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def convert(self, schema: Schema, path: str, above: tuple[str, ...]) -> Schema:
        """The schema at `path`; `above` are the references on the way, to find recursion."""
        schema, above = self._resolve(schema, path, above)
        if schema.get("x-kubernetes-int-or-string"):
            return {key: value for key, value in schema.items() if key not in ("default", "title")}
        if unknown := set(schema) - _COPIED - _HANDLED - _DROPPED:
            raise SchemaError(path, f"{', '.join(sorted(unknown))} has no place in a structural schema")
        result = {key: value for key, value in schema.items() if key in _COPIED}
        if "const" in schema:
            result["enum"] = [schema["const"]]
        for bound, word in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if word in schema:
                result |= {bound: schema[word], word: True}
        if schema.get("x-noria-store-default"):
            result["default"] = schema["default"]
        self._children(schema, result, path, above)
        _check_bounds(result, path)
        return result

    def _resolve(self, schema: Schema, path: str, above: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """References inlined and `X | None` reduced to X: the API knows absence, not null."""
        while True:
            if "$ref" in schema:
                name = schema["$ref"].rsplit("/", 1)[1]
                if name in above:
                    raise SchemaError(path, f"{name} contains itself, which a structural schema cannot")
                above = (*above, name)
                schema = self._definitions[name] | {k: v for k, v in schema.items() if k != "$ref"}
            elif "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
                options = [option for option in schema["anyOf"] if option.get("type") != "null"]
                if len(options) != 1 or len(options) == len(schema["anyOf"]):
                    raise SchemaError(path, "a union has no place in a structural schema")
                schema = options[0] | {k: v for k, v in schema.items() if k != "anyOf"}
            else:
                return schema, above

    def _children(self, schema: Schema, result: Schema, path: str, above: tuple[str, ...]) -> None:
        properties = schema.get("properties")
        if properties is not None:
            result["properties"] = {
                name: self._property(inner, f"{path}.{name}", above) for name, inner in properties.items()
            }
        extra = schema.get("additionalProperties")
        if extra and properties:
            raise SchemaError(path, "named and free keys cannot stand side by side")
        if isinstance(extra, dict) and extra:
            result["additionalProperties"] = self.convert(extra, f"{path}.*", above)
        if "items" in schema:
            result["items"] = self.convert(schema["items"], f"{path}[]", above)

    def _property(self, schema: Schema, path: str, above: tuple[str, ...]) -> Schema:
        result = self.convert(schema, path, above)
        if not result.get("description"):
            raise SchemaError(path, "has no description")
        return result


def _check_bounds(schema: Schema, path: str) -> None:
    """What CEL or a client may have to read must have a largest size."""
    match schema.get("type"):
        case "string":
            bounded = {"maxLength", "enum"} & set(schema) or schema.get("format") in _FORMATS
            _require(bool(bounded), path, "a string needs max_length, an enum or a format")
        case "integer":
            _require({"minimum", "maximum"} <= set(schema), path, "an integer needs ge and le")
        case "boolean":
            pass
        case "array":
            _require("items" in schema, path, "an array needs the type of its items")
            _require("maxItems" in schema, path, "an array needs max_length")
        case "object":
            _check_object(schema, path)
        case other:
            raise SchemaError(path, f"type {other} is not supported; numbers are decimal strings")


def _check_object(schema: Schema, path: str) -> None:
    if "additionalProperties" in schema:
        _require("maxProperties" in schema, path, "a map needs max_length")
    elif "properties" not in schema:
        free = schema.get("x-kubernetes-preserve-unknown-fields") is True
        _require(free, path, "an object without fields needs json_schema_extra=PRESERVE")


def _require(holds: bool, path: str, problem: str) -> None:
    if not holds:
        raise SchemaError(path, problem)
