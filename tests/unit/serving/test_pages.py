"""What people look at: the page, OpenAPI, `inspect` and `predict`; and the repository's commands."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from noria_serving import bundle, contract
from noria_serving.artifact import sha256
from noria_serving.bundle import Bundle
from noria_serving.main import main
from noria_serving.model.loaded import Loaded
from noria_serving.protocol.errors import RequestError
from noria_serving.reference import Bins
from noria_serving.server import models as served
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models, State, load_service
from noria_serving.server.routes import openapi, page, repository
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

EVIL = ModelSettings("", deployment='<script>x"', model='<script>x"', version="e-1", number="1")


def client(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://s")  # type: ignore[arg-type]


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.textareas: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [
            value for name, value in attrs if name in ("src", "href") and value and "//" in value
        ]

    def handle_data(self, data: str) -> None:
        if self.tags[-1] == "textarea":
            self.textareas.append(data)


async def test_the_page_escapes_names_loads_nothing_and_its_example_works(
    loaded: Loaded, loaded_frame: Loaded
) -> None:
    frame = ModelSettings("", deployment="f", model="f", version="f-1", number="1")
    models = Models(Settings((EVIL, frame)))
    models.serve(Service(EVIL, loaded))
    models.serve(Service(frame, loaded_frame))
    async with client(App(models)) as http:
        response = await http.get("/", headers={"accept": "text/html,*/*"})
        alive = await http.get("/")
        page = Page()
        page.feed(response.text)
        example = next(text for text in page.textareas if "carrier" in text)
        answer = await http.post("/v2/models/f/infer", content=example)
    assert alive.json() == {"status": "alive"}
    assert page.tags.count("script") == 1
    assert page.outside == []
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert answer.status_code == 200, answer.text


async def test_openapi_describes_what_is_served(loaded: Loaded) -> None:
    one = ModelSettings("", deployment="m", model="m", version="m-3", number="3")
    models = Models(Settings((one,)))
    models.serve(Service(one, loaded))
    async with client(App(models)) as http:
        document = (await http.get("/openapi.json")).json()
        infer = document["paths"]["/v2/models/m/versions/3/infer"]["post"]
        asked = infer["requestBody"]["content"]["application/json"]
        answer = await http.post("/v2/models/m/versions/3/infer", json=asked["example"])
    inputs = asked["schema"]["properties"]["inputs"]
    assert inputs["items"]["oneOf"][0]["properties"]["name"]["enum"] == ["input-0"]
    assert answer.status_code == 200, answer.text
    schema = infer["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), schema, jsonschema.Draft4Validator)


class Features(tuple[Bins, ...]):
    """How often all of them were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Bins]:
        type(self).looks += 1
        return super().__iter__()


def test_a_document_looks_at_the_features_of_a_version_once(
    loaded_frame: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each tensor took a second with a thousand columns, in which nobody else was answered."""
    two_names = replace(EVIL, deployment="other")
    models, service = Models(Settings((two_names,))), Service(two_names, loaded_frame)
    models.serve(service)
    counted = Features(loaded_frame.reference.features)
    service.loaded = replace(loaded_frame, reference=replace(loaded_frame.reference, features=counted))
    for shown in (openapi.describe, page.show):
        monkeypatch.setattr(Features, "looks", 0)
        assert shown(models)[0] == 200
        assert Features.looks == 1


async def test_openapi_has_loads_where_clients_may_ask_for_them(loaded: Loaded) -> None:
    for writable in (False, True):
        models = Models(Settings((EVIL,), repository_writable=writable))
        async with client(App(models)) as http:
            document = (await http.get("/openapi.json")).json()
        paths = {path for path in document["paths"] if path.startswith("/v2/repository/models/")}
        base = "/v2/repository/models/%3Cscript%3Ex%22"
        assert paths == ({f"{base}/load", f"{base}/unload"} if writable else set())


async def test_every_get_answers_as_openapi_says_ready_or_not(loaded: Loaded, loaded_frame: Loaded) -> None:
    frame = ModelSettings("", deployment="f", model="f", version="f-1", number="1")
    models = Models(Settings((EVIL, frame)))
    models.serve(Service(EVIL, loaded))
    models.serve(Service(frame, loaded_frame))
    seen = set()
    async with client(App(models)) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        for fault in ("", "golden rows differ"):
            models.find("f", "1").soundness.fault = fault
            for path, operations in paths.items():
                if "get" in operations:
                    answer = await http.get(path)
                    responses = operations["get"]["responses"]
                    said = responses.get(str(answer.status_code), responses["default"])
                    schema = said["content"][answer.headers["content-type"]]["schema"]
                    jsonschema.validate(answer.json(), schema, jsonschema.Draft4Validator)
                    seen.add((path, answer.status_code))
    assert ("/v2/models/%3Cscript%3Ex%22/ready", 200) in seen
    assert {("/v2/health/ready", 503), ("/v2/models/f/ready", 503), ("/v2/models/f", 503)} <= seen


async def test_models_are_loaded_and_unloaded_where_that_was_allowed(matrix_bundle: Bundle) -> None:
    one = ModelSettings(str(matrix_bundle.path), deployment="m", model="m", version="m-1", number="1")
    models = Models(Settings((one,), repository_writable=True))
    await models.load_all()
    first = models.find("m", None)
    async with client(App(models)) as http, client(CountersApp(models)) as counters:
        assert (await http.post("/v2/repository/models/m/load", json={})).status_code == 200
        assert models.find("m", None) is not first
        unloaded = {"parameters": {"unload_dependents": False}}
        assert (await http.post("/v2/repository/models/m/unload", json=unloaded)).status_code == 200
        assert list(models.held()) == []
        assert (await http.get("/v2/models/m/ready")).status_code == 503
        assert (await http.get("/v2/health/ready")).status_code == 200
        assert (await http.post("/v2/repository/index")).json()[0]["state"] == "UNAVAILABLE"
        assert (await counters.get("/counters?model=m&version=1")).status_code == 503
        assert (await http.post("/v2/repository/models/m/load")).status_code == 200
        assert (await counters.get("/counters?model=m&version=1")).json()["version"] == "m-1"
        assert (await counters.get("/counters?model=x")).status_code == 404
        assert (await http.get("/v2/models/m/ready")).status_code == 200
    models.close()


@pytest.mark.parametrize("parameter", ["config", "file:1/model.onnx"])
async def test_a_load_that_brings_a_model_of_its_own_is_refused_and_changes_nothing(
    matrix_bundle: Bundle, parameter: str
) -> None:
    one = ModelSettings(str(matrix_bundle.path), deployment="m", model="m", version="m-1", number="1")
    models = Models(Settings((one,), repository_writable=True))
    await models.load_all()
    first = models.find("m", None)
    async with client(App(models)) as http:
        body = {"parameters": {parameter: "e30="}}
        refused = await http.post("/v2/repository/models/m/load", json=body)
        assert (refused.status_code, f"parameter '{parameter}'" in refused.json()["error"]) == (400, True)
        assert models.find("m", None) is first
        assert (await http.post("/v2/repository/models/m/unload", json=body)).status_code == 200
    models.close()


async def test_a_load_that_fails_leaves_the_earlier_one_serving(
    matrix_bundle: Bundle, copy_of: object
) -> None:
    place: Path = copy_of(matrix_bundle)  # type: ignore[operator]
    one = ModelSettings(str(place), deployment="m", model="m", version="m-1", number="1")
    models = Models(Settings((one,), repository_writable=True))
    await models.load_all()
    (place / contract.MANIFEST).unlink()
    async with client(App(models)) as http:
        failed = await http.post("/v2/repository/models/m/load")
        assert (failed.status_code, "ArtifactNotFound" in failed.json()["error"]) == (400, True)
        assert (await http.get("/v2/models/m/ready")).status_code == 200
        entry = (await http.post("/v2/repository/index")).json()[0]
    assert (entry["state"], "ArtifactNotFound" in entry["reason"]) == ("READY", True)
    models.close()


async def begun() -> None:
    """What was asked for just now is under way."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("command", ["load", "unload"])
async def test_a_client_that_leaves_ends_no_change_that_it_asked_for(
    matrix_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    one = ModelSettings(str(matrix_bundle.path), deployment="m", model="m", version="m-1", number="1")
    models, gate, load = Models(Settings((one,), repository_writable=True)), threading.Event(), load_service
    await models.load_all()
    (slot,), first = models.slots, models.find("m", None)
    monkeypatch.setattr(served, "load_service", lambda *given: load(*given) if gate.wait(20) else None)
    first.in_flight += 1  # which is what an unload waits for
    asked = asyncio.create_task(repository.carry_out(models, "m", command))
    async with asyncio.timeout(20):
        await begun()
        assert slot.state != State.READY
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set()
        first.in_flight -= 1
        async with slot.changing:  # which waits for its end
            assert slot.state == (State.READY if command == "load" else State.UNAVAILABLE)
    assert slot.service is not first
    with pytest.raises(RuntimeError, match="after shutdown"):
        first.line._thread.submit(int)
    models.close()


async def test_a_load_after_an_unload_leaves_the_server_ready_whether_it_succeeds_or_not(
    matrix_bundle: Bundle, copy_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    place: Path = copy_of(matrix_bundle)  # type: ignore[operator]
    one, two = (
        ModelSettings(str(where), deployment=name, model=name, version=f"{name}-1", number="1")
        for name, where in (("m", place), ("n", matrix_bundle.path))
    )
    models = Models(Settings((one, two), repository_writable=True))
    await models.load_all()
    manifest = (place / contract.MANIFEST).read_bytes()
    await repository.carry_out(models, "m", "unload")
    (place / contract.MANIFEST).unlink()
    with pytest.raises(RequestError, match="ArtifactNotFound"):
        await repository.carry_out(models, "m", "load")
    assert models.ready
    (place / contract.MANIFEST).write_bytes(manifest)
    gate, load = threading.Event(), load_service
    monkeypatch.setattr(served, "load_service", lambda *given: load(*given) if gate.wait(20) else None)
    loading = asyncio.create_task(repository.carry_out(models, "m", "load"))
    await begun()
    assert (models.slots[0].fetching, models.ready) == (True, True)
    gate.set()
    await loading
    models.slots[0].service.soundness.fault = "golden rows differ"
    assert not models.ready
    models.close()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_inspect_says_what_a_bundle_holds(matrix_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", str(matrix_bundle.path), "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["digest"], content["metrics"]) == (matrix_bundle.digest, {"auc": "0.9"})
    assert [feature["name"] for feature in content["reference"]["features"]] == ["x0", "x1", "x2"]
    assert run("inspect", str(matrix_bundle.path)) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("input-0", "FP32", "auc", matrix_bundle.digest))
    assert (
        f"parity     within {content['parity']} of the model that was converted, on its training rows" in text
    )
    assert "not ONNX" not in text


def test_inspect_says_of_a_model_of_labels_alone_what_was_compared(
    matrix: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = bundle.save(LinearSVC().fit(*matrix), *matrix, tmp_path / "b", name="m", holdout=matrix[0])
    assert run("inspect", str(saved.path)) == 0
    text = capsys.readouterr().out
    assert "parity     every label is that of the model that was converted, on held-out rows" in text
    assert "task       binary, labels alone" in text
    assert run("inspect", str(saved.path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["labelsOnly"] is True


def test_inspect_says_why_a_model_is_not_onnx(
    matrix: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("noria_serving.conversion._as_onnx", lambda *_: "answers differ by 0.3")
    saved = bundle.save(LogisticRegression().fit(*matrix), *matrix, tmp_path / "b", name="m")
    assert run("inspect", str(saved.path)) == 0
    text = capsys.readouterr().out
    assert "not ONNX   answers differ by 0.3" in text
    assert "parity" not in text


def test_predict_writes_a_line_a_row(
    frame_bundle: Bundle, loaded_frame: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("carrier,distance,hour,unused\nAA,0.5,3,1\nUA,-0.5,4,2\n")
    assert run("predict", str(frame_bundle.path), str(place)) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    inputs = {
        "distance": np.array([[0.5], [-0.5]], "f4"), "hour": np.array([[3], [4]]),
        "carrier": np.array([["AA"], ["UA"]], dtype=object),
    }  # fmt: skip
    expected = loaded_frame.backend.predict(inputs)[1]
    got = [[float(line["probabilities_0"]), float(line["probabilities_1"])] for line in lines]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert run("predict", str(frame_bundle.path), str(place), "--output", str(tmp_path / "out.csv")) == 0
    assert (tmp_path / "out.csv").read_text().count("\n") == 3


def test_predict_takes_text_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes that look like numbers or truth values, missing ones; line breaks, however long the file is."""
    codes = ["007", "5", "true", "2024-01-01", "A\nB", ""]
    table = pandas.DataFrame({"code": codes * 20})
    wanted = table.code.isin(codes[:3]).astype(int)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, wanted)
    saved = bundle.save(model, table, wanted, tmp_path / "b", name="m")
    place = tmp_path / "rows.csv"
    for several in ("007",), ("5", ""), ("true",), ("2024-01-01",), ("A\nB", "5"), ("A\nB",) * 120_000:
        pandas.DataFrame({"code": several, "other": 1}).to_csv(place, index=False, quoting=csv.QUOTE_ALL)
        assert run("predict", str(saved.path), str(place)) == 0
        lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        told = model.predict_proba(pandas.DataFrame({"code": several}))[:, 1]
        np.testing.assert_allclose([float(line["probabilities_1"]) for line in lines], told, rtol=1e-4)


def test_predict_says_how_rows_cannot_be_read(
    frame_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "rows.csv"
    place.write_bytes("carrier,distance,hour\n\xc9A,1,1\n".encode("latin-1"))
    assert run("predict", str(frame_bundle.path), str(place)) == 1
    assert "invalid UTF8 data" in capsys.readouterr().err


def test_predict_says_what_failed_in_a_line(
    matrix_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, nowhere = tmp_path / "rows.csv", tmp_path / "none" / "out.csv"
    place.write_text("x0,x1,x2\n1,2,3\n")
    command = ["predict", str(matrix_bundle.path), str(place)]
    assert run(*command, "--output", str(nowhere)) == 2
    assert f"{nowhere} cannot be written: No such file or directory" in capsys.readouterr().err
    monkeypatch.setattr("noria_serving.model.loaded.check_golden", lambda *_: (0.0, 1))
    monkeypatch.setattr("noria_serving.model.onnx.OnnxModel.predict", lambda *_: {}["weights"])
    assert run(*command) == 1
    assert "the model fails on rows 1 to 1: KeyError: 'weights'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [(contract.SIGNATURE, b"{"), (contract.REFERENCE, b"[" * 100_000), (contract.METRICS, b"[]")],
)
def test_inspect_says_which_file_of_a_bundle_is_malformed(
    matrix_bundle: Bundle, copy_of: Any, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    place = copy_of(matrix_bundle)
    manifest = json.loads((place / contract.MANIFEST).read_bytes())
    manifest["files"][name] = sha256(content)
    (place / name).write_bytes(content)
    (place / contract.MANIFEST).write_text(json.dumps(manifest))
    assert run("inspect", str(place)) == 1
    assert f"ManifestInvalid: {name} is not" in capsys.readouterr().err


def test_predict_says_which_columns_are_missing(
    frame_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("hour\n3\n")
    assert run("predict", str(frame_bundle.path), str(place)) == 1
    assert "carrier" in capsys.readouterr().err
    assert run("predict", str(frame_bundle.path), str(tmp_path / "none.csv")) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("carrier,distance,hour\nAA,far,3\n", "column 'distance' holds text where the model takes FP32"),
        ("carrier,distance,hour\nAA,1,\n", "column 'hour' has missing values where the model takes INT64"),
        ("carrier,distance,hour\nAA,1,3.7\n", "column 'hour' holds 3.7, which is no INT64"),
        ("carrier,distance,hour\nAA,1,1e300\n", "column 'hour' holds 1e+300, which is no INT64"),
    ],
)
def test_predict_says_which_column_does_not_fit(
    frame_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, said: str
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text(rows)
    assert run("predict", str(frame_bundle.path), str(place)) == 1
    assert said in capsys.readouterr().err


def test_predict_says_which_columns_of_a_matrix_are_missing(
    matrix_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("x0,x2\n1,2\n")
    assert run("predict", str(matrix_bundle.path), str(place)) == 1
    assert "name the columns x0 to x2 (['x1'] are missing)" in capsys.readouterr().err


def test_rows_that_are_none_are_a_header(
    frame_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("carrier,distance,hour\n")
    assert run("predict", str(frame_bundle.path), str(place)) == 0
    assert capsys.readouterr().out == "label,probabilities_0,probabilities_1\n"


def test_a_bundle_that_is_a_file_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "model.onnx"
    place.write_bytes(b"")
    assert run("inspect", str(place)) == 1
    assert "it is a file; give the directory that noria.json is in" in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"noria-server {project['version']}\n"
