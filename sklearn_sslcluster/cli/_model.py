"""The model: columns made numbers, then clusters, in one pipeline; fitted with progress, saved, and loaded."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import __version__
from ._columns import MAX_CATEGORIES, Features
from ._messages import Refusal, listed, note, one_line, require

# Room and name of each.
METHODS = {
    "auto": ("auto", "NovelClassDiscovery"),
    "semi-supervised-kmeans": ("discovery", "SemiSupervisedKMeans"),
    "ncd-kmeans": ("discovery", "NCDKMeans"),
    "ncd-spectral": ("discovery", "NCDSpectralClustering"),
}
# What warnings of the estimators name, and what it is here.
OPTIONS = {name: f"--method {method}" for method, (_, name) in METHODS.items()} | {"n_clusters": "--n-clusters"}
_FORMAT = 1
# Fewer rows are fitted before other processes have started.
_FEW_ROWS = 500
_CONTENT = {"format", "label", "numbers", "text", "pipeline"}
# What reading a file that is no model, or a broken one, may raise.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


def fit(features: Features, labels: np.ndarray, args: Namespace) -> tuple[Any, np.ndarray]:
    """(fitted pipeline, rows as its last step sees them)."""
    columns, Z = fit_columns(features, args)
    return fit_clusters(columns, Z, labels, args), Z


def fit_columns(features: Features, args: Namespace) -> tuple[Any, np.ndarray]:
    """(transformer of columns into numbers, fitted; the rows transformed)."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaler = StandardScaler() if args.scale == "standard" else "passthrough"
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), scaler), list(features.numbers)),
            ("text", make_pipeline(SimpleImputer(strategy="constant", fill_value=""), encoder), list(features.text)),
        ]
    )
    return columns, columns.fit_transform(features.frame())


def fit_clusters(columns: Any, Z: Any, labels: np.ndarray, args: Namespace) -> Any:
    """Pipeline of the transformer and a clusterer fitted to the rows `Z`."""
    from sklearn.pipeline import Pipeline

    room, name = METHODS[args.method]
    estimator = getattr(import_module(f"sklearn_sslcluster.{room}"), name)
    clusters = estimator(args.n_clusters, unlabeled_value=None, random_state=args.seed)
    if args.method == "auto":
        clusters.set_params(time_budget=args.time_budget, n_jobs=-1 if len(labels) > _FEW_ROWS else None)
    with _progress(clusters, Z, args.quiet):
        clusters.fit(Z, labels)
    if len(clusters.novel_classes_) == len(clusters.classes_):
        # Without a known class the estimator counts; in a column of text the names are text.
        clusters.rename_classes({name: f"novel_{name}" for name in clusters.classes_.tolist()})
    return Pipeline([("columns", columns), ("clusters", clusters)])


@contextmanager
def _progress(clusters: Any, Z: Any, quiet: bool) -> Iterator[None]:
    """Show the progress of a fit to someone who watches; the model keeps no trace of it."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    print(f"fitting {type(clusters).__name__} on {len(Z):,} rows, {Z.shape[1]:,} columns ...", file=sys.stderr)
    if find_spec("rich"):
        from sklearn.callback import ProgressBar

        require("rich").reconfigure(stderr=True)  # The bar is drawn where rich prints.
        clusters.set_callbacks(ProgressBar())
    try:
        yield
    finally:
        clusters.set_callbacks()


def save_model(pipeline: Any, features: Features, args: Namespace, target: str) -> None:
    model = {
        "format": _FORMAT,
        "package_version": __version__,
        "label": args.label,
        "unlabeled": list(args.unlabeled),
        "numbers": list(features.numbers),
        "text": list(features.text),
        "pipeline": pipeline,
    }
    require("skops.io").dump(model, target)


def load_model(path: str) -> dict[str, Any]:
    """Contents of a model file, of which nothing is made that is not trusted."""
    io, exceptions = require("skops.io"), require("skops.io.exceptions")
    from ..utils import trusted_types

    if not os.path.isfile(path):
        raise Refusal(f"there is no file {path}")
    try:
        _refuse_to_inflate(path)
        model = io.load(path, trusted=trusted_types())
    except exceptions.UntrustedTypesFoundException as error:
        raise Refusal(f"{path} was not loaded, since no model of this command holds such types: {error}") from error
    except _UNREADABLE as error:
        raise Refusal(f"{path} cannot be read as a model: {one_line(error)}") from error
    if not isinstance(model, dict) or not _CONTENT.issubset(model):
        raise Refusal(f"{path} is not a model that sslcluster discover --model saved")
    if model["format"] != _FORMAT:
        raise Refusal(f"{path} has format {model['format']}, and sslcluster {__version__} reads format {_FORMAT}")
    return model


def _refuse_to_inflate(path: str) -> None:
    """Refuse a file that would take more memory than it has bytes: models are saved as they are."""
    with zipfile.ZipFile(path) as file:
        if sum(part.file_size for part in file.infolist()) > os.path.getsize(path):
            raise Refusal(f"{path} holds compressed parts, and a model that sslcluster discover --model saved has none")


def note_unseen(pipeline: Any, features: Features) -> None:
    """Say which texts of new rows the model has never seen."""
    if features.text:
        encoder = pipeline[0].named_transformers_["text"][-1]
        for (name, texts), categories in zip(features.text.items(), encoder.categories_, strict=True):
            unseen = sorted(set(texts.tolist()) - set(categories.tolist()))
            if unseen:
                note(f"values of column {name!r} that the model has never seen: {listed(unseen)}")
