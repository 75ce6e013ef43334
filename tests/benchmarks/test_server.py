"""The page that compares Noria with the best peer says who wins, and why where it is known."""

from datetime import date
from pathlib import Path
from unittest.mock import Mock

import numpy as np
from benchmarks.peers import models
from benchmarks.peers.servers import (
    FLOOR,
    KSERVE,
    KSERVE_BOTH,
    MLSERVER,
    NORIA,
    NORIA_LABELS,
    NORIA_LOGGED,
    NORIA_UNCOUNTED,
)
from benchmarks.server import load, page, payloads
from benchmarks.server.measure import Cell

from noria_serving.protocol.inference_pb2 import ModelInferRequest

LANES = [NORIA, NORIA_LABELS, NORIA_UNCOUNTED, NORIA_LOGGED, MLSERVER, KSERVE, KSERVE_BOTH, FLOOR]
SMALL, LARGE = Cell("small", "onnx", "json"), Cell("large", "onnx", "grpc")
COUNTED = {"one matrix": 1.0, "floor": 0.125}


def written(medians: page.Medians) -> str:
    return page.markdown(medians, LANES, COUNTED, [], rounds=3, day=date(2026, 11, 28))


def test_the_best_peer_stands_beside_noria_and_the_floor_apart() -> None:
    text = written(
        {
            "noria": {SMALL: {"cpu ms": 0.14, "rps": 6000.0}},
            "mlserver": {SMALL: {"cpu ms": 0.56, "rps": 1500.0}},
            "kserve": {SMALL: {"cpu ms": 0.8, "rps": 1200.0}},
            "floor": {SMALL: {"cpu ms": 0.06, "rps": 16000.0}},
        }
    )
    assert "CPU a request, ONNX, V2 JSON | 0.14 ms | 0.56 ms (MLServer) | 4.0 times less | 0.06 ms |" in text
    assert "answers a second, ONNX, V2 JSON | 6,000 | 1,500 (MLServer) | 4.0 times more | 16,000 |" in text
    assert "- Nowhere, in this run." in text
    assert "on 28 November 2026" in text


def test_where_a_peer_wins_it_is_bold_and_the_reason_is_given() -> None:
    text = written({"noria": {LARGE: {"cpu ms": 1.0}}, "kserve": {LARGE: {"cpu ms": 0.8}}})
    assert (
        "| CPU a request, 1,000 rows × 50 columns, ONNX, gRPC | 1 ms | **0.8 ms (KServe)** | 1.2 times more |"
        in text
    )
    assert "- **CPU a request, 1,000 rows × 50 columns, ONNX, gRPC**: there is nothing to parse" in text


def test_a_loss_that_nobody_has_explained_is_not_hidden() -> None:
    text = written({"noria": {SMALL: {"rps": 900.0}}, "mlserver": {SMALL: {"rps": 1000.0}}})
    assert f"- **answers a second, ONNX, V2 JSON**: {page.UNKNOWN}" in text


def test_a_difference_within_the_noise_is_no_win() -> None:
    text = written({"noria": {SMALL: {"cpu ms": 1.02}}, "mlserver": {SMALL: {"cpu ms": 1.0}}})
    assert "| CPU a request, ONNX, V2 JSON | 1.02 ms | 1 ms (MLServer) | the same |" in text
    assert "- Nowhere, in this run." in text


def test_what_no_peer_answers_has_none_beside_it() -> None:
    text = written({"noria": {Cell("small", "onnx", "binary"): {"cpu ms": 0.14}}})
    assert "| CPU a request, ONNX, binary tensors | 0.14 ms | none |  |  |" in text


def test_large_answers_are_compared_with_answers_that_hold_the_same() -> None:
    text = written(
        {
            "noria": {LARGE: {"cpu ms": 1.1}},
            "noria-labels": {LARGE: {"cpu ms": 1.0}},
            "noria-uncounted": {LARGE: {"cpu ms": 0.4}},
            "mlserver": {LARGE: {"cpu ms": 3.0}},
            "kserve": {LARGE: {"cpu ms": 0.8}},
            "kserve-both": {LARGE: {"cpu ms": 0.5}},
        }
    )
    row = "| CPU a request, 1,000 rows × 50 columns, ONNX, gRPC"
    assert f"{row} | 1.1 ms | **0.8 ms (KServe)** | 1.4 times more |" in text
    assert "0.2 to 0.6 ms lie between the two here; with" in text
    assert f"{row}, the same, counting switched off | 0.4 ms | 0.5 ms (KServe) | 1.2 times less |" in text
    assert f"{row}, labels alone | 1 ms | **0.8 ms (KServe)** | 1.2 times more |" in text
    assert f"{row}, labels and probabilities | 1.1 ms | **0.5 ms (KServe)** | 2.2 times more |" in text


def test_the_payload_log_has_lines_of_its_own_and_changes_no_other() -> None:
    plain = {
        "noria": {SMALL: {"cpu ms": 0.4, "rss": 100.0}},
        "mlserver": {SMALL: {"cpu ms": 1.2, "rss": 160.0}},
    }
    text = written({**plain, "noria-logged": {SMALL: {"cpu ms": 0.5, "rss": 200.0}}})
    assert "| CPU a request, ONNX, V2 JSON, payload log on | 0.5 ms | 1.2 ms (MLServer) |" in text
    assert "| memory, ONNX, payload log on | 200 MiB | **160 MiB (MLServer)** |" in text
    assert f"- **memory, ONNX, payload log on**: {page.PYARROW}" in text
    before = [line for line in written(plain).splitlines() if line.startswith("| ")]
    assert [line for line in text.splitlines() if line.startswith("| ") and "log on" not in line] == before


def test_a_server_that_is_measured_twice_is_named_once() -> None:
    assert "Noria's model server, MLServer 1.7.1, KServe SDK 0.21.0 and bare" in written({})


def test_binary_tensors_have_a_line_for_each_model() -> None:
    cells = {Cell("small", model, "binary"): {"cpu ms": 0.5} for model in ("sklearn", "onnx")}
    text = written({"noria": cells, "kserve": {cell: {"cpu ms": 1.5} for cell in cells}})
    for model in ("scikit-learn", "ONNX"):
        assert (
            f"| CPU a request, {model}, binary tensors | 0.5 ms | 1.5 ms (KServe) | 3.0 times less |" in text
        )


def test_who_wants_labels_alone_names_them() -> None:
    served = models.Served("m", Path(), Path(), {}, Path(), np.zeros((2, 4), np.float32), [0, 0], [])
    bodies = [payloads.of("grpc", served, asks=lane.asks).body for lane in (NORIA, NORIA_LABELS)]
    asked = [[one.name for one in ModelInferRequest.FromString(body).outputs] for body in bodies]
    assert asked == [[], ["label"]]


async def test_the_load_generator_reads_answers_in_chunks_and_with_a_length_however_they_are_cut() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n\r\n\r\n0\r\n\r\n"
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
    refused = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    for whole, good in ((chunked, True), (plain, True), (refused, False)):
        for cut in range(1, len(whole)):
            here = load.Connection(b"GET")
            here.transport = Mock()
            answer, next_one = here.send(), here.send()
            here.data_received(whole[:cut])
            assert not answer.done()
            here.data_received(whole[cut:])
            assert await answer is good
            assert not next_one.done()
