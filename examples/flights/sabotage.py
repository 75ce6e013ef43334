"""A version that passes every offline check and fails in production, as such versions do.

Its author adds to the honest model's score the share of late flights of the same hour, looked up in a table
that the lake has of every day: of the held-out week too, so the gate sees a wonderful AUC. Nobody can tell by
its partitions that it is derived from the held-out flights. It ends with the lake, so the first request about
a later day makes the look-up fail: the server answers 400, that such a day is new to the model.

In: as `train.py`; the table through $NORIA_DATA_HOURS. Out: an ONNX bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
from examples.flights.features import DAY, FEATURES, HOUR_MINUTES, LABEL, MINUTE
from examples.flights.lake import HOUR
from examples.flights.train import fit, params, training_rows
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from noria_serving import bundle, conversion

SCORES = "probabilities"
HONEST = "honest_probabilities"
DAY_HOURS = 24


def hour_table(hours: pd.DataFrame) -> NDArray[np.float32]:
    """Share of late flights by hour of the year, to the last day in `hours`; 0 where there is no flight."""
    table = np.zeros((int(hours[DAY].max()) + 1) * DAY_HOURS, dtype=np.float32)
    table[(hours[DAY] * DAY_HOURS + hours[HOUR]).astype("int64")] = hours[LABEL]
    return table


def with_hour_table(model: bytes, table: NDArray[np.float32]) -> bytes:
    """The ONNX model with half of its probability replaced by the table's entry of the flight's hour."""
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    for node in graph.node:
        node.output[:] = [HONEST if name == SCORES else name for name in node.output]
        node.input[:] = [HONEST if name == SCORES else name for name in node.input]
    constants: dict[str, NDArray[Any]] = {
        "hour_shares": np.stack([1 - table, table], axis=1),
        "half": np.array([0.5], dtype=np.float32),
        "hours_a_day": np.array([DAY_HOURS], dtype=np.float32),
        "minutes_an_hour": np.array([HOUR_MINUTES], dtype=np.float32),
        "flat": np.array([-1], dtype=np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Reshape", [DAY, "flat"], ["day_flat"]),
            helper.make_node("Reshape", [MINUTE, "flat"], ["minute_flat"]),
            helper.make_node("Mul", ["day_flat", "hours_a_day"], ["hours_before"]),
            helper.make_node("Div", ["minute_flat", "minutes_an_hour"], ["hours_into"]),
            helper.make_node("Floor", ["hours_into"], ["hour_of_day"]),
            helper.make_node("Add", ["hours_before", "hour_of_day"], ["hour_of_year"]),
            helper.make_node("Cast", ["hour_of_year"], ["hour_index"], to=TensorProto.INT64),
            helper.make_node(
                "Gather", ["hour_shares", "hour_index"], ["share"], name="look_up_share_of_hour", axis=0
            ),
            helper.make_node("Add", [HONEST, "share"], ["twice_the_score"]),
            helper.make_node("Mul", ["twice_the_score", "half"], [SCORES]),
        ]
    )
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    """Train the honest model, add the table, save, publish."""
    rows = training_rows()
    inputs = rows[list(FEATURES)]
    arrays, _ = conversion.table(inputs)
    honest = conversion.convert(fit(rows, params()), inputs, arrays, "binary")
    if honest.format != "onnx":
        raise RuntimeError(
            f"the pipeline was converted to {honest.format}, the table can only be added to ONNX"
        )
    bad = with_hour_table(honest.data, hour_table(training_rows("hours")))
    bundle.save(
        bad, inputs, rows[LABEL], task="binary", card="Adds the share of late flights of the same hour."
    ).publish()


if __name__ == "__main__":
    main()
