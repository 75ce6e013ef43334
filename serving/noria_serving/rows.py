"""Held-out rows as columns: Parquet or CSV files of one place, read in a fixed order, with a digest of what
they say.

In: a directory (or a URI), perhaps with a selection of partitions. Out: Rows. Invariant: the digest
depends on column names, kinds and values in order, not on file format, compression or how rows are spread
over files.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.data import Select, select_partitions
from noria_serving.errors import NoriaError, Reason
from noria_serving.objects import download, is_store, list_objects, open_store
from noria_serving.quality import spelling
from noria_serving.signature import DATATYPES, MATRIX, Signature

Array = NDArray[Any]
SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")
MAX_ROWS: Final = 20_000_000


@dataclass(frozen=True)
class Rows:
    """Columns of equal length: float64, int64 or str (object; the empty string is a missing value)."""

    columns: Mapping[str, Array]
    count: int
    unread: Mapping[str, str] = field(default_factory=dict)
    """Columns that are left out, and why: nobody may need them."""

    def check(self, column: str) -> None:
        """`DataInvalid` where there is no such column."""
        if column in self.unread:
            raise _unfit(column, self.unread[column])
        if column not in self.columns:
            raise NoriaError(
                Reason.DATA_INVALID, f"no column {column!r}; there are {sorted(self.columns)[:20]}"
            )

    def without_missing(self, column: str) -> Rows:
        """Only rows that have a value in the column (a label that is known)."""
        self.check(column)
        values = self.columns[column]
        kept = values != "" if values.dtype.kind == "O" else np.isfinite(values.astype(np.float64))
        columns = {name: array[kept] for name, array in self.columns.items()}
        return Rows(columns, int(np.count_nonzero(kept)), self.unread)

    def digest(self) -> str:
        """sha256 over the content: each column's name and kind, then its values, columns in order of name."""
        hasher = hashlib.sha256()
        for name in sorted(self.columns):
            values = self.columns[name]
            hasher.update(f"{name}\0{values.dtype.kind}\0{len(values)}\0".encode())
            if values.dtype.kind == "O":
                for value in values:
                    data = str(value).encode()
                    hasher.update(len(data).to_bytes(4, "little") + data)
            else:
                plain = np.where(np.isnan(values), np.nan, values) if values.dtype.kind == "f" else values
                hasher.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())
        return "sha256:" + hasher.hexdigest()

    def inputs(self, signature: Signature, start: int, end: int) -> dict[str, Array]:
        """A slice of the rows as the model's input tensors."""
        first = signature.inputs[0]
        matrix = signature.matrix or [(t.name, t.shape) for t in signature.inputs] == [(MATRIX, (-1, 1))]
        if matrix and first.name not in self.columns:
            return {first.name: self._matrix(signature, start, end)}
        missing = [t.name for t in signature.inputs if t.name not in self.columns]
        for name in missing:
            if name in self.unread:
                self.check(name)
        if missing:
            raise NoriaError(
                Reason.DATA_INVALID, f"the rows lack columns that the model takes: {missing[:20]}"
            )
        if wide := [t for t in signature.inputs if any(size not in (-1, 1) for size in t.shape[1:])]:
            raise NoriaError(
                Reason.DATA_INVALID,
                f"input {wide[0].name!r} of shape {list(wide[0].shape)} has more than one column, which "
                "rows of a file have no form for",
            )
        return {
            t.name: typed(t.name, self.columns[t.name][start:end], t.datatype).reshape(t.column)
            for t in signature.inputs
        }

    def _matrix(self, signature: Signature, start: int, end: int) -> Array:
        width = signature.inputs[0].shape[1]
        names = [f"x{i}" for i in range(width)]
        missing = [name for name in names if name not in self.columns]
        if missing:
            wanted = "column x0" if width == 1 else f"columns x0 to x{width - 1}"
            raise NoriaError(
                Reason.DATA_INVALID,
                f"the model takes one matrix {MATRIX}; name the {wanted} ({missing[:20]} are missing), or "
                "train on a DataFrame",
            )
        return np.column_stack(
            [typed(n, self.columns[n][start:end], signature.inputs[0].datatype) for n in names]
        )


def typed(name: str, values: Array, datatype: str) -> Array:
    """A column in the datatype that the model takes; what has no place in a whole number is refused."""
    if datatype == "BYTES":
        return values if values.dtype.kind == "O" else texts_of(values)
    if values.dtype.kind == "O":
        raise _unfit(name, f"holds text where the model takes {datatype}")
    whole = datatype == "BOOL" or "INT" in datatype
    if whole and not np.isfinite(values.astype(np.float64)).all():
        raise _unfit(name, f"has missing values where the model takes {datatype}")
    with np.errstate(invalid="ignore", over="ignore"):
        given = values.astype(DATATYPES[datatype])
    if whole and (unlike := given != values).any():
        raise _unfit(name, f"holds {values[unlike][0]:g}, which is no {datatype}")
    return given


def texts_of(values: Array) -> Array:
    """Numbers that stand for text, as a file writes them: 5 is not "5.0", a missing one is empty."""
    flat = values.reshape(-1).tolist()
    texts = ["" if value != value else spelling(value) for value in flat]  # noqa: PLR0124  NaN
    return np.array(texts, dtype=object).reshape(values.shape)


def _unfit(name: str, what: str) -> NoriaError:
    return NoriaError(Reason.DATA_INVALID, f"column {name!r} {what}")


def read(
    location: str, select: Select | None = None, *, texts: Collection[str] = (), within: Sequence[str] = ()
) -> Rows:
    """All rows of the selected partitions, files in order of path. `texts`: columns that are text, also where
    what CSV files have in them looks like numbers, truth values or dates. `within`: folders to read in the
    place of all.
    """
    places = [f"{location.rstrip('/')}/{folder}" for folder in within] or select_partitions(location, select)
    if not is_store(location):
        return _read_directory(
            Path(location.removeprefix("file://")), [Path(p.removeprefix("file://")) for p in places], texts
        )
    store, root = open_store(location), location.rstrip("/") + "/"
    with tempfile.TemporaryDirectory() as folder:
        for place in places:
            for item in list_objects(store, place.removeprefix(root) if place != location else None):
                name = str(item["path"])
                if ".." not in Path(name).parts and name.endswith(SUFFIXES):
                    download(store, name, Path(folder) / name)
        local = [Path(folder) / p.removeprefix(root) if p != location else Path(folder) for p in places]
        return _read_directory(Path(folder), local, texts)


def _read_directory(root: Path, places: list[Path], texts: Collection[str]) -> Rows:
    files = sorted({file for place in places for file in _files(place)})
    if not files:
        raise NoriaError(Reason.NO_ROWS, f"no {', '.join(SUFFIXES)} files under {root}")
    import pyarrow as pa  # noqa: PLC0415  only jobs that read rows need it

    try:
        tables = [_read_file(file, root, texts) for file in files]
        return _rows(pa.concat_tables(tables, promote_options="permissive"))
    except NoriaError:
        raise
    except Exception as error:
        raise NoriaError(Reason.DATA_INVALID, f"rows under {root} cannot be read: {error!s:.300}") from error


def _rows(table: Any) -> Rows:
    if table.num_rows > MAX_ROWS:
        raise NoriaError(Reason.TOO_LARGE, f"{table.num_rows} rows; select at most {MAX_ROWS}")
    columns = {name: _column(table.column(name)) for name in table.column_names}
    return Rows(
        {name: column for name, column in columns.items() if not isinstance(column, str)},
        table.num_rows,
        {name: column for name, column in columns.items() if isinstance(column, str)},
    )


def _files(place: Path) -> list[Path]:
    """Data files under a place; hidden ones (still being written) and links are left out."""
    if place.is_file():
        return [place]
    found = []
    for folder, directories, names in os.walk(place):
        directories[:] = [name for name in directories if not name.startswith((".", "_"))]
        paths = [
            Path(folder) / name
            for name in names
            if name.endswith(SUFFIXES) and not name.startswith((".", "_"))
        ]
        found += [path for path in paths if not path.is_symlink()]
    return found


def _read_file(file: Path, root: Path, texts: Collection[str]) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    table = parquet.ParquetFile(file).read() if file.suffix == ".parquet" else _read_csv(file, texts)
    for part in file.parent.relative_to(root).parts if file.parent.is_relative_to(root) else ():
        key, equals, value = part.partition("=")
        if equals and key not in table.column_names:
            table = table.append_column(key, pa.array([value] * table.num_rows, pa.string()))
    return table


def _read_csv(file: Path, texts: Collection[str]) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    return csv.read_csv(
        file,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )


def _column(values: Any) -> Array | str:
    """Canonical values of an Arrow column; of a kind that no model takes (lists, binaries), what it holds."""
    import pyarrow as pa  # noqa: PLC0415

    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        try:
            target = pa.int64() if not values.null_count else pa.float64()
            return np.asarray(values.cast(target).to_numpy())
        except pa.ArrowInvalid:  # numbers that have no place in it: the nearest that have
            return np.asarray(values.cast(pa.float64(), safe=False).to_numpy())
    if pa.types.is_floating(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if text or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)):
        texts = values.cast(pa.string()).fill_null("").to_pylist()
        return np.array(texts, dtype=object) if texts else np.empty(0, dtype=object)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "holds bytes that are no text in UTF-8; write it in UTF-8"
    return f"holds {kind!s:.60}, which is neither numbers nor text"
