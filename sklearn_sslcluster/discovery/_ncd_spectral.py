"""NCD spectral clustering: novel classes as clusters of a spectral embedding of known and novel rows together."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import fit_method
from ..engine import RowBlocks, fit_progress
from ..labels import PartialLabels, warn_user
from ..numerics import (
    Affinity,
    Embedding,
    LloydSettings,
    bandwidth,
    choose_n_clusters,
    connectivity_affinity,
    dense_distances,
    dense_longest_edge,
    distinct_rows,
    gaussian_affinity,
    graph_affinity,
    graph_longest_edge,
    keep_extendable,
    leading_eigenvectors,
    nearest_centers,
    neighbor_distances,
    nystrom,
    pose_problem,
    quantiles_by_class,
    solve,
)
from ._base import POWER, BaseCenterDiscovery

# Above this many distinct rows the Gaussian affinity is restricted to a neighbor graph.
_DENSE_ROWS = 8000
_MOST_TUNED_EIGENVECTORS = 200
_EIGENVECTORS_PER_CLASS = 2
_COUNTING_ROWS = 2000


@dataclass(frozen=True)
class _Rows:
    """Distinct rows with their distances and the longest edge of their spanning tree."""

    X: np.ndarray
    distances: Any
    longest_edge: float
    dense: bool


class NCDSpectralClustering(BaseCenterDiscovery):
    """Spectral clustering for novel class discovery, for classes that are not balls around their centers.

    Known and novel rows are embedded together, by eigenvectors of a normalized affinity matrix; in the embedding the
    unlabeled rows are clustered into novel classes as :class:`NCDKMeans` does. The hyperparameters of the embedding can
    be tuned on the known classes. Like NCDKMeans it assumes that no unlabeled row belongs to a known class, and warns
    when more than a tenth of them lie nearest to one.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes the number with the largest Calinski-Harabasz index of all rows in an embedding, up to
        `k_max`; or no novel class at all, if the unlabeled rows look like labeled ones and the mean silhouette is
        larger so.
    s_min : float in (0, 1), default=0.6
        Similarity of the longest edge of the minimum spanning tree of the rows (of the spanning forest of a neighbor
        graph), which sets the bandwidth of the Gaussian affinity.
    n_eigenvectors : int, default=None
        Dimension of the embedding; None for twice the number of classes, or for their number with a neighbor graph.
    affinity : {"rbf", "nearest_neighbors"}, default="rbf"
        ``"rbf"``: Gaussian affinity of all pairs, or, beyond 8,000 distinct rows, of the pairs of a neighbor graph.
        ``"nearest_neighbors"``: the neighbor graph without weights; `s_min` then plays no part.
    n_neighbors : int, default=15
        Neighbors of each row in the neighbor graph.
    sigma : {"paper", "code"}, default="paper"
        Convention for `s_min`: the longest edge gets the similarity `s_min` ("paper", equation 1), or its square root
        ("code", behind the published tables).
    drop_first : bool or "auto", default="auto"
        Leave out the first eigenvector, which of a connected graph tells only how well a row is connected. ``"auto"``
        does so with the affinity of all pairs, and not with a neighbor graph.
    tune : bool, default=False
        Choose `s_min` and `n_eigenvectors` by how well clusters of all rows agree with the known classes. Needs two
        known classes.
    n_tune : int, default=30
        Pairs tried by `tune`.
    eigen_solver : {"auto", "dense", "arpack", "lobpcg"}, default="auto"
        ``"auto"`` takes LAPACK for small problems and ARPACK for others.
    extension : {"nearest", "nystrom"}, default="nearest"
        Embedding of a new row: that of the nearest training row, or the Nystrom formula (Gaussian affinity of at most
        8,000 distinct rows only). Nystrom drops the eigenvectors with eigenvalues below 1e-2 of the largest.
    seeding : {"distance", "squared-distance"}, default="distance"
        As for :class:`NCDKMeans`, in the embedding.
    selection : {"distance", "inertia"}, default="distance"
        As for :class:`NCDKMeans`, in the embedding.
    n_init : int, default=10
        Runs of k-means in the embedding.
    max_iter : int, default=300
        Iterations of one run.
    tol : float, default=1e-4
        A run ends when the squared shift of all centers is at most `tol` times the mean variance of a column.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts and of the pairs tried by `tune`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    cluster_centers_ : ndarray of shape (n_clusters_, n_eigenvectors_)
        Centers in the embedding, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes, known ones included.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the Calinski-Harabasz index of each number of classes with a novel one that was
        tried. Empty where the number was settled before.
    known_share_ : float
        Share of the unlabeled rows that lie nearest to a known class, in the embedding.
    s_min_ : float
        The `s_min` used.
    n_eigenvectors_ : int
        Number of eigenvectors used.
    sigma_ : float
        Bandwidth of the Gaussian affinity, in the unit of `X`; nan without one.
    eigenvalues_ : ndarray of shape (n_eigenvectors_,)
        Eigenvalues of the normalized affinity.
    X_fit_ : ndarray of shape (n_distinct, n_features)
        Distinct training rows in lexicographic order.
    embedding_ : ndarray of shape (n_distinct, n_eigenvectors_)
        Their embedding.
    degrees_ : ndarray of shape (n_distinct,)
        Their sums of affinities.
    tuning_results_ : dict of str to list
        With ``tune=True``: ``"s_min"``, ``"n_eigenvectors"`` and ``"score"`` of the pairs tried.
    n_iter_ : int
        Iterations of the best run of k-means.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to the nearest other training row, in the space
        of `X`, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    NCDKMeans : Clusters in the space of the rows; faster, and predicts without the training rows.
    sklearn.cluster.SpectralClustering : Uses no labels and cannot predict.

    Notes
    -----
    With affinities :math:`A_{ij} = \\exp(-\\lVert x_i - x_j \\rVert^2 / 2 \\sigma^2)`, :math:`A_{ii} = 0`, and
    :math:`\\sigma = d_{\\max} / \\sqrt{-2 \\ln s_{\\min}}`, where :math:`d_{\\max}` is the longest edge of the minimum
    spanning tree, rows are embedded by the leading eigenvectors of :math:`D^{-1/2} A D^{-1/2}` (equation 1 and
    algorithm 3 of [1]_), without scaling the rows of the embedding to unit length.

    Differences from [1]_: the paper embeds and clusters the rows to be scored, and has no ``predict``; here the
    training rows are embedded, and new rows take the place of the nearest of them, or of Nystrom's formula. Known
    classes get centers in the embedding, so that ``predict`` can name them too; the rule of the paper is
    ``predict_novel``. The text says s_min, the code its root (`sigma`); the text takes the first eigenvectors, the code
    skips one (`drop_first`). The default of `n_eigenvectors` was best on random class splits of several tables
    (``python -m benchmarks.defaults``); the code has the number of clusters. Equal rows count once.

    `tune` draws pairs of s_min, uniform in (0, 1), and a number of eigenvectors, log-uniform up to 200 (in [1]_
    uniform, which hardly tries small numbers), clusters all rows into ``n_clusters``, and keeps the pair with the
    largest adjusted Rand index on the labeled rows. With ``n_clusters="auto"`` the number is first chosen with the
    given pair, in the embedding with its columns weighted by the square roots of their eigenvalues.

    The dense affinity needs memory for the square of the number of distinct rows, and its eigenvectors time in
    proportion; the neighbor graph is meant for up to about 100,000 rows.

    References
    ----------
    .. [1] C. Troisemaine, A. Reiffers-Masson, S. Gosselin, V. Lemaire, S. Vaton, "A practical approach to novel class
       discovery in tabular data", Data Mining and Knowledge Discovery, 2024, section 3.3 and algorithm 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_moons
    >>> from sklearn_sslcluster.discovery import NCDSpectralClustering
    >>> from sklearn_sslcluster.metrics import clustering_accuracy
    >>> X, moon = make_moons(300, noise=0.05, random_state=0)
    >>> ball = np.random.RandomState(1).normal([0.5, 1.8], 0.2, size=(100, 2))
    >>> y = np.r_[np.full(300, -1), np.zeros(100, dtype=int)]
    >>> model = NCDSpectralClustering(3, s_min=0.1, n_eigenvectors=2, random_state=0).fit(np.vstack([X, ball]), y)
    >>> model.novel_classes_, clustering_accuracy(moon, model.labels_[:300])
    (array([1, 2]), 1.0)
    """

    _parameter_constraints: dict = {
        **BaseCenterDiscovery._parameter_constraints,
        "s_min": [Interval(Real, 0, 1, closed="neither")],
        "n_eigenvectors": [Interval(Integral, 1, None, closed="left"), None],
        "affinity": [StrOptions({"rbf", "nearest_neighbors"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "sigma": [StrOptions({"paper", "code"})],
        "drop_first": ["boolean", StrOptions({"auto"})],
        "tune": ["boolean"],
        "n_tune": [Interval(Integral, 1, None, closed="left")],
        "eigen_solver": [StrOptions({"auto", "dense", "arpack", "lobpcg"})],
        "extension": [StrOptions({"nearest", "nystrom"})],
        "seeding": [StrOptions({"distance", "squared-distance"})],
        "selection": [StrOptions({"distance", "inertia"})],
    }
    _accept_sparse = False
    _criterion = "calinski_harabasz"
    _assumes_novel = True

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        s_min: float = 0.6,
        n_eigenvectors: int | None = None,
        affinity: str = "rbf",
        n_neighbors: int = 15,
        sigma: str = "paper",
        drop_first: bool | str = "auto",
        tune: bool = False,
        n_tune: int = 30,
        eigen_solver: str = "auto",
        extension: str = "nearest",
        seeding: str = "distance",
        selection: str = "distance",
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-4,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.s_min = s_min
        self.n_eigenvectors = n_eigenvectors
        self.affinity = affinity
        self.n_neighbors = n_neighbors
        self.sigma = sigma
        self.drop_first = drop_first
        self.tune = tune
        self.n_tune = n_tune
        self.eigen_solver = eigen_solver
        self.extension = extension
        self.seeding = seeding
        self.selection = selection
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None) -> NCDSpectralClustering:
        """Embed known and unlabeled rows, and find the novel classes among the unlabeled ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers,
            ``tune=True`` and fewer than two classes are known, or ``extension="nystrom"`` and the affinity is a graph.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        X = self._check_rows(X, reset=True)
        labels = self._encode_labels(y, X)
        random_state = check_random_state(self.random_state)
        blocks = RowBlocks(X, (None, None))
        distinct = distinct_rows(blocks, (None, None), max_rows=X.shape[0], random_state=random_state)
        rows = self._measure_rows(np.asarray(distinct.X, dtype=np.float64))
        n_clusters = None if self.n_clusters == "auto" else labels.n_known + self._n_novel_wanted(labels)
        with fit_progress(self, X, y, max_steps=None, step_name="step") as step:
            n_clusters, scores = self._choose_n_clusters(rows, distinct.inverse, labels, n_clusters, random_state)
            s_min, n_vectors, tuned = self._tune(rows, distinct.inverse, labels, n_clusters, random_state, step)
            affinity, embedding = self._embed_rows(rows, s_min, n_vectors)
            placed = RowBlocks(embedding.vectors[distinct.inverse], (_codes(labels), None))
            problem = pose_problem(placed, labels.n_known, random_state)
            n_novel = n_clusters - labels.n_known
            centers = solve(
                problem, n_novel, self._settings(), random_state, move_known=False, on_step=lambda _: step()
            )
        self._warn_if_fewer(n_clusters, len(centers.known) + len(centers.novel))
        fitted = self._class_attributes(problem, labels, centers.known, centers.novel)
        fitted["distance_quantiles_"] = self._neighbor_quantiles(rows.X, placed.X, distinct.rows, fitted)
        self._set_fitted(
            **fitted,
            **scores,
            **tuned,
            s_min_=float(s_min),
            n_eigenvectors_=embedding.vectors.shape[1],
            sigma_=affinity.sigma,
            eigenvalues_=embedding.values,
            X_fit_=rows.X,
            embedding_=embedding.vectors,
            degrees_=affinity.degrees,
            n_iter_=centers.n_iter,
        )
        self._warn_if_known()
        return self

    def predict(self, X: Any, *, reject: float | None = None) -> np.ndarray:
        """Name the class of each row: that of the nearest of all centers in the embedding, known and novel.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        reject : float in (0, 1], default=None
            Leave a row unassigned (-1, or None where names are not integers) when it lies farther from the nearest
            training row than this quantile of the training rows of its class lie from one another; 0.99 for example.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``classes_``.
        """
        return super().predict(X, reject=reject)

    def embed(self, X: Any) -> np.ndarray:
        """Place rows in the spectral embedding.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_eigenvectors_)
            Coordinates, by the rule of `extension`.
        """
        return self._represent(self._check_fitted_rows(X))

    def _represent(self, X: np.ndarray) -> np.ndarray:
        middle = self.X_fit_.mean(axis=0)
        near = NearestNeighbors(n_neighbors=1).fit(self.X_fit_ - middle)
        place = near.kneighbors(X - middle, return_distance=False).ravel()
        if self.extension == "nearest":
            return self.embedding_[place]
        out = self.embedding_[place]
        embedding = Embedding(self.embedding_, self.eigenvalues_)
        for start in range(0, len(X), _DENSE_ROWS):
            block = slice(start, start + _DENSE_ROWS)
            distances = cdist(X[block], self.X_fit_)
            extended = nystrom(distances, self.sigma_, self.degrees_, embedding)
            # Rows that are training rows, and rows out of reach of the kernel, take the nearest training row's place.
            reached = np.isfinite(extended).all(axis=1) & (distances > 0).all(axis=1)
            out[block][reached] = extended[reached]
        return out

    def _class_distances(self, X: np.ndarray, Z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        # In the embedding a far row may sit on a training row: far is far from all training rows.
        middle = self.X_fit_.mean(axis=0)
        return NearestNeighbors(n_neighbors=1).fit(self.X_fit_ - middle).kneighbors(X - middle)[0].ravel()

    def _neighbor_quantiles(self, X: np.ndarray, Z: np.ndarray, rows: np.ndarray, fitted: dict) -> np.ndarray:
        """Percentiles of the distance of the distinct rows of each class to the nearest other row."""
        centers = fitted["cluster_centers_"]
        if len(X) == 1:
            return np.full((len(centers), 101), np.inf)
        nearest = NearestNeighbors(n_neighbors=1).fit(X - X.mean(axis=0)).kneighbors()[0].ravel()
        codes = self._map(nearest_centers, Z[rows], centers)[0]
        return quantiles_by_class(nearest, codes, np.ones(len(codes)), len(centers))

    def _settings(self) -> LloydSettings:
        return LloydSettings(self.n_init, self.max_iter, self.tol, POWER[self.seeding], POWER[self.selection])

    def _measure_rows(self, X: np.ndarray) -> _Rows:
        dense = self.affinity == "rbf" and len(X) <= _DENSE_ROWS
        if self.extension == "nystrom" and not dense:
            raise ValueError(
                "extension='nystrom' needs affinity='rbf' and at most "
                f"{_DENSE_ROWS} distinct rows, got affinity={self.affinity!r} and {len(X)} rows."
            )
        if dense:
            return _Rows(X, dense_distances(X), dense_longest_edge(X), dense)
        distances = neighbor_distances(X, self.n_neighbors) if len(X) > 1 else None
        return _Rows(X, distances, graph_longest_edge(distances) if len(X) > 1 else 0.0, dense)

    def _embed_rows(self, rows: _Rows, s_min: float, n_vectors: int) -> tuple[Affinity, Embedding]:
        """Affinity of the distinct rows, and the eigenvectors that embed them."""
        n_rows = len(rows.X)
        if n_rows == 1:
            return Affinity(np.zeros((1, 1)), np.zeros(1), 1.0), Embedding(np.zeros((1, 1)), np.ones(1))
        sigma = bandwidth(rows.longest_edge, s_min, self.sigma)
        if rows.dense:
            affinity = gaussian_affinity(rows.distances, sigma)
        elif self.affinity == "nearest_neighbors":
            affinity = connectivity_affinity(rows.X, self.n_neighbors)
        else:
            affinity = graph_affinity(rows.distances, sigma)
        first = int(rows.dense if self.drop_first == "auto" else self.drop_first)
        embedding = leading_eigenvectors(affinity, min(n_vectors + first, n_rows), self.eigen_solver)
        embedding = Embedding(embedding.vectors[:, first:], embedding.values[first:])
        if self.extension == "nystrom" and (extendable := keep_extendable(embedding)).vectors.shape[1]:
            embedding = extendable
        return affinity, embedding

    def _n_vectors(self, n_clusters: int, dense: bool) -> int:
        return self.n_eigenvectors or (_EIGENVECTORS_PER_CLASS if dense else 1) * n_clusters

    def _choose_n_clusters(
        self,
        rows: _Rows,
        inverse: np.ndarray,
        labels: PartialLabels,
        n_clusters: int | None,
        random_state: np.random.RandomState,
    ) -> tuple[int, dict[str, Any]]:
        """The number asked for, or the one chosen in an embedding for as many novel as known classes (at least 5).

        With a neighbor graph, in an embedding of some rows by the affinity of all pairs: in graphs of several
        components all the leading eigenvectors look like classes.
        """
        if n_clusters is not None:
            return n_clusters, {}
        codes = labels.codes
        if not rows.dense:
            picked, inverse, codes = _some_rows(inverse, codes, random_state)
            X = rows.X[picked]
            rows = _Rows(X, dense_distances(X), dense_longest_edge(X), dense=True)
        guess = labels.n_known + max(labels.n_known, 5)
        _, embedding = self._embed_rows(rows, self.s_min, self._n_vectors(guess, rows.dense))
        # More columns than classes are noise, which an index would count as much as the others.
        weighted = embedding.vectors * np.sqrt(np.maximum(embedding.values, 0))
        placed = RowBlocks(weighted[inverse], (codes if labels.n_known else None, None))
        problem = pose_problem(placed, labels.n_known, random_state)
        chosen, scores = choose_n_clusters(
            problem,
            self._candidates(labels.n_known),
            self._settings(),
            random_state,
            move_known=False,
            criterion=self._criterion,
        )
        return chosen, {"n_clusters_scores_": scores}

    def _tune(
        self,
        rows: _Rows,
        inverse: np.ndarray,
        labels: PartialLabels,
        n_clusters: int,
        random_state: np.random.RandomState,
        step: Any,
    ) -> tuple[float, int, dict[str, Any]]:
        """(s_min, number of eigenvectors, fitted attributes): as given, or the best of random pairs."""
        if not self.tune:
            return self.s_min, self._n_vectors(n_clusters, rows.dense), {}
        if labels.n_known < 2:
            raise ValueError(f"tune=True needs labels of at least two classes, got {labels.n_known}.")
        labeled = ~labels.unlabeled
        most = max(1, min(_MOST_TUNED_EIGENVECTORS, len(rows.X) - 1))
        results: dict[str, list] = {"s_min": [], "n_eigenvectors": [], "score": []}
        for seed in random_state.randint(np.iinfo(np.int32).max, size=self.n_tune):
            rng = np.random.RandomState(seed)
            s_min = float(rng.uniform(1e-3, 1 - 1e-3))
            n_vectors = min(int(np.exp(rng.uniform(0, np.log(most + 1)))), most)
            _, embedding = self._embed_rows(rows, s_min, n_vectors)
            placed = RowBlocks(embedding.vectors[inverse], (None, None))
            problem = pose_problem(placed, 0, rng)
            centers = solve(problem, n_clusters, self._settings(), rng, move_known=True)
            (codes,) = placed.map(nearest_centers, (centers.all, None))
            score = adjusted_rand_score(labels.codes[labeled], codes[labeled])
            for name, value in zip(results, (s_min, n_vectors, float(score)), strict=True):
                results[name].append(value)
            if step():
                break
        best = int(np.argmax(results["score"]))
        if results["score"][best] <= 0:
            warn_user(
                "No embedding tried by tune=True agrees with the known classes better than chance.",
            )
        return results["s_min"][best], results["n_eigenvectors"][best], {"tuning_results_": results}


def _some_rows(inverse: np.ndarray, codes: np.ndarray, random_state: np.random.RandomState) -> tuple:
    """(distinct rows picked, and for their copies in the table: number among the picked, label code).

    At most `_COUNTING_ROWS` at random, and one of each known class.
    """
    n_distinct = int(inverse.max()) + 1
    first_of_class = inverse[np.unique(codes, return_index=True)[1]]
    picked = np.union1d(random_state.permutation(n_distinct)[:_COUNTING_ROWS], first_of_class)
    position = np.full(n_distinct, -1)
    position[picked] = np.arange(len(picked))
    kept = position[inverse] >= 0
    return picked, position[inverse[kept]], codes[kept]


def _codes(labels: PartialLabels) -> np.ndarray | None:
    return labels.codes if labels.n_known else None
