"""Reading and writing tables, cells as they stand."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._messages import Refusal, listed, nearest, note, one_line, require

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".parquet": None, ".pq": None}
_LONGEST_CELL = 2**31 - 1  # What the module csv can be set to everywhere.


def read_table(path: str) -> Any:
    """Table of a file as a DataFrame: all cells of a text file as text, a Parquet file with its own types."""
    pd = require("pandas")
    separator = _separator(path)
    if not os.path.exists(path):
        raise Refusal(f"there is no file {path}")
    if separator is None:
        require("pyarrow")
    try:
        frame = _read_parquet(pd, path) if separator is None else _read_text(pd, path, separator)
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} cannot be read: it is no text in UTF-8 ({error}); save it as UTF-8") from error
    except ValueError as error:
        raise Refusal(f"{path} cannot be read: {one_line(error)}") from error
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise Refusal(f"{path} has two columns named {doubled[0]!r}; give one of them another name")
    if not len(frame):
        raise Refusal(f"{path} has no rows")
    return frame


def _read_parquet(pd: Any, path: str) -> Any:
    # Arrow's own types keep integers with gaps, and are written back as they were.
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _read_text(pd: Any, path: str, separator: str) -> Any:
    # Not by pandas: it fills up short rows, renames columns of one name, and drops blanks in front of some cells.
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header, *rows = _rows(file, path, separator)
    finally:
        csv.field_size_limit(limit)
    columns = pd.DataFrame(dict(enumerate(zip(*rows, strict=True))), columns=range(len(header)), dtype=str)
    return columns.set_axis(header, axis=1)


def _rows(file: Any, path: str, separator: str) -> Iterator[list[str]]:
    """Header and rows of a text file, all of one length; blank lines are no rows, but where there is one column."""
    reader = csv.reader(file, delimiter=separator, strict=True)
    width, line, n_blank, n_passed = 0, 1, 0, 0
    header: list[str] = []
    try:
        for row in reader:
            is_blank = not row or (len(row) == 1 and not row[0].strip())
            if is_blank and width != 1:
                n_blank += width > 0
            else:
                header = header or row
                width, n_passed = width or len(row), n_blank
                if max(len(row), 1) != width:
                    if width == 1:
                        _refuse_other_separator(header, path, separator)
                    raise Refusal(f"line {line} of {path} has {len(row):,} cells, and its header has {width:,}")
                yield row or [""]
            line = reader.line_num + 1
    except csv.Error as error:
        raise Refusal(f"{path} cannot be read: line {line}: {error}") from error
    if not width:
        raise Refusal(f"{path} cannot be read: it is empty")
    if width == 1:
        _refuse_other_separator(header, path, separator)
    if n_passed:
        note(f"blank lines between the rows of {path}, which are not read as rows: {n_passed:,}")


def _refuse_other_separator(header: list[str], path: str, separator: str) -> None:
    """Refuse a table whose only column has the separators of another kind of table in its name."""
    for other, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
        if header and other != separator and len(header[0].split(other)) > 1:
            needed = "commas (.csv) or tabs (.tsv)"
            raise Refusal(f"the columns of {path} are set apart by {name}; save it with {needed} between them")


def _separator(path: str) -> str | None:
    """Separator of a text file, None for Parquet."""
    extension = os.path.splitext(path)[1].lower()
    if extension not in _SEPARATORS:
        raise Refusal(f"{path} should be a table, with a name that ends in {', '.join(_SEPARATORS)}")
    return _SEPARATORS[extension]


def write_table(frame: Any, path: str, target: Any) -> None:
    """Write a table to `target`, a file name or stream, in the format that `path` asks for."""
    separator = _separator(path)
    if separator is None:
        require("pyarrow")
        frame.to_parquet(target)
        return
    # An index with a name, which a Parquet file may have, is a column of the user's.
    has_index = any(name is not None for name in frame.index.names)
    frame.to_csv(target, sep=separator, index=has_index, encoding="utf-8", lineterminator="\n")


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Name of a file to write: it becomes `path` when all went well, and is removed otherwise."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def with_classes(frame: Any, added: tuple[str, str], names: np.ndarray, novel_classes: np.ndarray) -> Any:
    """The table with a column of class names and one that says which are novel."""
    novel = set(novel_classes.tolist())
    column = require("pandas").array(names.tolist(), dtype="string")
    return frame.assign(**{added[0]: column, added[1]: [name in novel for name in names.tolist()]})


def check_columns(frame: Any, table: str, names: list[str]) -> None:
    """Refuse names that are no columns of the table."""
    for name in names:
        if name not in [*frame.columns, *frame.index.names]:
            near = nearest(name, frame.columns)
            hint = f"the nearest: {listed(near)}" if near else f"its columns: {listed(frame.columns)}"
            raise Refusal(f"{table} has no column {name!r}; {hint}")


def added_names(frame: Any, table: str, label: str, prefix: str) -> tuple[str, str]:
    """Names of the two columns to add, which must not be in use."""
    added = f"{prefix}{label}_discovered", f"{prefix}is_novel"
    for name in added:
        if name in [*frame.columns, *frame.index.names]:
            raise Refusal(
                f"{table} already has a column {name!r}; --output-prefix new_ would add 'new_{label}_discovered' and "
                "'new_is_novel' instead"
            )
    return added


def check_targets(targets: list[str | None], sources: list[str | None], table: str | None) -> None:
    """Refuse files that cannot be written, before the long work; `table` is the one of `targets` that is a table."""
    taken = {os.path.realpath(path) for path in filter(None, sources)}
    if table:
        _separator(table)
    for path in filter(None, targets):
        if os.path.realpath(path) in taken:
            raise Refusal(f"{path} is already a file of this command; write to another one")
        taken.add(os.path.realpath(path))
        folder, name = os.path.split(path)
        if not os.path.isdir(folder or "."):
            raise Refusal(f"there is no folder {folder} to write {name} to")
        if os.path.exists(path) and not os.path.isfile(path):
            raise Refusal(f"{path} is not a file that can be written")


def check_page(path: str | None) -> None:
    """Refuse a page whose name does not say that it is one."""
    if path and os.path.splitext(path)[1].lower() not in (".html", ".htm"):
        raise Refusal(f"{path} should be a page, with a name that ends in .html")
