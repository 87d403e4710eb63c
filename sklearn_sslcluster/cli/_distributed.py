"""``sslcluster discover --distributed``: a Parquet folder larger than memory, on the workers of Dask."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..engine import KEPT_MEMORY
from ._columns import Features, as_numbers, as_text, known_features, read_features, read_labels
from ._messages import Refusal, aligned, note, require, show
from ._model import fit_clusters, fit_columns, save_model
from ._parts import Part, check_folder, find_parts, making_folder, read_part, sample_part, write_part
from ._report import about_table, files_lines
from ._tables import added_names, check_columns, check_targets, replacing

METHODS = ("semi-supervised-kmeans", "ncd-kmeans")
# Rows that say what the columns are: medians, scales, texts.
_SAMPLED_ROWS = 100_000
_COUNTED_ROWS = 1000
_WRITTEN_AT_A_TIME = 64


def discover(args: Namespace) -> None:
    _check(args)
    parts, empty = find_parts(args.table)
    check_columns(empty, args.table, [args.label, *args.id])
    added = added_names(empty, args.table, args.label, args.output_prefix)
    check_folder(args.output)
    check_targets([args.model], [args.table], None)
    n_rows = sum(part.n_rows for part in parts)
    if args.n_clusters != "auto" and args.n_clusters > n_rows:
        raise Refusal(f"--n-clusters {args.n_clusters} is more than the {n_rows:,} rows of {args.table}")
    with _workers(args.distributed):
        labels = read_labels(_label_column(parts, args.label), args.unlabeled)
        features = _sampled_features(parts, empty, args)
        columns, Z = fit_columns(features, args)
        rows = _lazy_rows(parts, columns, features, Z.shape[1])
        pipeline = fit_clusters(columns, rows, labels, args)
        codes = _codes(pipeline[-1])
        with ExitStack() as files:
            if args.output:
                _write(parts, files.enter_context(making_folder(args.output)), added, codes, pipeline[-1])
            if args.model:
                save_model(pipeline, features, args, files.enter_context(replacing(args.model)))
    show(_lines(pipeline[-1], Z, features, labels, codes, args))
    show(files_lines(added, args.output, args.model))


def _check(args: Namespace) -> None:
    """Refuse what does not go together with --distributed."""
    for option in ("demo", "report", "time_budget"):
        if getattr(args, option):
            raise Refusal(f"--{option.replace('_', '-')} does not go with --distributed")
    if not args.table or args.label is None:
        raise Refusal("discover --distributed needs TABLE and --label COLUMN")
    if args.method == "auto":
        args.method = METHODS[0]
        note(f"--distributed takes --method {METHODS[0]}: auto compares methods that need all rows in memory")
    elif args.method not in METHODS:
        raise Refusal(f"--method {args.method} needs all rows in memory; --distributed takes {' or '.join(METHODS)}")
    args.scale = args.scale or "standard"
    if args.model:
        require("skops")


@contextmanager
def _workers(address: str) -> Iterator[None]:
    """A client of the scheduler at `address`, or of worker processes of this machine."""
    distributed = require("distributed", "cli,distributed")
    with ExitStack() as stack:
        if address == "local":
            stack.enter_context(require("dask").config.set(KEPT_MEMORY))
            address = stack.enter_context(distributed.LocalCluster(dashboard_address=":0"))
        stack.enter_context(distributed.Client(address))
        yield


def _label_column(parts: list[Part], label: str) -> Any:
    """The column of labels, of which each text is held once."""
    dask, pd = require("dask"), require("pandas")
    read = dask.delayed(_labels_of, pure=False)
    columns = dask.compute(*[read(part, label) for part in parts])
    if isinstance(columns[0], pd.Categorical):
        columns = [pd.Series(pd.api.types.union_categoricals(list(columns)))]
    return pd.concat(columns, ignore_index=True).rename(label)


def _labels_of(part: Part, label: str) -> Any:
    pd = require("pandas")
    column = read_part(part, [label])[label]
    if pd.api.types.is_numeric_dtype(column.dtype):
        # Whether floats are integers with gaps is told from all of them.
        return column
    texts = as_text(column)
    texts[texts == ""] = None
    return pd.Categorical(texts)


def _sampled_features(parts: list[Part], empty: Any, args: Namespace) -> Features:
    """What the columns are, by a sample of the rows."""
    dask, pd = require("dask"), require("pandas")
    compared = [name for name in empty.columns if name not in (args.label, *args.id)]
    n_rows = -(-_SAMPLED_ROWS // len(parts))
    read = dask.delayed(sample_part, pure=False)
    frames = dask.compute(*[read(part, compared, n_rows, args.seed + i) for i, part in enumerate(parts)])
    sample = pd.concat(frames, ignore_index=True)
    counting = dask.delayed(_counting_columns, pure=False)(parts[0], compared).compute()
    features = read_features(sample, args.table, dict.fromkeys(counting, "counts the rows"))
    for name in args.id:
        features.leave_out(name, "named by --id")
    return features


def _counting_columns(part: Part, compared: list[str]) -> list[str]:
    """Columns that count the rows, which have gaps in a sample."""
    is_integer = require("pandas").api.types.is_integer_dtype
    first = read_part(part, compared).iloc[:_COUNTED_ROWS]
    numbers = {name: as_numbers(first[name])[0] for name in compared if is_integer(first[name].dtype)}
    return [name for name, values in numbers.items() if len(values) > 2 and (np.diff(values) == 1).all()]


def _lazy_rows(parts: list[Part], columns: Any, features: Features, n_features: int) -> Any:
    """Rows as the clusterer sees them, read and made numbers on the workers."""
    da = require("dask.array")
    places = np.empty((len(parts), 1), dtype=object)
    places[:, 0] = parts
    sizes = tuple(part.n_rows for part in parts)
    return da.from_array(places, chunks=(1, 1), name=False).map_blocks(
        _made_numbers,
        columns,
        list(features.numbers),
        list(features.text),
        chunks=(sizes, (n_features,)),
        dtype=np.float64,
        meta=np.empty((0, 0)),
    )


def _made_numbers(place: np.ndarray, columns: Any, numbers: list[str], text: list[str]) -> np.ndarray:
    frame = read_part(place[0, 0], [*numbers, *text])
    # Cell by cell only what is not stored as numbers.
    stored = [name for name in numbers if frame[name].dtype.kind in "iuf"]
    features = known_features(frame, [name for name in numbers if name not in stored], text)
    features.numbers |= {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in stored}
    return columns.transform(features.frame())


def _codes(clusters: Any) -> np.ndarray:
    """Number of the class of every row."""
    code = {name: i for i, name in enumerate(clusters.classes_.tolist())}
    return np.fromiter((code[name] for name in clusters.labels_), dtype=np.int32, count=len(clusters.labels_))


def _write(parts: list[Part], folder: str, added: tuple[str, str], codes: np.ndarray, clusters: Any) -> None:
    """Let the workers write each part with its classes."""
    dask = require("dask")
    write = dask.delayed(write_part, pure=False)
    classes = clusters.classes_, clusters.novel_classes_
    starts = np.cumsum([0, *(part.n_rows for part in parts)])
    for first in range(0, len(parts), _WRITTEN_AT_A_TIME):
        numbers = range(first, min(first + _WRITTEN_AT_A_TIME, len(parts)))
        targets = {i: f"{folder}/part-{i:05d}.parquet" for i in numbers}
        dask.compute(*[write(parts[i], targets[i], added, codes[starts[i] : starts[i + 1]], classes) for i in numbers])


def _lines(
    clusters: Any, Z: np.ndarray, features: Features, labels: np.ndarray, codes: np.ndarray, args: Namespace
) -> list[str]:
    """Report, of which the silhouette is that of the sample."""
    labeled = np.array([label is not None for label in labels.tolist()])
    counts = np.bincount(codes, minlength=len(clusters.classes_))
    known = np.bincount(codes[labeled], minlength=len(clusters.classes_))
    names, n_known = clusters.classes_.tolist(), len(clusters.classes_) - len(clusters.novel_classes_)
    lines = [*about_table(features, labels, args), "medians, scales and texts of the columns are those of a sample", ""]
    if n_known:
        rows = [(names[i], f"{known[i]:,}", f"{counts[i] - known[i]:,}") for i in range(n_known)]
        lines += [*aligned([("known class", "labeled rows", "joined by"), *rows]), ""]
    if n_known < len(names):
        lines += aligned([("new class", "rows"), *((names[i], f"{counts[i]:,}") for i in range(n_known, len(names)))])
    else:
        lines += ["No new class was found."]
    return [*lines, "", f"silhouette of all classes: {clusters.score(Z):.2f} (from -1 to 1, higher is clearer)"]
