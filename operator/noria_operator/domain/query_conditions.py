"""Conditions on a query's result, such as `result[0] < 0.05`.

Comes in: an expression that a user wrote and the numbers that a source answered. Goes out: true or false.
Invariants: nothing but arithmetic, comparison, `and`, `or`, `not`, `len`, `min`, `max`, `abs` and `sum` on
the result can be said, so an expression ends soon and reaches nothing; what is no condition is an error,
never true or false.
"""

from __future__ import annotations

import ast
from typing import Final

from simpleeval import SimpleEval

Result = float | tuple[float, ...]
"""One number (a scalar of PromQL), or the values of a vector."""

_NODES: Final = (
    *(ast.Expr, ast.Name, ast.Constant, ast.Subscript, ast.Call),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare),
)
_OPERATORS: Final = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub),
    *(ast.Eq, ast.NotEq, ast.Gt, ast.Lt, ast.GtE, ast.LtE, ast.Not),
)
_FUNCTIONS: Final = {"len": len, "min": min, "max": max, "abs": abs, "sum": sum}
_SPELLED: Final = {"&&": "and", "||": "or"}
"""What Argo's conditions have where Python's have words."""


class InvalidCondition(ValueError):
    """It is no condition, or none on this result; the message says why."""


def holds(condition: str, result: Result) -> bool:
    """Whether the condition is true; raises `InvalidCondition`."""
    evaluator = SimpleEval(names={"result": result}, functions=_FUNCTIONS)
    evaluator.nodes = {kind: act for kind, act in evaluator.nodes.items() if kind in _NODES}
    evaluator.operators = {kind: act for kind, act in evaluator.operators.items() if kind in _OPERATORS}
    try:
        answer = evaluator.eval(_words(condition))
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
    for sign, word in _SPELLED.items():
        condition = condition.replace(sign, f" {word} ")
    return condition
