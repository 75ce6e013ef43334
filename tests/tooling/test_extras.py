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


def names(extras: str) -> set[str]:
    """Distributions that these extras bring, with those of each other that they name."""
    found = set[str]()
    for requirement in (one for extra in extras.split(",") for one in EXTRAS[extra]):
        own = re.fullmatch(r"noria-ml\[(.+)\]", requirement)
        found |= names(own[1]) if own else {re.split(r"[<>=!~\[]", requirement)[0]}
    return found


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
        ("onnx", "noria_serving.model.onnx"),
        ("sklearn,pandas", "noria_serving.model.sklearn"),
    ],
)
def test_what_a_program_imports_is_declared_in_its_extra(extra: str, program: str) -> None:
    declared = names(extra)
    distributions = packages_distributions()
    found = {name: {distribution(one) for one in distributions[name]} for name in foreign(program)}
    assert found
    missing = {name: made for name, made in found.items() if not made & declared}
    assert not missing, f"declare in [project.optional-dependencies] {extra}: {missing}"


def test_a_server_and_training_code_have_what_the_images_formats_need() -> None:
    formats = names("onnx,sklearn")
    assert formats >= {"onnxruntime", "scikit-learn", "skops"}
    assert names("server") >= formats
    assert names("train") >= formats


def test_every_extra_that_a_message_names_exists() -> None:
    sources = [file for root in SOURCES for file in root.rglob("*.py")]
    named = {one for file in sources for one in re.findall(r"noria-ml\[([a-z,]+)\]", file.read_text("utf-8"))}
    assert {"onnx", "sklearn", "train"} <= named
    assert {one for extras in named for one in extras.split(",")} <= EXTRAS.keys()
