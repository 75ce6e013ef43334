"""Write the dashboards into the chart, or compare them: `python -m tools.monitoring.dashboards [--check]`."""

from __future__ import annotations

import sys

from tools.monitoring.dashboards.files import FOLDER, documents


def main() -> None:
    """Write, or fail where a file is not what the code says."""
    wanted = documents()
    known = {path.name for path in FOLDER.glob("*.json")}
    if "--check" in sys.argv:
        wrong = [
            name for name, text in wanted.items() if name not in known or (FOLDER / name).read_text() != text
        ]
        if wrong or known - wanted.keys():
            sys.exit(f"{FOLDER} is not what the code says; run: make dashboards")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in known - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
