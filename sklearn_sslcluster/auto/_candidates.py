"""The methods that are compared, each an ordinary pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from ..base import PartialLabelMixin, count_parameter
from ..deep import NeighborEmbeddingClustering
from ..discovery import (
    KnownClassMetric,
    NCDKMeans,
    NCDSpectralClustering,
    NovelRowsClustering,
    ProjectionNCD,
    SemiSupervisedKMeans,
)
from ..labels import UNLABELED
from ..mixture import SemiSupervisedGaussianMixture

# Shrinkages of the metric that are tried beside no metric at all.
_METRICS = ("passthrough", KnownClassMetric(shrinkage=0.1), KnownClassMetric(shrinkage=0.4))
# Columns above which a mixture sees principal components.
_MOST_MIXED_COLUMNS = 30
# Distinct unlabeled rows below which neighbor embeddings and networks have too little to go by.
_FEWEST_FOR_NEIGHBORS = 100
# Unlabeled rows above which the eigenvectors of a neighbor graph take too long.
_MOST_SPECTRAL = 20_000


@dataclass(frozen=True)
class Candidate:
    """One method with its parameters.

    Attributes
    ----------
    name : str
    pipeline : Pipeline or estimator
        Not fitted.
    params : dict
        What was set on the pipeline of the list, for the leaderboard.
    """

    name: str
    pipeline: Any
    params: dict[str, Any]


def default_candidates(
    unlabeled: str, *, n_unlabeled: int = 1000, n_features: int = 10, n_known: int = 3
) -> list[tuple[str, Pipeline, dict]]:
    """Methods that `NovelClassDiscovery` compares by default, simple ones first.

    Parameters
    ----------
    unlabeled : {"mixed", "novel"}
        Whether unlabeled rows may belong to known classes.
    n_unlabeled : int, default=1000
        Unlabeled rows; with fewer than 100 neighbor embeddings and networks are left out, with more than 20,000
        spectral clustering.
    n_features : int, default=10
        Columns; of more than 30 a mixture sees the principal components.
    n_known : int, default=3
        Known classes; without any there is no metric to learn.

    Returns
    -------
    candidates : list of (str, Pipeline, dict)
        Name, pipeline, and grid of parameters. The list, changed, can be given as ``candidates``.

    Raises
    ------
    ValueError
        If `unlabeled` is neither.

    See Also
    --------
    NovelClassDiscovery : Compares them.

    Examples
    --------
    >>> from sklearn_sslcluster.auto import default_candidates
    >>> [name for name, pipeline, grid in default_candidates("mixed")]
    ['k-means', 'mixture', 'neighbors', 'projection']
    """
    if unlabeled not in ("mixed", "novel"):
        raise ValueError(f"unlabeled must be 'mixed' or 'novel', got {unlabeled!r}.")
    metrics = list(_METRICS) if n_known else ["passthrough"]
    reduce = PCA(_MOST_MIXED_COLUMNS, random_state=0) if n_features > _MOST_MIXED_COLUMNS else "passthrough"
    mixture, neighbors = SemiSupervisedGaussianMixture(n_init=5), NeighborEmbeddingClustering(n_init=5, max_epochs=40)
    if unlabeled == "novel":
        mixture = NovelRowsClustering(clusterer=mixture)
        neighbors = NovelRowsClustering(clusterer=neighbors)
    k_means = NCDKMeans() if unlabeled == "novel" else SemiSupervisedKMeans(n_init=20)
    listed = [("k-means", _pipeline(k_means), metrics)]
    if unlabeled == "novel":
        spectral = NCDSpectralClustering(affinity="nearest_neighbors", n_neighbors=10)
        listed += [("ward", _pipeline(NovelRowsClustering()), metrics)]
        if n_unlabeled <= _MOST_SPECTRAL:
            listed += [("spectral", _pipeline(spectral), metrics[::2])]
    listed += [("mixture", _pipeline(mixture, reduce), metrics[:2])]
    if n_unlabeled >= _FEWEST_FOR_NEIGHBORS:
        listed += [("neighbors", _pipeline(neighbors), metrics[::2])]
        if n_known > 1:
            listed += [("projection", _pipeline(ProjectionNCD(unlabeled=unlabeled, max_epochs=100)), metrics[:1])]
    return [(name, pipeline, {"metric": values}) for name, pipeline, values in listed]


def _pipeline(clusterer: Any, reduce: Any = "passthrough") -> Pipeline:
    return Pipeline([("metric", "passthrough"), ("reduce", reduce), ("clusters", clusterer)])


def expand(listed: Sequence) -> list[Candidate]:
    """All candidates of a list of (name, pipeline) or (name, pipeline, grid).

    Raises
    ------
    ValueError
        If an entry is of another form, or a name occurs twice.
    """
    found = []
    for entry in listed:
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) not in (2, 3):
            raise ValueError(f"candidates must hold (name, pipeline, grid) or (name, pipeline), got {entry!r}.")
        name, pipeline = entry[0], entry[1]
        if not isinstance(name, str) or not hasattr(pipeline, "fit"):
            raise ValueError(f"candidates must hold a name and an estimator, got {entry!r}.")
        grid = entry[2] if len(entry) == 3 and entry[2] else {}
        for params in ParameterGrid(grid):
            found.append(
                Candidate(name, _with_labels(clone(pipeline).set_params(**clone(params, safe=False))), dict(params))
            )
    if not found:
        raise ValueError("candidates is empty.")
    names = [entry[0] for entry in listed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"candidates holds the name {twice!r} twice.")
    return found


def last_step(pipeline: Any) -> Any:
    """The clusterer at the end of a pipeline; any other estimator itself."""
    while isinstance(pipeline, Pipeline):
        pipeline = pipeline.steps[-1][1]
    return pipeline


def before_last(pipeline: Any, X: np.ndarray) -> np.ndarray:
    """`X` as the last step of a fitted pipeline takes it."""
    while isinstance(pipeline, Pipeline):
        if len(pipeline.steps) > 1:
            X = pipeline[:-1].transform(X)
        pipeline = pipeline.steps[-1][1]
    return X


def _with_labels(pipeline: Any) -> Any:
    """The pipeline, its last step made one that takes partial labels: a clusterer of scikit-learn sees novel rows."""
    clusterer = last_step(pipeline)
    if isinstance(clusterer, PartialLabelMixin) or hasattr(clusterer, "novel_classes_"):
        return pipeline
    wrapped = NovelRowsClustering(clusterer=clusterer)
    if clusterer is pipeline:
        return wrapped
    inner = pipeline
    while isinstance(inner.steps[-1][1], Pipeline):
        inner = inner.steps[-1][1]
    inner.steps[-1] = (inner.steps[-1][0], wrapped)
    return pipeline


def prepared(pipeline: Any, n_clusters: Any, seed: int) -> Any:
    """Clone with its number of classes, the code for "no label", and seeds where it has none."""
    pipeline = clone(pipeline)
    clusterer = last_step(pipeline)
    count = count_parameter(clusterer)
    if count is not None:
        clusterer.set_params(**{count: n_clusters})
    for name, value in pipeline.get_params().items():
        leaf = name.rpartition("__")[2]
        if leaf == "unlabeled_value":
            pipeline.set_params(**{name: UNLABELED})
        elif leaf == "random_state" and value is None:
            pipeline.set_params(**{name: seed})
    return pipeline


def described(params: dict[str, Any]) -> str:
    """Parameters of a candidate in one line."""
    told = (item for item in params.items() if not (isinstance(item[1], str) and item[1] == "passthrough"))
    return ", ".join(f"{name}={value}" for name, value in told)
