"""The payload log: what is in its files, what is dropped, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import threading
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from sklearn.linear_model import LinearRegression

from noria_serving import bundle, token_id
from noria_serving.columns import Row
from noria_serving.errors import NoriaError
from noria_serving.feedback.keys import KeyRing
from noria_serving.feedback.token import Token, binding, sign
from noria_serving.model.loaded import Loaded, load
from noria_serving.payload import log as payload_log
from noria_serving.payload import writer
from noria_serving.payload.columns import Columns
from noria_serving.payload.log import PayloadLog
from noria_serving.payload.settings import LogSettings, parse
from noria_serving.protocol import v2
from noria_serving.protocol.inference import Array, InferRequest
from noria_serving.server import models as served
from noria_serving.server.app import App
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings
from noria_serving.signature import Signature, Tensor

DOCS = Path(__file__).parents[3] / "docs" / "serving.md"
NOW = 1_800_000_000.0


class Store:
    """Files in memory; away while `open` is not set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.open = threading.Event()
        self.open.set()
        self.tried = threading.Event()

    def __call__(self, name: str, data: bytes) -> None:
        self.tried.set()
        if not self.open.is_set():
            raise OSError("the store is away")
        assert name not in self.files
        self.files[name] = data

    def rows(self, kind: str) -> list[dict[str, object]]:
        tables = [
            pq.read_table(io.BytesIO(data)) for name, data in self.files.items() if name.startswith(kind)
        ]
        return [row for table in tables for row in table.to_pylist()]


def log(loaded: Loaded, store: object = None, *, regression: bool = False, **said: object) -> PayloadLog:
    return PayloadLog(
        LogSettings(**{"uri": "unused", **said}), loaded.backend.signature, loaded.reference,
        version="late-4", regression=regression, place=store,
    )  # fmt: skip


def nonce(number: int) -> bytes:
    return b"proc01" + number.to_bytes(4)


def answer(
    here: PayloadLog, number: int, rows: list[tuple[float, int, str]], request: str | None = None
) -> None:
    columns = list(zip(*rows, strict=True))
    inputs = {
        "carrier": np.array(columns[2], dtype=object).reshape(-1, 1),
        "distance": np.array(columns[0], dtype=np.float32).reshape(-1, 1),
        "hour": np.array(columns[1], dtype=np.int64).reshape(-1, 1),
    }
    labels = np.arange(len(rows), dtype=np.int64)
    probabilities = np.full((len(rows), 2), 0.5, dtype=np.float32)
    here.prediction(nonce(number), NOW, request, inputs, [labels, probabilities])


def finished(here: PayloadLog) -> None:
    here.close()
    assert here.join(60)


def test_rows_and_labels_are_joined_by_id_and_row(loaded_frame: Loaded) -> None:
    store = Store()
    here = log(loaded_frame, store)
    answer(here, 1, [(1.5, 7, "AA"), (2.5, 8, "")], "mine")
    answer(here, 2, [(float("nan"), 9, "ZZ")])
    here.labels(Token("late-3", int(NOW * 1000), nonce(1), batch=2), [None, True], NOW + 60)
    finished(here)
    first, second, third = store.rows("predictions")
    assert first["id"] == second["id"] == nonce(1).hex()
    assert (first["row"], second["row"], third["row"]) == (0, 1, 0)
    assert (first["request"], third["request"]) == ("mine", None)
    assert (first["input.distance"], first["input.hour"], first["input.carrier"]) == (1.5, 7, "AA")
    assert np.isnan(third["input.distance"])
    outputs = [name for name in first if name.startswith("output.")]
    assert [first[name] for name in outputs] == [0, 0.5, 0.5]
    (label,) = store.rows("labels")
    assert (label["id"], label["row"], label["label"]) == (nonce(1).hex(), 1, "1")
    assert (label["version"], label["delay"]) == ("late-3", 60.0)
    assert here.written == 5
    assert sorted("/".join(name.split("/")[:2]) for name in store.files) == [
        "labels/taken_by=late-4", "predictions/version=late-4",
    ]  # fmt: skip


def test_labels_kept_by_token_are_joined_as_the_docs_do(
    loaded_frame: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = [
        one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "token_id" in one
    ]
    here = log(loaded_frame, uri=str(tmp_path / "log"))
    answer(here, 1, [(1.5, 7, "AA"), (2.5, 8, "")])
    answer(here, 2, [(3.5, 9, "UA")])
    finished(here)
    ring = KeyRing("k1", {"k1": b"1" * 32})
    tokens = [
        sign(Token("late-4", int(NOW * 1000), nonce(number), batch=2), ring, binding("shop", "late"))
        for number in (2, 1, 3)
    ]
    rows = zip(tokens, (0, 1, 0), ("no", "yes", "no"), strict=True)
    (tmp_path / "labels.csv").write_text("token,row,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, str(DOCS), "exec"), names)
    labelled = names["labelled"].sort_values("input.distance")
    assert labelled[["input.distance", "label"]].to_numpy().tolist() == [[2.5, "yes"], [3.5, "no"]]


@pytest.mark.parametrize("earlier", [False, True])
def test_both_folders_of_a_log_are_joined_as_the_docs_do(
    loaded_frame: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """Also where labels of an earlier release are in a folder that is called as a column is."""
    (example,) = [
        one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "drop_duplicates" in one
    ]
    here = log(loaded_frame, uri=str(tmp_path / "log"))
    answer(here, 1, [(1.5, 7, "AA"), (2.5, 8, "")])
    here.labels(Token("late-3", int(NOW * 1000), nonce(1), batch=2), [0, None], NOW + 60)
    here.labels(Token("late-3", int(NOW * 1000), nonce(1), batch=2), [1, None], NOW + 90)
    finished(here)
    labels = tmp_path / "log" / "labels"
    if earlier:
        (labels / "taken_by=late-4").rename(labels / "version=late-4")
    else:
        assert set(pd.read_parquet(labels)["version"]) == {"late-3"}
        assert set(ds.dataset(labels, partitioning="hive").to_table()["version"].to_pylist()) == {"late-3"}
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, str(DOCS), "exec"), names)
    (row,) = names["labelled"].to_dict("records")
    assert (row["input.distance"], row["label"], row["version"]) == (1.5, "1", "late-4")


SHORT = bytes((4, *[0] * 26, 1, 1, *[0] * 16))
"""Of a token with slices, whose rows are missing."""


@pytest.mark.parametrize(
    "text", ["", "a token", "A" * 60, "AQ" + "A" * 58, base64.urlsafe_b64encode(SHORT).decode()]
)
def test_what_is_no_token_has_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="no feedback token"):
        token_id(text)


def test_a_row_of_columns_is_written_as_one_whose_columns_came_one_by_one(loaded_frame: Loaded) -> None:
    values = {"carrier": ("BYTES", "AA"), "distance": ("FP32", 1.5), "hour": ("INT64", 7)}
    store = Store()
    here = log(loaded_frame, store)
    for number, deep in enumerate((False, True)):
        columns = [
            {"name": name, "datatype": kind, "shape": [1, 1], "data": [[[value]] if deep else value]}
            for name, (kind, value) in values.items()
        ]
        body = json.dumps({"inputs": columns}).encode()
        request = v2.decode(body, loaded_frame.backend.signature)
        assert isinstance(request.inputs, Row) is not deep
        outputs = loaded_frame.backend.predict(request.inputs)
        here.prediction(nonce(number), NOW, None, request.inputs, outputs)
    finished(here)
    first, second = store.rows("predictions")
    assert {**first, "id": ""} == {**second, "id": ""}
    assert [first[f"input.{name}"] for name in values] == ["AA", 1.5, 7]


def test_a_label_of_a_regression_is_a_number(loaded_frame: Loaded) -> None:
    store = Store()
    here = log(loaded_frame, store, regression=True)
    here.labels(Token("late-4", int(NOW * 1000), nonce(1), values=(1.0,)), [2], NOW)
    finished(here)
    assert store.rows("labels")[0]["label"] == 2.0


def test_redacted_columns_are_not_in_the_file(loaded_frame: Loaded) -> None:
    store = Store()
    here = log(loaded_frame, store, redact=("carrier",))
    answer(here, 1, [(1.5, 7, "a person's name")])
    finished(here)
    assert "input.carrier" not in store.rows("predictions")[0]
    assert all(b"a person's name" not in data for data in store.files.values())


def test_outputs_and_the_clients_id_can_be_redacted(loaded_frame: Loaded) -> None:
    store = Store()
    label, scores = loaded_frame.backend.signature.outputs
    answer(here := log(loaded_frame, store, redact=(label.name, "id")), 1, [(1.5, 7, "a")], "an address")
    finished(here)
    (row,) = store.rows("predictions")
    assert [name for name in row if name.startswith("output.")] == [
        f"output.{scores.name}.0", f"output.{scores.name}.1"
    ]  # fmt: skip
    assert (row["request"], row["id"]) == (None, nonce(1).hex())


@pytest.mark.parametrize("redact", [(), ("text",), ("x1",), ("text", "x0", "x1", "x6")])
def test_embeddings_are_written_number_by_number_and_redacted_by_their_name(
    redact: tuple[str, ...], tmp_path: Path
) -> None:
    rows = np.random.default_rng(1).normal(size=(200, 7))
    model = LinearRegression().fit(rows, rows[:, 0])
    made = bundle.save(model, rows, rows[:, 0], tmp_path / "b", name="m", embeddings={"text": range(2, 6)})
    loaded, store = load(str(made.path)), Store()
    here = log(loaded, store, regression=True, redact=redact)
    asked = np.arange(14, dtype=np.float32).reshape(2, 7)
    here.prediction(nonce(1), NOW, None, {"input-0": asked}, [np.zeros((2, 1), np.float32)])
    finished(here)
    names = ["x0", "x1", "text.0", "text.1", "text.2", "text.3", "x6"]
    for row, values in zip(store.rows("predictions"), asked.tolist(), strict=True):
        told = {name: value for name, value in row.items() if name.startswith("input.")}
        assert told == {
            f"input.{name}": value
            for name, value in zip(names, values, strict=True)
            if name not in redact and name.partition(".")[0] not in redact
        }


def test_a_redaction_that_hides_nothing_is_refused(loaded_frame: Loaded) -> None:
    with pytest.raises(NoriaError, match=r"carier.*what it has is.*carrier"):
        log(loaded_frame, Store(), redact=("carier",))


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=30), st.integers(1_000, 60_000))
def test_every_row_is_written_or_counted_as_dropped_and_none_waits(
    loaded_frame: Loaded, events, memory
) -> None:
    """Whatever the store does, and below the bound nothing is lost."""
    store = Store()
    here = log(loaded_frame, store, memory_bytes=memory, file_bytes=5_000)
    offered = size = 0
    for number, (rows, away) in enumerate(events):
        store.open.clear() if away else store.open.set()
        answer(here, number, [(float(row), row, "AA") for row in range(rows)])  # it returns although away
        offered, size = offered + rows, size + 2_116 + rows * 87
    waiting = here._offered - here._writer.done
    store.open.set()
    finished(here)
    assert waiting <= memory
    assert here.written == len(store.rows("predictions"))
    assert here.written + sum(here.dropped.values()) == offered
    assert size > memory or here.dropped == {"full": 0, "unwritable": 0}


@pytest.mark.parametrize(("carrier", "request_id"), [("x" * 100_000, None), ("AA", "x" * 100_000)])
def test_texts_count_with_their_length_and_so_does_what_clients_call_their_requests(
    loaded_frame: Loaded, carrier: str, request_id: str | None
) -> None:
    """Else a client could fill the memory of the server with what waits for the next file."""
    here = log(loaded_frame, Store(), memory_bytes=1_000_000)
    for number in range(20):
        answer(here, number, [(1.0, 1, carrier)], request_id)
    finished(here)
    assert (here.written, here.dropped["full"]) == (9, 11)


def test_labels_count_with_their_length(loaded_frame: Loaded) -> None:
    """Of several classes they may be of any that is not known."""
    here = log(loaded_frame, Store(), memory_bytes=1_000_000)
    for number in range(20):
        here.labels(Token("late-3", int(NOW * 1000), nonce(number), batch=1), [f"{number:<100000}"], NOW)
    assert not here.fits(["x" * 100_000])
    finished(here)
    assert (here.written, here.dropped["full"]) == (9, 11)


COUNT = 200
TABLE = Signature(
    tuple(Tensor(f"c{n}", "FP32" if n % 4 else "BYTES", (-1, 1)) for n in range(40)),
    (Tensor("y", "FP32", (-1,)),),
)


def asked(deep: bool, rows: int = 1) -> InferRequest:
    """A request of a table of forty columns; `deep` nested ones are decoded one by one."""
    values = {"FP32": [0.5] * rows, "BYTES": ["AA"] * rows}
    columns = [
        {
            "name": tensor.name, "datatype": tensor.datatype, "shape": [rows, 1],
            "data": [[[value]] if deep else value for value in values[tensor.datatype]],
        }
        for tensor in TABLE.inputs
    ]  # fmt: skip
    return v2.decode(json.dumps({"inputs": columns}).encode(), TABLE)


@pytest.mark.parametrize("form", ["all columns at once", "one by one", "several rows", "matrix", "joined"])
def test_no_more_memory_is_taken_than_is_counted(
    form: str, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By requests of small arrays, each of which takes more than its numbers."""

    def request() -> tuple[Mapping[str, Array], list[Array]]:
        if form == "matrix":
            return {"input-0": np.zeros((1, 3), np.float32)}, [np.zeros(1, np.int64), np.zeros((1, 2))]
        inputs = asked(form == "one by one", 3 if form == "several rows" else 1).inputs
        together = np.zeros((100 if form == "joined" else 1, 2))
        return inputs, [np.zeros(1, np.int64), together[:1]]

    monkeypatch.setattr(payload_log, "chosen", lambda *_: Columns((), ()))
    here = log(loaded, Store())
    here.prediction(nonce(0), NOW, None, *request())
    before = here._offered
    tracemalloc.start()
    try:
        for number in range(COUNT):
            here.prediction(nonce(number), NOW, f"request {number}", *request())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= here._offered - before <= 3 * taken
    finished(here)


def test_a_store_that_is_away_is_tried_again(loaded_frame: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_WAIT", 0.01)
    store = Store()
    store.open.clear()
    here = log(loaded_frame, store, file_bytes=1)
    answer(here, 1, [(1.0, 1, "AA")])
    assert store.tried.wait(60)
    answer(here, 2, [(2.0, 1, "AA")])
    store.open.set()
    finished(here)
    assert len(store.rows("predictions")) == 2
    assert here.failures >= 1


def test_rows_that_came_during_an_outage_wait_no_longer_than_others(
    loaded_frame: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the last ones before a quiet night wait until somebody asks again."""
    monkeypatch.setattr(writer, "FIRST_WAIT", 0.01)
    store, both = Store(), threading.Event()

    def place(name: str, data: bytes) -> None:
        if not store.tried.is_set():
            answer(here, 2, [(2.0, 1, "AA")])
            store.open.clear()
        try:
            store(name, data)
        finally:
            store.open.set()
        if len(store.rows("predictions")) == 2:
            both.set()

    here = log(loaded_frame, place, every=0.01)
    answer(here, 1, [(1.0, 1, "AA")])
    assert both.wait(10)
    finished(here)


def test_a_store_that_stays_away_does_not_hold_the_end(loaded_frame: Loaded) -> None:
    store = Store()
    store.open.clear()
    here = log(loaded_frame, store)
    answer(here, 1, [(1.0, 1, "AA")])
    finished(here)
    assert here.dropped == {"full": 0, "unwritable": 1}


def test_a_record_that_cannot_be_written_takes_no_other_along(loaded_frame: Loaded) -> None:
    store = Store()
    here = log(loaded_frame, store)
    answer(here, 1, [(1.0, 1, "AA")])
    answer(here, 2, [(1.0, 1, "DL")], request="\ud800")
    answer(here, 3, [(1.0, 1, "UA")])
    finished(here)
    assert [row["input.carrier"] for row in store.rows("predictions")] == ["AA", "UA"]
    assert here.dropped["unwritable"] == 1


def test_an_output_whose_width_differs_between_requests_takes_nothing_else_along(
    loaded: Loaded,
) -> None:
    """Its columns would be others in each row. Files of requests of one width have it."""
    store = Store()
    for widths in ((1, 3), (2, 2)):
        here = log(loaded, store)
        for number, width in enumerate(widths):
            outputs = [np.zeros(1, np.int64), np.zeros((1, width), np.float32)]
            here.prediction(nonce(number), NOW, None, {"input-0": np.zeros((1, 3), np.float32)}, outputs)
        finished(here)
        assert here.dropped == {"full": 0, "unwritable": 0}
    told = [[name for name in row if name.startswith("output.")] for row in store.rows("predictions")]
    wide = ["output.label", "output.probabilities.0", "output.probabilities.1"]
    assert told == [["output.label"], ["output.label"], wide, wide]


def test_words_that_are_no_unicode_are_written_as_they_were_answered(loaded_frame: Loaded) -> None:
    """Which only models give: those of requests are Unicode."""
    store = Store()
    here = log(loaded_frame, store)
    answer(here, 1, [(1.0, 1, "A\ud800"), (2.0, 2, "Zürich")])
    finished(here)
    assert [row["input.carrier"] for row in store.rows("predictions")] == ["A?", "Zürich"]
    assert here.dropped == {"full": 0, "unwritable": 0}


def test_files_are_written_when_it_is_time(loaded_frame: Loaded) -> None:
    store = Store()
    here = log(loaded_frame, store, every=0.01)
    answer(here, 1, [(1.0, 1, "AA")])
    assert store.tried.wait(60)
    finished(here)


def test_samples_are_chosen_by_the_id_alone_and_in_their_share(loaded_frame: Loaded) -> None:
    one, other = (log(loaded_frame, Store(), sample=0.1) for _ in range(2))
    chosen = [one.samples(nonce(number)) for number in range(20_000)]
    assert chosen == [other.samples(nonce(number)) for number in range(20_000)]
    assert 1_700 < sum(chosen) < 2_300
    every = log(loaded_frame, Store())
    assert all(every.samples(nonce(number)) for number in range(1_000))
    for each in (one, other, every):
        finished(each)


def test_a_directory_holds_whole_files_of_several_processes(loaded_frame: Loaded, tmp_path: Path) -> None:
    logs = [log(loaded_frame, uri=str(tmp_path)) for _ in range(3)]
    for number, here in enumerate(logs):
        answer(here, number, [(1.0, 1, "AA")])
        finished(here)
    assert ds.dataset(tmp_path / "predictions", partitioning="hive").count_rows() == 3
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_store_gets_its_files_through_its_own_client(
    loaded_frame: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opened = MemoryStore(), []
    monkeypatch.setattr(writer, "open_store", lambda uri: opened.append(uri) or store)
    here = log(loaded_frame, uri="s3://lake/log")
    answer(here, 1, [(1.0, 1, "AA")])
    finished(here)
    ((found,),) = store.list()
    assert opened == ["s3://lake/log"]
    assert pq.read_table(io.BytesIO(bytes(store.get(found["path"]).bytes()))).num_rows == 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"uri": ""}', '{"uri": "x", "sample": 0}', '{"uri": "x", "sample": 2}',
             '{"uri": "x", "every": 0}', '{"uri": "https://host/x"}', '{"sample": 1}'],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(NoriaError, match=r"payload log|NORIA_PAYLOAD_LOG"):
        parse(text)


def test_settings_are_read_from_the_environment() -> None:
    said = '{"uri": "s3://b/p", "sample": "0.01", "redact": ["name"], "every": 30}'
    assert parse(said) == LogSettings("s3://b/p", 0.01, ("name",), 30.0)


async def test_labels_of_a_large_batch_go_to_the_log_through_its_token(
    loaded: Loaded, tmp_path: Path
) -> None:
    chosen = ModelSettings(
        bundle="", deployment="late", model="late", version="late-4", number="4",
        payload_log=LogSettings(str(tmp_path)),
    )  # fmt: skip
    models, service = Models(Settings((chosen,))), Service(chosen, loaded)
    models.serve(service)
    rows, labels = np.arange(300.0).reshape(100, 3).tolist(), [row % 2 for row in range(100)]
    tensor = {"name": "input-0", "shape": [100, 3], "datatype": "FP32", "data": rows}
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        answered = await client.post("/v2/models/late/infer", json={"id": "mine", "inputs": [tensor]})
        sent = {"token": answered.json()["parameters"]["feedback_token"], "labels": labels}
        first, second = [await client.post("/v2/models/late/feedback", json=sent) for _ in range(2)]
        few = await client.post("/v2/models/late/feedback", json={**sent, "labels": [1]})
    assert first.json() == {"result": "logged", "rows": 100}
    assert (second.status_code, few.json()["reason"]) == (409, "invalid")
    models.close()
    assert service.payload.join(60)
    predictions = ds.dataset(tmp_path / "predictions", partitioning="hive").to_table()
    joined = predictions.join(
        ds.dataset(tmp_path / "labels").to_table(), ["id", "row"], right_suffix=".label"
    )
    assert joined.num_rows == 100
    assert {(row["input.x0"], row["label"]) for row in joined.to_pylist()} == {
        (3.0 * row, str(row % 2)) for row in range(100)
    }
    assert set(joined["request"].to_pylist()) == {"mine"}


def test_labels_for_which_there_is_room_are_never_dropped(loaded_frame: Loaded) -> None:
    store = Store()
    store.open.clear()
    here = log(loaded_frame, store, memory_bytes=20_000)
    number = 0
    while here.fits([1] * 10):
        here.labels(Token("late-3", 1_800_000_000_000, nonce(number), batch=100), [1] * 10, NOW)
        number += 1
    assert number > 1
    store.open.set()
    finished(here)
    assert (here.written, here.dropped) == (10 * number, {"full": 0, "unwritable": 0})
    assert here.fits([1] * 10)


async def test_a_client_is_told_when_to_send_the_labels_of_a_large_batch_again(
    loaded: Loaded, tmp_path: Path
) -> None:
    settings = LogSettings(
        str(tmp_path), memory_bytes=8_000
    )  # for the rows, and not for their labels besides
    chosen = ModelSettings(bundle="", deployment="late", model="late", payload_log=settings)
    models = Models(Settings((chosen,)))
    models.serve(Service(chosen, loaded))
    tensor = {"name": "input-0", "shape": [100, 3], "datatype": "FP32", "data": [1.0] * 300}
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        answered = await client.post("/v2/models/late/infer", json={"inputs": [tensor]})
        sent = {"token": answered.headers["noria-feedback"], "labels": [1] * 100}
        refused = await client.post("/v2/models/late/feedback", json=sent)
        listed = await client.post("/v2/models/late/feedback", json={"items": [sent]})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert (refused.json()["reason"], listed.json()["results"][0]["result"]) == ("full", "full")
    models.close()


async def test_a_large_batch_that_the_log_has_no_room_for_carries_no_token(
    loaded: Loaded, tmp_path: Path
) -> None:
    """Its labels would be joined with nothing. Those of a small one are counted all the same."""
    settings = LogSettings(str(tmp_path), memory_bytes=1)
    chosen = ModelSettings(bundle="", deployment="late", model="late", payload_log=settings)
    models, service = Models(Settings((chosen,))), Service(chosen, loaded)
    models.serve(service)
    transport, answers = httpx.ASGITransport(app=App(models)), []
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        for rows in (100, 64):
            tensor = {"name": "input-0", "shape": [rows, 3], "datatype": "FP32", "data": [1.0] * 3 * rows}
            answers.append(await client.post("/v2/models/late/infer", json={"inputs": [tensor]}))
    models.close()
    large, small = answers
    assert (large.status_code, "noria-feedback" in large.headers) == (200, False)
    assert "parameters" not in large.json()
    assert "noria-feedback" in small.headers
    assert service.payload is not None
    assert service.payload.dropped["full"] == 164


async def test_a_version_that_was_unloaded_is_held_until_its_rows_are_written(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(writer, "open_place", lambda uri: lambda name, data: gate.wait(60))
    monkeypatch.setattr(served, "INTERVAL_SECONDS", 0)
    chosen = ModelSettings(bundle="", payload_log=LogSettings(str(tmp_path)))
    models, service = Models(Settings((chosen,))), Service(chosen, loaded)
    models.serve(service)
    await service.infer(InferRequest({"input-0": np.zeros((1, 3), np.float32)}, 1, (0, 1)))
    await models.unload(models.slots[0])
    assert (list(models.services()), list(models.held())) == ([], [service])
    gate.set()
    ticking = asyncio.create_task(models.keep_ticking())
    async with asyncio.timeout(60):
        while list(models.held()):  # noqa: ASYNC110
            await asyncio.sleep(0)
    ticking.cancel()
    assert service.payload is not None
    assert service.payload.written == 1
