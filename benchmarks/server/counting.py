"""`python -m benchmarks.server.counting`: what counting costs a prediction, in CPU time of its thread.

Requests of one row, or of a few where it says so, decoded by the server's own code, are counted and folded as
the server does it. They are few enough to stay in the caches, as the arrays of a request are that was just
answered. `integers` are those that come for floats, `binary` those that stand behind the JSON, a tensor a
column, as the vector beside them does; `in several forms` come in turn in JSON, nested in it, and behind it.
`answers` is what it costs beside that to keep their answers, while two versions are compared; to tell one to
who compares, up to 4,096 at each look, is apart from that. Labels come later and are fewer: what counting one
costs, alone and by four columns of slices, beside what it takes to check the token that it came with. The
floor is numpy alone, sorting the same values and looking up every bin of a matrix that is there already.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from statistics import median
from typing import Any

import numpy as np
import orjson

from noria_serving import reference, signature
from noria_serving.contract import SCORE_BINS
from noria_serving.counters.answers import Answers
from noria_serving.counters.recorder import FOLD_ROWS, Recorder
from noria_serving.counters.state import State
from noria_serving.feedback.keys import KeyRing
from noria_serving.feedback.token import Token, binding, sign, verify
from noria_serving.protocol import v2
from noria_serving.protocol.raw import to_raw
from noria_serving.slices import Asked

FEATURES = 20
WIDTH = 768
SLICES = (Asked("f0", bounds=(-1.0, 0.0, 1.0)), Asked("f19"))
"""Columns by which rows are told apart: one of numbers, one that may be of text."""
BATCHES = 2
"""Folds a measurement, short, so that some of them meet no neighbour's load."""
REQUESTS = 64
Inputs = Mapping[str, Any]
Case = tuple[str, Recorder, list[Inputs]]


def main() -> None:
    """Print microseconds of CPU a prediction; 1 when the median of any case of these is over the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.counting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--limit", type=float, default=0.0, help="fail above so many µs; 0: never")
    options = parser.parse_args()
    found = measured(options.rounds)
    sys.stdout.write(f"µs of CPU a prediction of {FEATURES} features, {options.rounds} rounds\n")
    for name, samples in found.items():
        sys.stdout.write(f"{name:<36} median {median(samples):5.2f}   least {min(samples):5.2f}\n")
    every = list(found)
    predictions = every[: every.index("answers") + 1]  # what follows is of looks, of labels, and the floor
    slow = [name for name in predictions if median(found[name]) > options.limit > 0]
    sys.exit(f"over {options.limit} µs: {', '.join(slow)}" if slow else 0)


def measured(rounds: int) -> dict[str, list[float]]:
    """µs of CPU a prediction, by what is counted, in each round; `floor` is the last."""
    cases = [
        _matrix(), _columns(texts=0), _columns(texts=0, sliced=SLICES[:1]), _columns(texts=5),
        _columns(texts=5, sliced=SLICES), _columns(texts=0, integers=True), _columns(texts=0, beside=True),
        _columns(texts=0, beside=True, binary=True), _columns(texts=0, mixed=True),
        _columns(texts=0, rows=2), _columns(texts=5, rows=4), _embedding(),
    ]  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name, *_ in cases}
    found |= {
        name: []
        for name in ("answers", "an answer told", "a label", "a label, 4 sliced", "token of a label", "floor")
    }
    gc.disable()
    try:
        for _ in range(rounds):
            for name, recorder, requests in cases:
                found[name].append(_counted(recorder, requests))
            for name, each in zip(("answers", "an answer told"), _kept(), strict=True):
                found[name].append(each)
            found["a label"].append(_labelled(b""))
            found["a label, 4 sliced"].append(_labelled(bytes([1, 0, 3, 2])))
            found["token of a label"].append(_checked())
            found["floor"].append(_floor())
    finally:
        gc.enable()
    return found


def _counted(recorder: Recorder, requests: list[Inputs]) -> float:
    each = len(next(iter(requests[0].values())))
    score = np.full(each, 0.3, dtype=np.float32)
    rows = BATCHES * FOLD_ROWS
    repeated = list(islice(cycle(requests), rows // each))
    answered, fold = recorder.answered, recorder.fold
    began = time.thread_time()
    for inputs in repeated:
        if answered(inputs, score):
            fold()
    return (time.thread_time() - began) / rows * 1e6


def _kept() -> tuple[float, float]:
    """Answers of one row kept, and told, to requests of as many bytes as 20 columns have in JSON."""
    answers, score, rows = Answers("binary", ()), np.full(1, 0.3, dtype=np.float32), BATCHES * FOLD_ROWS
    requests = [(b"%036d" % number, b"%01500d" % number) for number in range(REQUESTS)]
    repeated = list(islice(cycle(requests), rows))
    answers.ask(0.0)
    add = answers.add
    began = time.thread_time()
    for id_, body in repeated:
        if answers.wanted:
            add((id_, body), score)
    kept = time.thread_time()
    answers.since(0)
    return (kept - began) / rows * 1e6, (time.thread_time() - kept) / rows * 1e6


def _labelled(groups: bytes) -> float:
    state, rows = State(_reference()), BATCHES * FOLD_ROWS
    bins = np.random.default_rng(6).integers(0, SCORE_BINS, rows).tolist()
    state.add_score("m-1", 0, positive=True, groups=groups)
    began = time.thread_time()
    for row_bin in bins:
        state.add_score("m-1", row_bin, positive=row_bin > 120, groups=groups)
    return (time.thread_time() - began) / rows * 1e6


def _checked() -> float:
    """One row, in four slices, as a request of one row has it."""
    ring, bound, rows = KeyRing("k1", {"k1": b"1" * 32}), binding("shop", "loan"), BATCHES * FOLD_ROWS
    token = Token("m-1", 2**40, b"n" * 10, bins=b"P", groups=b"1", slices=bytes([1, 0, 3, 2]))
    text = sign(token, ring, bound)
    began = time.thread_time()
    for _ in range(rows):
        verify(text, ring, bound)
    return (time.thread_time() - began) / rows * 1e6


def _reference() -> reference.Reference:
    rows = np.random.default_rng(7).normal(size=(64, 1)).astype(np.float32)
    shape = signature.Signature((signature.Tensor("x", "FP32", (-1, 1)),), ())
    return reference.parse(reference.build(shape, {"x": rows}, np.linspace(0, 1, 64)))


def _floor() -> float:
    values = np.random.default_rng(3).normal(size=(FEATURES, FOLD_ROWS))
    edges = np.quantile(values, np.linspace(0, 1, 11)[1:-1])
    began = time.thread_time()
    for _ in range(BATCHES):
        for row in np.sort(values, axis=1):
            row.searchsorted(edges, "right")
    return (time.thread_time() - began) / (BATCHES * FOLD_ROWS) * 1e6


def _matrix() -> Case:
    rows = np.random.default_rng(1).normal(size=(4096, FEATURES)).astype(np.float32)
    shape = signature.Signature((signature.Tensor("input-0", "FP32", (-1, FEATURES)),), ())
    return "one matrix", *_case(shape, {"input-0": rows}, as_sent=_json)


def _embedding() -> Case:
    """As long as requests come faster than embeddings are counted: 256 rows in five seconds."""
    rows = {"embedding": np.random.default_rng(5).normal(size=(4096, WIDTH)).astype(np.float32)}
    shape = signature.Signature((signature.Tensor("embedding", "FP32", (-1, WIDTH)),), ())
    return f"an embedding of {WIDTH}", *_case(shape, rows, as_sent=_json)


def _columns(
    *, texts: int, sliced: Sequence[Asked] = (), integers: bool = False, beside: bool = False,
    binary: bool = False, mixed: bool = False, rows: int = 1,
) -> Case:  # fmt: skip
    random = np.random.default_rng(2)
    numbers = random.normal(size=(FEATURES, 4096, 1)) * (1000 if integers else 1)
    columns: dict[str, Any] = {f"f{i}": each.astype(np.float32) for i, each in enumerate(numbers)}
    for name in list(columns)[FEATURES - texts :]:
        columns[name] = random.choice(["AA", "UA", "DL", "WN"], size=(4096, 1)).astype(object)
    if beside:
        columns["embedding"] = random.normal(size=(4096, WIDTH)).astype(np.float32)
    tensors = tuple(
        signature.Tensor(name, "BYTES" if values.dtype == object else "FP32", (-1, values.shape[1]))
        for name, values in columns.items()
    )
    name = f"{FEATURES} column tensors" + (f", {texts} of text" if texts else "")
    name += (f", {len(sliced)} sliced" if sliced else "") + (", integers" if integers else "")
    name += (", binary" if binary else "") + (f", a vector of {WIDTH}" if beside else "")
    name += ", in several forms" if mixed else ""
    name += f", {rows} rows a request" if rows > 1 else ""
    as_sent = _binary if binary else _integers if integers else _mixed if mixed else _json
    return name, *_case(signature.Signature(tensors, ()), columns, sliced, as_sent=as_sent, each=rows)


def _case(
    shape: signature.Signature,
    rows: Inputs,
    sliced: Sequence[Asked] = (),
    *,
    as_sent: Callable[[signature.Signature, Inputs], Inputs],
    each: int = 1,
) -> tuple[Recorder, list[Inputs]]:
    scores = np.random.default_rng(4).uniform(size=4096)
    recorder = Recorder(reference.parse(reference.build(shape, rows, scores, apart=sliced)))
    taken = [{name: values[row : row + each] for name, values in rows.items()} for row in range(REQUESTS)]
    return recorder, [as_sent(shape, request) for request in taken]


def _json(shape: signature.Signature, rows: Inputs) -> Inputs:
    """What the server makes of these rows in JSON."""
    return _decoded(shape, rows, lambda tensor, values: {"data": values.ravel().tolist()})


def _integers(shape: signature.Signature, rows: Inputs) -> Inputs:
    """Of whole numbers that are said to be such."""
    return _decoded(
        shape, rows,
        lambda tensor, values: {"datatype": "INT64", "data": values.astype(int).ravel().tolist()},
    )  # fmt: skip


def _binary(shape: signature.Signature, rows: Inputs) -> Inputs:
    """Of tensors behind the JSON."""
    tail = b"".join(to_raw(rows[tensor.name], tensor.datatype) for tensor in shape.inputs)
    return _decoded(
        shape, rows, lambda tensor, values: {"parameters": {"binary_data_size": values.nbytes}}, tail
    )


def _mixed(shape: signature.Signature, rows: Inputs) -> Inputs:
    """Of tensors in turn in JSON, nested in it, and behind it."""
    tail = b"".join(to_raw(rows[tensor.name], tensor.datatype) for tensor in shape.inputs[2::3])
    forms: Iterator[Callable[[Any], dict[str, Any]]] = cycle((
        lambda values: {"data": values.ravel().tolist()},
        lambda values: {"data": values.tolist()},
        lambda values: {"parameters": {"binary_data_size": values.nbytes}},
    ))  # fmt: skip
    return _decoded(shape, rows, lambda tensor, values: next(forms)(values), tail)


def _decoded(
    shape: signature.Signature,
    rows: Inputs,
    more: Callable[[signature.Tensor, Any], dict[str, Any]],
    tail: bytes | None = None,
) -> Inputs:
    entries = [
        tensor.as_json() | {"shape": rows[tensor.name].shape} | more(tensor, rows[tensor.name])
        for tensor in shape.inputs
    ]
    head = orjson.dumps({"inputs": entries})
    length = None if tail is None else b"%d" % len(head)
    return v2.decode(head + (tail or b""), shape, json_length=length).inputs


if __name__ == "__main__":
    main()
