"""The dashboards under the types of a newer Grafana than the one they are built with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tools.monitoring.dashboards.files import documents

PACKAGES: Final = ("@grafana/schema@13.2.3", "typescript@5.9.3")
HEAD: Final = """
import { Dashboard, AnnotationQuery, ThresholdsMode, FieldColorModeId } from "@grafana/schema";
interface Marks { useValueForTime: boolean; titleFormat: string; textFormat: string }
interface Asked { target: { refId: string; expr: string } }
type Mark = Omit<AnnotationQuery, "target"> & Marks & Asked;
type Marked = Omit<Dashboard, "annotations"> & { annotations: { list: Mark[] } };
export const dashboard: Marked = """
ENUMS: Final = {
    '"absolute"': "ThresholdsMode.Absolute",
    '"thresholds"': "FieldColorModeId.Thresholds",
}
"""TypeScript takes no text where it wants a member of an enum."""

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types in it."""
    folder = tmp_path_factory.mktemp("grafana")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def judged(project: Path, text: str) -> str:
    """What the compiler says about a dashboard; empty when nothing."""
    for word, member in ENUMS.items():
        text = re.sub(rf'("mode": ){word}', rf"\1{member}", text)
    (project / "dashboard.ts").write_text(f"{HEAD}{text};\n")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "node", "--target", "es2020"]
    command = ["npx", "tsc", *options, "dashboard.ts"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", documents())
def test_grafanas_own_types_take_it(name: str, project: Path) -> None:
    assert judged(project, documents()[name]) == ""


def test_a_wrong_type_would_be_seen(project: Path) -> None:
    wrong = documents()["fleet.json"].replace('"editable": false', '"editable": "no"')
    assert "Type 'string' is not assignable to type 'boolean" in judged(project, wrong)
