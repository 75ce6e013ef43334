"""From an object's JSON to its model, with one readable error.

Comes in: what the API server stores. Goes out: one of the four models, or `InvalidSpec`. Invariant: what the
API server accepts under the current CRDs parses; an object that does not is reported on the object, never
raised past its reconcile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.trainingjob import TrainingJob
from noria_operator.recent import Recent

KINDS: Final[dict[str, type[BaseModel]]] = {
    names.TRAINING_JOB: TrainingJob,
    names.MODEL_VERSION: ModelVersion,
    names.MODEL_DEPLOYMENT: ModelDeployment,
    names.CONTINUOUS_TRAINING: ContinuousTraining,
}
MOST_REMEMBERED: Final = 4096
"""Models kept, of some 13 KB each; what was not looked at for longest goes first."""
_SHOWN_ERRORS: Final = 5
_UNKNOWN: Final = "extra_forbidden"
_NEWER: Final = frozenset({_UNKNOWN, "literal_error", "enum"})
"""Fields and words that the API server lets nobody write but with the CRDs of a later release."""
_SAID: Final = {_UNKNOWN: "this release of Noria has no such field"}
"""Where pydantic's own words say less."""
_FREE_FORM: Final = frozenset({"nodeAffinity", "podAffinity", "podAntiAffinity"})

Parsed = TrainingJob | ModelVersion | ModelDeployment | ContinuousTraining
Model = TypeVar("Model", bound=BaseModel)


class InvalidSpec(Exception):
    """The object is not what its kind allows; `message` names each field and what to do. `newer`: nobody did
    anything wrong, but only a later release of Noria can have written it. (The API server prunes fields that
    its CRDs do not know and refuses words that they do not list, and a status is an operator's.)
    """

    reason = "InvalidSpec"

    def __init__(self, message: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.newer = newer


def parse(obj: Mapping[str, Any]) -> Parsed:
    """The model of an object of one of the four kinds. Raises InvalidSpec."""
    kind = obj.get("kind")
    model = KINDS.get(str(kind))
    if model is None:
        raise InvalidSpec(f"{kind!r} is not one of {', '.join(KINDS)}")
    return parse_as(model, obj)  # type: ignore[return-value]


def parse_as(model: type[Model], obj: Mapping[str, Any]) -> Model:
    """The object as `model`, whose kind the caller knows. Raises InvalidSpec."""
    return _parsed(model, obj)


def read_over(model: type[Model], obj: Mapping[str, Any]) -> tuple[Model, str]:
    """As `parse_as`, without fields of a later release of Noria, and which these are; for whoever makes
    nothing of what it reads that these fields might have changed. Raises InvalidSpec.
    """
    try:
        return parse_as(model, obj), ""
    except InvalidSpec as error:
        if not error.newer:
            raise
        return _parsed(model, obj, extra="ignore"), error.message


def _parsed(model: type[Model], obj: Mapping[str, Any], *, extra: Literal["ignore"] | None = None) -> Model:
    if obj.get("apiVersion", names.API_VERSION) != names.API_VERSION:
        raise InvalidSpec(f"apiVersion {obj['apiVersion']!r} must be {names.API_VERSION}")
    body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    body["spec"] = _without_nulls(body.get("spec"))
    try:
        return model.model_validate(body, extra=extra)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise InvalidSpec(_readable(problems), newer=all(map(_is_newer, problems))) from error


class Remembered(Generic[Model]):
    """Objects of one kind as `model`, without status, each parsed once for every spec that it has: what is
    looked at every few seconds seldom changes.
    """

    def __init__(self, model: type[Model], *, most: int = MOST_REMEMBERED) -> None:
        self._model = model
        self._known: Recent[str, tuple[Any, Model]] = Recent(most)

    def __call__(self, obj: Mapping[str, Any]) -> Model:
        """As `parse_as`. Raises InvalidSpec."""
        uid, spec = obj["metadata"].get("uid", ""), obj.get("spec")
        known = self._known.used(uid)
        if known is None or known[0] != spec:
            known = spec, parse_as(self._model, {name: one for name, one in obj.items() if name != "status"})
            if uid:
                self._known[uid] = known
        return known[1]


def _without_nulls(value: Any) -> Any:
    """`value` as the API server stores it: it takes a null in an object for a field left out."""
    if isinstance(value, Mapping):
        return {
            key: item if key in _FREE_FORM else _without_nulls(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _is_newer(problem: ErrorDetails) -> bool:
    return problem["type"] in _NEWER or problem["loc"][:1] == ("status",)


def _readable(problems: Sequence[ErrorDetails]) -> str:
    shown = [
        f"{_path(problem['loc'], problem.get('ctx'))}: {_SAID.get(problem['type'], problem['msg'])}"
        for problem in problems
    ]
    more = len(shown) - _SHOWN_ERRORS
    return "; ".join(shown[:_SHOWN_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _path(location: tuple[int | str, ...], context: dict[str, Any] | None) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return (text + str((context or {}).get("path", ""))).lstrip(".") or "object"
