"""Records as Parquet files.

In: records of the payload log. Out: the bytes of a file. A prediction's row is found by `id` and `row`, and
so is its label; joining both files on these two gives labelled rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from noria_serving.columns import Packed
from noria_serving.quality import spelling

if TYPE_CHECKING:
    from noria_serving.payload.columns import Columns
    from noria_serving.payload.log import Labels, Prediction

Array = NDArray[Any]
_TIME = pa.timestamp("us", tz="UTC")


def predictions(records: Sequence[Prediction], columns: Columns) -> bytes:
    """id, row, time, request; input.<feature> of each feature; output.<tensor> of each output with a value
    for each row, or output.<tensor>.<column> of one with several, of as many in all records.
    """
    counts = np.array([record.rows for record in records])
    table: dict[str, Any] = {
        "id": _repeated([record.id for record in records], counts),
        "row": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
        "time": _times(np.repeat([record.at for record in records], counts)),
        "request": _repeated([record.request if columns.request else None for record in records], counts),
    }
    for name, tensor, column in columns.inputs:
        table[name] = _values([_column(record.inputs, tensor, column) for record in records])
    for name, index in columns.outputs:
        given = [record.outputs[index] for record in records]
        if any(len(array) != record.rows for array, record in zip(given, records, strict=True)):
            continue
        if len({array.shape[1:] for array in given}) > 1:
            continue  # rows differ in size
        joined = np.concatenate([_flat(array) for array in given])
        for column in range(joined.shape[1]):
            single = joined.shape[1] == 1
            table[name if single else f"{name}.{column}"] = _values([joined[:, column]])
    return _file(table)


def labels(records: Sequence[Labels], *, regression: bool) -> bytes:
    """id, row, time, delay (seconds), version, label; labels that are not known yet are left out."""
    rows = [
        (one.id, row, one.at, one.at - one.predicted, one.version, label)
        for one in records
        for row, label in enumerate(one.labels)
        if label is not None
    ]
    ids, numbers, times, delays, versions, values = map(list, zip(*rows, strict=True)) if rows else [[]] * 6
    told = map(float, values) if regression else map(spelling, values)
    return _file(
        {
            "id": pa.array(ids, pa.string()),
            "row": pa.array(numbers, pa.int32()),
            "time": _times(np.array(times, dtype=np.float64)),
            "delay": pa.array(delays, pa.float64()),
            "version": pa.array(versions, pa.string()),
            "label": pa.array(list(told), pa.float64() if regression else pa.string()),
        }
    )


def _file(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _times(seconds: Array) -> Any:
    return pa.array((seconds * 1e6).astype(np.int64), pa.int64()).cast(_TIME)


def _repeated(values: Iterable[str | None], counts: Array) -> Any:
    indices = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(values, pa.string())).cast(pa.string())


def _column(inputs: Mapping[str, Array] | Packed, tensor: str, column: int) -> Array:
    return inputs.value(tensor, column) if isinstance(inputs, Packed) else _flat(inputs[tensor])[:, column]


def _flat(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _values(arrays: Sequence[Array]) -> Any:
    joined = np.concatenate(arrays)
    if joined.dtype.kind not in "OUS":
        return pa.array(joined)
    words = joined.tolist()
    try:
        return pa.array(words, pa.string())
    except UnicodeEncodeError:  # of words that are no Unicode, which models may give: as they were answered
        return pa.array([word.encode(errors="replace") for word in words], pa.string())
