"""The page that draws dashboards draws every panel of every one, with Grafana's variables and units."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from tools.monitoring.dashboards.files import documents
from tools.monitoring.live import Prometheus, Span, Target, ask, expand, targets, variables
from tools.monitoring.pictures import __main__ as pictures

Json = dict[str, Any]
SPAN = Span(1_774_440_000, 1_774_441_800)
LABELS = {
    "namespace": "flights", "deployment": "flight-delay", "model": "flight-delay", "feature": "carrier",
    "version": "flight-delay-1", "bin": "0", "role": "champion", "trigger": "quality", "phase": "Healthy",
}  # fmt: skip


class Answers(BaseHTTPRequestHandler):
    """Prometheus' API with one series for everything, and what is not a number beside it."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.endswith("/values"):
            data: Any = ["flight-9", "flight-10", "distance", "carrier"]
        elif parts.path.endswith("query_range"):
            start, end = float(asked["start"]), float(asked["end"])
            times = [start + (end - start) * share for share in (0.2, 0.5, 1.0)]
            values = [[at, str(end * 1000 if "* 1000" in asked["query"] else 0.25)] for at in times]
            data = {"result": [{"metric": LABELS, "values": [[start, "NaN"], *values]}]}
        else:
            time = float(asked["time"])
            empty = {"metric": {**LABELS, "bin": "9"}, "value": [time, "NaN"]}
            data = {"result": [{"metric": LABELS, "value": [time, "0.25"]}, empty]}
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Prometheus(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_variables_are_all_where_that_may_be_chosen_else_the_first(prometheus: Prometheus) -> None:
    found = variables(json.loads(documents()["drift.json"]), prometheus, SPAN)
    assert found["model"] == ".*"
    assert found["feature"] == "carrier"
    assert found["version"] == "flight-10", "the newest"


def test_names_are_replaced_and_unknown_ones_left() -> None:
    assert expand('a{b=~"$model"}[$__rate_interval] $x', {"model": ".*", "__rate_interval": "1m"}) == (
        'a{b=~".*"}[1m] $x'
    )


def test_what_is_not_a_number_is_no_answer(prometheus: Prometheus) -> None:
    (vector,) = ask(prometheus, Target("p", "A", "x", True), SPAN)
    (series,) = ask(prometheus, Target("p", "A", "x", False), SPAN)
    assert vector["values"] == [[SPAN.end, 0.25]]
    assert len(series["values"]) == 3


def test_every_query_of_a_dashboard_is_a_target() -> None:
    dashboard = json.loads(documents()["quality.json"])
    found = list(targets(dashboard, {"namespace": ".*", "model": ".*", "version": ".*"}))
    assert len(found) == sum(len(panel["targets"]) for panel in dashboard["panels"])
    assert not [one for one in found if "$" in one.expr and "$__rate_interval" not in one.expr]
    assert {one.instant for one in found} == {True, False}


@pytest.mark.skipif(not any(map(shutil.which, pictures.BROWSERS)), reason="Chromium is not installed")
@pytest.mark.parametrize("name", documents())
def test_every_panel_is_drawn(name: str, prometheus: Prometheus, tmp_path: Path) -> None:
    dashboard = json.loads(documents()[name])
    data = pictures.gathered(dashboard, prometheus, SPAN, {})
    command = [
        pictures.browser(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={tmp_path}/profile", pictures.written(data, tmp_path).as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert dom.count('class="panel"') == len(shown)
    drawn = re.sub(r"<script>.*?</script>", "", dom, flags=re.DOTALL)
    assert "No data" not in drawn
    assert not re.search(r"NaN|undefined|null|Infinity", drawn)


@pytest.mark.skipif(not any(map(shutil.which, pictures.BROWSERS)), reason="Chromium is not installed")
def test_a_picture_is_a_file(prometheus: Prometheus, tmp_path: Path) -> None:
    file = tmp_path / "fleet.png"
    pictures.draw(pictures.gathered(json.loads(documents()["fleet.json"]), prometheus, SPAN, {}), file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_picture_gets_smaller_and_keeps_its_flat_colours(tmp_path: Path) -> None:
    picture, ground, line = tmp_path / "p.png", (17, 18, 23), (86, 166, 75)
    drawn = Image.new("RGB", (300, 200), ground)
    drawn.paste(line, (20, 20, 280, 90))
    source = random.Random(1)
    for place in itertools.product(range(100), range(120, 190)):  # as smoothed edges of words have
        drawn.putpixel(place, tuple(source.randbytes(3)))
    drawn.save(picture)
    before = picture.stat().st_size
    pictures.shrink(picture)
    with Image.open(picture) as after:
        assert after.size == (300, 200)
        assert [after.convert("RGB").getpixel(place) for place in ((5, 5), (100, 50))] == [ground, line]
    assert picture.stat().st_size < before / 2
