"""PyTorch's checks, in an environment of their own: its wheels hold CUDA."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tools import venv
from tools.cluster.layout import CHECKOUT

CHECKS = Path(__file__).parent / "checks.py"


@pytest.mark.extended
def test_the_checks_pass_where_pytorch_is_installed() -> None:
    python = venv.ensure(CHECKOUT / "requirements" / "torch.txt", size="7 GB") / "bin" / "python"
    command = [str(python), "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(CHECKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
