"""What a program imports comes with its own extra, not by the grace of another library."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from tools.cluster.layout import CHECKOUT

SOURCES = (CHECKOUT / "operator", CHECKOUT / "serving")
INSEPARABLE = {"pydantic-core": "pydantic"}
"""Distributions that another one pins exactly."""
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def source(module: str) -> Path | None:
    """The file of one of our own modules."""
    for root in SOURCES:
        for found in (
            root / (module.replace(".", "/") + ".py"),
            root / module.replace(".", "/") / "__init__.py",
        ):
            if found.is_file():
                return found
    return None


def imported(file: Path) -> Iterator[str]:
    """Modules that a file names, also where it needs them; not what types alone need."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def foreign(program: str) -> set[str]:
    """Top-level packages of others that a program may import, through all that it imports of ours."""
    waiting, ours, others = [program], set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        file = source(module)
        if file is None:
            top = module.partition(".")[0]
            others |= set() if top.startswith("noria_") else {top}
        elif module not in ours:
            ours.add(module)
            waiting += [module.rpartition(".")[0]] if "." in module else []
            waiting += imported(file)
    return others - set(sys.stdlib_module_names)


def distribution(name: str) -> str:
    """As it is declared."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    return INSEPARABLE.get(plain, plain)


@pytest.mark.parametrize(
    ("extra", "program"),
    [
        ("cli", "noria_operator.cli.main"),
        ("cli", "noria_operator.cli.report.command"),
        ("cli", "noria_operator.cli.simulate"),
        ("operator", "noria_operator.app"),
    ],
)
def test_what_a_program_imports_is_declared_in_its_extra(extra: str, program: str) -> None:
    declared = {re.split(r"[<>=!~\[]", one)[0] for one in EXTRAS[extra]}
    distributions = packages_distributions()
    found = {name: {distribution(one) for one in distributions[name]} for name in foreign(program)}
    assert found
    missing = {name: made for name, made in found.items() if not made & declared}
    assert not missing, f"declare in [project.optional-dependencies] {extra}: {missing}"
