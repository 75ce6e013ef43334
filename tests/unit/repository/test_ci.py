"""`.ci/run`: set-up before `make`, the status of the tests, their closing lines, and no cluster after it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tools.cluster.layout import CHECKOUT

CHECK, SETUP, TEST = "python3 -m tools.cluster check", "python3 -m tools.setup", "make test"
DOWN = "python3 -m tools.cluster down"


@dataclass(frozen=True)
class Run:
    """What a run ended with: its status, what it printed, and the commands that it gave, in order."""

    status: int
    out: str
    commands: list[str]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory with a `python3` and a `make` that note how they are called."""
    for name in ("python3", "make"):
        program = tmp_path / name
        program.write_text(
            f"""#!/bin/bash
echo "{name} $*" >> {tmp_path}/called
case "{name} $*" in
  "$FAILING") exit 7 ;;
  "make test") echo "12 passed, 1 skipped in 3.40s"; echo "noise passed"
    echo "1 failed, 3 passed in 9.99s" ;;
esac
""",
            encoding="utf-8",
        )
        program.chmod(0o755)
    return tmp_path


def ci(machine: Path, *, failing: str = "nothing") -> Run:
    environment = {"PATH": f"{machine}:/usr/bin:/bin", "FAILING": failing, "HOME": str(machine)}
    done = subprocess.run(
        [CHECKOUT / ".ci" / "run"],
        env={**environment, "TMPDIR": str(machine)},
        capture_output=True,
        text=True,
        check=False,
        cwd=os.sep,
    )
    return Run(done.returncode, done.stdout, (machine / "called").read_text(encoding="utf-8").splitlines())


def test_set_up_comes_before_make_which_it_installs(machine: Path) -> None:
    run = ci(machine)
    assert run.status == 0
    assert run.commands == [CHECK, SETUP, TEST, DOWN, DOWN]


def test_the_closing_line_of_each_test_run_stands_at_the_end(machine: Path) -> None:
    end = ci(machine).out.split("Closing lines of the test runs:")[1].split("\n")
    assert [line for line in end if line] == ["12 passed, 1 skipped in 3.40s", "1 failed, 3 passed in 9.99s"]


@pytest.mark.parametrize(
    ("failing", "reached"), [(CHECK, [CHECK]), (SETUP, [CHECK, SETUP]), (TEST, [CHECK, SETUP, TEST])]
)
def test_what_fails_is_the_status_and_the_clusters_go_all_the_same(
    machine: Path, failing: str, reached: list[str]
) -> None:
    run = ci(machine, failing=failing)
    assert run.status == 7
    assert run.commands == [*reached, DOWN, DOWN]
    assert sorted(path.name for path in machine.iterdir()) == ["called", "make", "python3"]
