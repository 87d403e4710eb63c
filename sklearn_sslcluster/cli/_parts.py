"""A Parquet file or folder part by part, a part being a row group: what is known beforehand, reading, writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._messages import Refusal, one_line, require
from ._tables import with_classes

_EXTENSIONS = (".parquet", ".pq")


@dataclass(frozen=True)
class Part:
    """A row group of a Parquet file."""

    path: str
    group: int
    n_rows: int


def find_parts(path: str) -> tuple[list[Part], Any]:
    """(parts of a Parquet file or folder, a table without rows that has its columns)."""
    pq = require("pyarrow.parquet")
    parts: list[Part] = []
    schema = None
    for name in _files(path):
        try:
            file = pq.ParquetFile(name)
        except ValueError as error:
            raise Refusal(f"{name} cannot be read: {one_line(error)}") from error
        if schema is None:
            schema = file.schema_arrow
        elif not schema.equals(file.schema_arrow):
            raise Refusal(f"{name} has other columns, or other types, than the files before it")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        parts += [Part(name, group, n_rows) for group, n_rows in enumerate(sizes) if n_rows]
    if schema is None or not parts:
        raise Refusal(f"{path} has no rows")
    return parts, _as_frame(schema.empty_table())


def _files(path: str) -> list[str]:
    if os.path.isfile(path) and path.lower().endswith(_EXTENSIONS):
        return [os.path.abspath(path)]
    if not os.path.isdir(path):
        raise Refusal(f"--distributed reads a folder of Parquet files, or one such file, and {path} is neither")
    found = [
        os.path.join(os.path.abspath(folder), name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.lower().endswith(_EXTENSIONS) and not name.startswith(("_", "."))
    ]
    if not found:
        raise Refusal(f"{path} holds no Parquet file")
    return sorted(found)


def _as_frame(table: Any) -> Any:
    frame = table.to_pandas(types_mapper=require("pandas").ArrowDtype)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def read_part(part: Part, columns: list[str] | None = None) -> Any:
    """Rows of a part as a DataFrame, cells as they stand."""
    file = require("pyarrow.parquet").ParquetFile(part.path)
    return _as_frame(file.read_row_group(part.group, columns=columns))


def sample_part(part: Part, columns: list[str], n_rows: int, seed: int) -> Any:
    """Some rows of a part, in their order."""
    frame = read_part(part, columns)
    rows = np.random.RandomState(seed).permutation(len(frame))[:n_rows]
    return frame.iloc[np.sort(rows)]


def write_part(part: Part, target: str, added: tuple[str, str], codes: np.ndarray, classes: tuple) -> None:
    """Write the rows of a part with their classes; `classes` are (names of the codes, those that are novel)."""
    names, novel = classes
    with_classes(read_part(part), added, names[codes], novel).to_parquet(target)


def check_folder(path: str | None) -> None:
    """Refuse a folder that cannot be written to as a whole."""
    if path is None:
        return
    parent = os.path.dirname(path.rstrip(os.sep)) or "."
    if not os.path.isdir(parent):
        raise Refusal(f"there is no folder {parent} to write {path} to")
    if os.path.exists(path):
        raise Refusal(f"{path} exists; with --distributed, -o names a folder that is made")


@contextmanager
def making_folder(path: str) -> Iterator[str]:
    """Folder to write to: it becomes `path` when all went well, and is removed otherwise."""
    parent, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(parent, f".{name}.{os.getpid()}.tmp")
    os.mkdir(temporary)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
