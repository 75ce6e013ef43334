"""What the documents name is there: files, headings, make targets, values; what must stay out is out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from tools.cluster.layout import CHECKOUT

from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.parsing import parse_as

FOLDERS = "benchmarks charts crds docs examples operator requirements serving tests tools .ci"
SKIPPED = {".git", "LICENSE"}  # of a worktree, .git is a file
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```[a-z]*\n(.*?)```|^((?: {4}.*\n)+)|`([^`\n]+)`", re.DOTALL | re.MULTILINE)
# Split, so that this file does not hold what it looks for.
REGISTRIES = (
    "py" + "pi.org",
    "files.python" + "hosted.org",
    "registry.npm" + "js.org",
    "proxy.go" + "lang.org",
)
KEPT_OUT = {
    "the host of a package registry": (REGISTRIES, re.compile("|".join(map(re.escape, REGISTRIES)), re.I)),
    "a path of somebody's machine": (
        ("/ro" + "ot/", "/ho" + "me/"),
        re.compile(r"(?<![\w.$}])/(?:ro" + r"ot|ho" + r"me/[a-z]+)/[\w.]"),
    ),
    "a private key": (("private" + " key",), re.compile(r"-----BEGIN [A-Z ]*PRIVATE" + r" KEY-----")),
    "an access key": (
        ("ak" + "ia", "gh" + "p_"),
        re.compile(r"\bAK" + r"IA[0-9A-Z]{16}\b|\bgh" + r"p_\w{20}"),
    ),
}
"""What no file may hold, by its name: words of which it has one in it, in small letters, and all of it."""


def files() -> Iterator[Path]:
    """The repository's files; what builds and tools leave beside them is not looked at."""
    yield from (path for path in sorted(CHECKOUT.iterdir()) if path.is_file() and path.name not in SKIPPED)
    for folder in FOLDERS.split():
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


@cache
def texts() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8", errors="replace") for path in files()}


@cache
def small() -> dict[Path, str]:
    """In small letters: to look for a word is many times faster than for a pattern."""
    return {path: text.lower() for path, text in texts().items()}


DOCUMENTS = [path for path in files() if path.suffix == ".md"]


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def headings(document: Path) -> set[str]:
    """Anchors of a page, as the usual renderers make them."""
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def commands(document: Path) -> Iterator[str]:
    """Lines of code blocks, and code within lines; comments left out."""
    for groups in CODE.findall(document.read_text(encoding="utf-8")):
        for line in "".join(groups).splitlines():
            yield line.partition(" #")[0].strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name(document)}: {link}"
        assert not anchor or anchor in headings(target), f"{name(document)}: no heading for {link}"


def test_every_make_target_that_a_document_names_is_one() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = 0
    for document in DOCUMENTS:
        for command in commands(document):
            if command.startswith("make "):
                words = [word for word in command.split()[1:] if "=" not in word and word != "…"]
                named += len(words)
                assert set(words) <= targets, f"{name(document)}: {command}"
    assert named > 20


def test_every_value_that_a_document_sets_is_one_of_the_chart() -> None:
    values = yaml.safe_load((CHECKOUT / "charts/noria/values.yaml").read_text(encoding="utf-8"))
    named = 0
    for document in DOCUMENTS:
        for command in commands(document):
            for key in re.findall(r"--set(?:-string|-json)? ([\w.]+)=", command):
                inner = values
                for part in key.split("."):
                    assert part in inner, f"{name(document)}: {command}"
                    inner = inner[part]
                named += 1
    assert named


@pytest.mark.parametrize("what", KEPT_OUT)
def test_no_file_holds_what_must_stay_out(what: str) -> None:
    words, whole = KEPT_OUT[what]
    for path, text in small().items():
        found = whole.search(texts()[path]) if any(word in text for word in words) else None
        number = text.count("\n", 0, found.start()) + 1 if found else 0
        assert found is None, f"{name(path)}:{number} names {what}: {found[0][:160]}"


RECIPES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```yaml\n(.*?)^```",
    (CHECKOUT / "docs/rollouts.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize("recipe", [text for _, text in RECIPES], ids=[title for title, _ in RECIPES])
def test_a_recipe_for_a_rollout_is_accepted(recipe: str) -> None:
    spec = {"model": "flight-delay", **yaml.safe_load(recipe)}
    parse_as(ModelDeployment, {"metadata": {"name": "flight-delay"}, "spec": spec})


def test_there_are_recipes_for_rollouts() -> None:
    assert len(RECIPES) >= 4
