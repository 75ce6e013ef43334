"""Conditions on a query's result, such as `result[0] < 0.05`.

Comes in: an expression that a user wrote and the numbers that a source answered. Goes out: true or false.
Invariants: nothing but arithmetic, comparison, `and`, `or`, `not`, `in` and a few functions on the result can
be said, so an expression ends soon and reaches nothing; what is no condition is an error, never true or
false. Values that are no numbers are left out of functions on the whole result, and a condition that reads
one by itself has no answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from math import fmod, isfinite, isinf, isnan
from typing import Any, Final

from simpleeval import EvalWithCompoundTypes

Result = float | tuple[float, ...]
"""One number (a scalar of PromQL), or the values of a vector."""

_NODES: Final = (
    *(ast.Expr, ast.Name, ast.Constant, ast.Subscript, ast.Call, ast.List),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare),
)
_OPERATORS: Final = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.USub, ast.UAdd),
    *(ast.Eq, ast.NotEq, ast.Gt, ast.Lt, ast.GtE, ast.LtE, ast.In, ast.NotIn, ast.Not, ast.Invert),
)
_SPELLED: Final = ((re.compile(r"&&"), " and "), (re.compile(r"\|\|"), " or "), (re.compile(r"!(?!=)"), "~"))
"""What Argo's conditions have where Python's have words; its `!` binds as closely as Python's `~`."""


class InvalidCondition(ValueError):
    """It is no condition, or none on this result; the message says why."""


class NoNumber(Exception):
    """It reads a value that is NaN or infinite."""


class _Vector:
    """Values, of which those that are no numbers cannot be read."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self._values = values

    def __getitem__(self, place: int) -> float:
        value = self._values[place]
        if not isfinite(value):
            raise NoNumber
        return value

    @property
    def numbers(self) -> list[float]:
        """Those that can."""
        return list(filter(isfinite, self._values))


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of a vector's numbers alone."""

    def call(*args: Any) -> Any:
        return function(*(one.numbers if isinstance(one, _Vector) else one for one in args))

    return call


def _negated(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"! stands before {value!r}, which is neither true nor false")
    return not value


def _default(value: float, _: float) -> float:
    """Argo's, for a result without a value: such a one is never asked about here."""
    return value


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "len": _of_numbers(len),
    "min": _of_numbers(min),
    "max": _of_numbers(max),
    "sum": _of_numbers(sum),
    "abs": abs,
    "isNaN": isnan,
    "isInf": isinf,
    "asFloat": float,
    "default": _default,
}


def holds(condition: str, result: Result) -> bool:
    """Whether the condition is true; raises `InvalidCondition`, or `NoNumber` where that cannot be said."""
    values = _Vector(result) if isinstance(result, tuple) else result
    evaluator = EvalWithCompoundTypes(names={"result": values})
    evaluator.functions = _FUNCTIONS
    evaluator.nodes = {kind: act for kind, act in evaluator.nodes.items() if kind in _NODES}
    evaluator.operators = {kind: act for kind, act in evaluator.operators.items() if kind in _OPERATORS}
    evaluator.operators |= {ast.Mod: fmod, ast.Invert: _negated}
    try:
        answer = evaluator.eval(_words(condition))
    except NoNumber:
        raise
    except TypeError as error:
        what = "a vector: write result[0]" if isinstance(result, tuple) else "one number: write result"
        raise InvalidCondition(f"{condition!r}: {error} (the result is {what})") from error
    except Exception as error:  # whatever an expression can do wrong is the expression's fault
        raise InvalidCondition(f"{condition!r}: {error}") from error
    if not isinstance(answer, bool):
        raise InvalidCondition(
            f"{condition!r} is {answer!r}, neither true nor false; compare, as in result[0] < 0.05"
        )
    return answer


def problem(condition: str) -> str:
    """Why this is no condition on any result; empty when it can be one."""
    try:
        parsed = ast.parse(_words(condition).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{condition!r} is no condition: {error}"
    for node in ast.walk(parsed.body):
        known = isinstance(node, (*_NODES, *_OPERATORS, ast.And, ast.Or, ast.Load))
        named = not isinstance(node, ast.Name) or node.id in ("result", *_FUNCTIONS)
        plain = not isinstance(node, ast.Constant) or isinstance(node.value, int | float)
        if not (known and named and plain):
            return (
                f"{condition!r} is no condition: {ast.unparse(node)!r} is not allowed; see docs/analysis.md"
            )
    return ""


def _words(condition: str) -> str:
    for sign, word in _SPELLED:
        condition = sign.sub(word, condition)
    return condition
