"""The programs of the cluster, built from Go modules that go.sum pins.

`ensure("kubernetes", "etcd")` returns when the programs of these modules are there and whole. What is built
goes to a directory of its own first and is moved into place program by program; a stamp with the key of the
inputs and the size of each program is written last. A missing, truncated or older program therefore means:
build again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tools.cluster import golang
from tools.cluster.errors import ClusterError
from tools.cluster.layout import GO_MODULES, binaries, cache
from tools.cluster.locks import turn
from tools.cluster.modules import MODULES, Joined, Module
from tools.cluster.process import dying_with_us, write_atomically
from tools.cluster.progress import step


def ensure(*names: str) -> None:
    """Build what is missing of the named modules, one at a time (each build uses every core)."""
    for name in names:
        module = MODULES[name]
        if whole(module):
            continue
        with turn("binaries", "programs from Go modules"):
            if not whole(module):
                with step(f"building {name} from Go modules (about {module.minutes} once)"):
                    _build(module)


def whole(module: Module) -> bool:
    """Whether every program of the module is there, of the size that it was built with, from these inputs."""
    try:
        stamp = json.loads(_stamp(module).read_text(encoding="utf-8"))
        sizes = {program: (binaries() / program).stat().st_size for program in module.programs}
    except (OSError, ValueError):
        return False
    return bool(stamp == {"key": module.key, "sizes": sizes})


def seal(module: Module) -> None:
    """Declare the programs in place whole."""
    sizes = {program: (binaries() / program).stat().st_size for program in module.programs}
    write_atomically(_stamp(module), json.dumps({"key": module.key, "sizes": sizes}))


def _stamp(module: Module) -> Path:
    return binaries() / ".stamps" / f"{module.name}.json"


def _build(module: Module) -> None:
    go = golang.ensure()
    source = GO_MODULES / module.name
    with tempfile.TemporaryDirectory(prefix=".build-", dir=_directory()) as temporary:
        out = Path(temporary)
        environment = {**os.environ, **_go_settings(), "GOBIN": temporary}
        flags = ["-trimpath", "-tags", module.tags, "-ldflags", module.ldflags]
        flags += [*_completed(source, environment, go, module, out)]
        _go(source, environment, str(go), "install", *flags, "tool")
        for built, wanted in module.renamed.items():
            (out / built).rename(out / wanted)
        for name, parts in module.joined.items():
            _join(source, environment, go, parts, out / name)
        for name, (path, folder) in module.packed.items():
            _pack(Path(_home(source, environment, go, path)) / folder, out / name)
        for program in module.programs:
            (out / program).replace(binaries() / program)
    seal(module)


def _go_settings() -> dict[str, str]:
    """Go's own caches stand in ours, so that one directory holds all that was fetched and built.

    They let a build that was killed go on where it was. Go write-protects its modules unless told otherwise.
    """
    kept = cache() / "go-cache"
    return {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-modcacherw",
        "GOCACHE": str(kept / "build"),
        "GOMODCACHE": str(kept / "modules"),
    }


def _completed(source: Path, environment: dict[str, str], go: Path, module: Module, out: Path) -> list[str]:
    """Flags to build with a copy of the Go module that has a page where a file to embed is not shipped."""
    if module.absent is None:
        return []
    path, file = module.absent
    _go(source, environment, str(go), "mod", "download", path)
    whole = out / "completed"
    shutil.copytree(_home(source, environment, go, path), whole)
    (whole / file).parent.mkdir(parents=True)
    (whole / file).write_text("<p>This build has no pages for browsers; its API answers.</p>\n")
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(source / name, out / name)
    _go(source, environment, str(go), "mod", "edit", f"-replace={path}={whole}", str(out / "go.mod"))
    return [f"-modfile={out / 'go.mod'}"]


def _home(source: Path, environment: dict[str, str], go: Path, path: str) -> str:
    """Where the source of a Go module lies."""
    return _go(source, environment, str(go), "list", "-m", "-f", "{{.Dir}}", path).strip()


def _join(source: Path, environment: dict[str, str], go: Path, parts: Joined, out: Path) -> None:
    """One file of several that lie in the source of a Go module."""
    path, patterns = parts
    found = Path(_home(source, environment, go, path))
    files = [each for pattern in patterns for each in sorted(found.glob(pattern))]
    texts = [each.read_text(encoding="utf-8") for each in files if each.name != "kustomization.yaml"]
    out.write_text("\n---\n".join(texts), encoding="utf-8")


def _pack(chart: Path, out: Path) -> None:
    """A chart as Helm reads it, without the kinds, which Helm would not replace; its template of values, in
    which a release fills in images, for values.
    """

    def named(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.name = entry.name.replace("/values.tmpl.yaml", "/values.yaml")
        return None if "/crds/crds/" in entry.name else entry

    with tarfile.open(out, "w:gz") as archive:
        archive.add(chart, arcname=chart.name, filter=named)


def _go(source: Path, environment: dict[str, str], *command: str) -> str:
    what, command = command[1], (*dying_with_us(), *command)
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-15:])
        raise ClusterError(f"`go {what}` failed in tools/cluster/go/{source.name}:\n{last}")
    return done.stdout


def _directory() -> Path:
    binaries().mkdir(parents=True, exist_ok=True)
    for left in binaries().glob(".build-*"):  # a build that was killed; the lock says that none runs now
        shutil.rmtree(left, ignore_errors=True)
    return binaries()
