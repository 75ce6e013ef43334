"""Draw every dashboard from a live Prometheus, one picture each.

    python -m tools.monitoring.pictures http://127.0.0.1:9090 docs/dashboards --minutes 30

It needs Debian's `chromium-headless-shell`, or a `chromium` on PATH. The pictures are no screenshots of
Grafana: the page reads the same JSON (places, queries, units, thresholds, legends, bands, annotations) and
draws it alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tools.monitoring.dashboards.files import FOLDER
from tools.monitoring.live import Prometheus, Span, ask, expand, panels, targets, variables

Json = dict[str, Any]
PAGE: Final = Path(__file__).with_name("page.html")
WIDTH: Final = 1500
CELL: Final = 38
"""Pixels of a unit of height, the gap included; the page says the same."""
BROWSERS: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def gathered(dashboard: Json, prometheus: Prometheus, span: Span, chosen: dict[str, str]) -> Json:
    """All that the page needs: the dashboard, what each target answers, what happened."""
    values = variables(dashboard, prometheus, span) | chosen
    answers = {f"{one.panel}/{one.ref}": ask(prometheus, one, span) for one in targets(dashboard, values)}
    happened = [
        {
            "name": one["name"],
            "color": one["iconColor"],
            "series": prometheus.over(expand(one["target"]["expr"], values), span),
        }
        for one in dashboard["annotations"]["list"]
    ]
    shown = {name: value for name, value in values.items() if not name.startswith("__")}
    span_shown = {"start": span.start, "end": span.end, "step": span.step}
    return {
        "dashboard": dashboard,
        "answers": answers,
        "happened": happened,
        "values": shown,
        "span": span_shown,
    }


def written(data: Json, folder: Path) -> Path:
    """The page with its data."""
    page = folder / "page.html"
    page.write_text(PAGE.read_text().replace("/*DATA*/null", json.dumps(data).replace("</", "<\\/")))
    return page


def draw(data: Json, out: Path) -> None:
    """One picture."""
    bottom = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels(data["dashboard"]))
    with tempfile.TemporaryDirectory() as folder:
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{70 + bottom * CELL}",
            f"--screenshot={out.resolve()}", written(data, Path(folder)).as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        sys.exit(f"{command[0]} made no picture: {done.stderr[-1000:]}")
    shrink(out)


def shrink(picture: Path) -> None:
    """A third of its size: flat colours need no more than a palette has."""
    with Image.open(picture) as drawn:
        few = drawn.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def browser() -> str:
    """A browser without a screen."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return found or sys.exit(f"none of {', '.join(BROWSERS)} is installed; Debian: chromium-headless-shell")


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(prog="python -m tools.monitoring.pictures")
    parser.add_argument("prometheus", help="address of a Prometheus")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--minutes", type=float, default=30.0, help="how far back from the end (30)")
    parser.add_argument("--end", type=float, default=None, help="seconds since the epoch (now)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable")
    given = parser.parse_args()
    end = given.end or time.time()
    span, prometheus = Span(end - given.minutes * 60, end), Prometheus(given.prometheus)
    given.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.json")):
        chosen = dict(one.split("=", 1) for one in given.set)
        draw(gathered(json.loads(path.read_text()), prometheus, span, chosen), given.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
