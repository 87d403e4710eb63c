"""NCD k-means: all unlabeled rows belong to new classes."""

from __future__ import annotations

from typing import Any

from ..base import fit_method
from ._kmeans import BaseDiscoveryKMeans


class NCDKMeans(BaseDiscoveryKMeans):
    """K-means for novel class discovery: unlabeled rows are clustered into new classes, away from the known ones.

    The means of the known classes guide the seeding and stay fixed; only the novel centers move, and only on unlabeled
    rows. The method assumes that no unlabeled row belongs to a known class; it warns when more than a tenth of them
    lie nearest to one.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of classes, known and novel together. An int below the number of known classes is raised to it, with a
        warning. ``"auto"`` takes the number with the largest Calinski-Harabasz index of all rows, up to `k_max`; or
        no novel class at all, if the unlabeled rows look like labeled ones and the mean silhouette is larger so.
    seeding : {"distance", "squared-distance"}, default="distance"
        A row is drawn as the start of a novel class with probability proportional to its distance, or squared
        distance, to the nearest center so far, the means of the known classes included.
    selection : {"distance", "inertia"}, default="distance"
        The best of `n_init` runs has the smallest sum of distances, or of squared distances, to the novel centers.
    n_init : int, default=10
        Runs from different starts. Above about 30,000 rows they run on a sample of distinct rows, and only the best
        is continued on all rows.
    max_iter : int, default=300
        Iterations of one run.
    tol : float, default=1e-4
        A run ends when the squared shift of all centers is at most `tol` times the mean variance of a feature.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    block_size : int or "auto", default="auto"
        Rows worked on at a time; ``"auto"`` takes about 8 MiB. The result does not depend on it.
    device : {"cpu", "cuda", "auto"}, default=None
        Where iterations over all rows are computed: None for numpy, otherwise torch, on the CPU or a GPU. ``"auto"``
        takes a GPU where there is one, else numpy. Starts, ``predict`` and sparse rows are left to numpy.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says, which may be a known class.
    cluster_centers_ : ndarray of shape (n_clusters_, n_features)
        Means of the known classes, then centers of the novel ones, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes, known ones included.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the Calinski-Harabasz index of each number of classes with a novel one that was
        tried. Empty where the number was settled before.
    known_share_ : float
        Share (by weight) of the unlabeled rows that lie nearest to a known class.
    inertia_ : float
        Weighted sum of squared distances of the unlabeled rows to the nearest novel centers.
    n_iter_ : int
        Iterations of the best run.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to its center, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    SemiSupervisedKMeans : When unlabeled rows may belong to known classes too.
    NCDSpectralClustering : For classes that are not balls around their centers.

    Notes
    -----
    Seeds are drawn one after the other from the unlabeled rows, with probability proportional to a power of the
    distance to the nearest of all centers so far; then Lloyd's iterations lower

    .. math:: \\sum_{i \\in U} \\min_{k > C} \\lVert x_i - \\mu_k \\rVert^2

    over the novel centers :math:`\\mu_k` alone (algorithm 2 of [1]_).

    ``predict`` and ``labels_`` take the nearest of all centers, known ones included; the rule of the paper, for rows
    that are known to be novel, is ``predict_novel``.

    Differences from [1]_: its text has squared distances in seeding and selection, its code, and so its tables, plain
    ones. Plain ones are the default here, since they found the classes more often on random class splits of several
    tables (``python -m benchmarks.defaults``). For the same reason the number of classes is chosen by the
    Calinski-Harabasz index of all rows, labeled ones in their classes, instead of the silhouette of the unlabeled rows
    alone.

    The first of every five starts is seeded by squared distance, the best of several draws each time (as in
    :class:`sklearn.cluster.KMeans`), whatever `seeding` says: it is surer where classes are separate.

    Seeds are drawn from the distinct rows in lexicographic order with summed weights: neither the order of the rows
    nor repeating them all changes the result.

    References
    ----------
    .. [1] C. Troisemaine, A. Reiffers-Masson, S. Gosselin, V. Lemaire, S. Vaton, "A practical approach to novel class
       discovery in tabular data", Data Mining and Knowledge Discovery, 2024, section 3.2 and algorithm 2.

    Examples
    --------
    >>> from sklearn_sslcluster.datasets import make_partially_labeled_blobs
    >>> from sklearn_sslcluster.discovery import NCDKMeans
    >>> X, y, _ = make_partially_labeled_blobs(n_known=3, n_novel=2, random_state=0)
    >>> model = NCDKMeans(random_state=0).fit(X, y)
    >>> model.novel_classes_
    array([3, 4])
    """

    _move_known = False
    _assumes_novel = True
    _criterion = "calinski_harabasz"

    def __init__(
        self,
        n_clusters: Any = "auto",
        *,
        seeding: str = "distance",
        selection: str = "distance",
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-4,
        k_max: int | None = None,
        block_size: int | str = "auto",
        device: str | None = None,
        unlabeled_value: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.seeding = seeding
        self.selection = selection
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.k_max = k_max
        self.block_size = block_size
        self.device = device
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> NCDKMeans:
        """Find the novel classes among the unlabeled rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Dask collection} of shape (n_samples, n_features)
            Training rows, float64 or float32 (others are converted); a memory map is read in blocks, never as a whole.
            Of a Dask array or DataFrame sums over its chunks are computed where they lie; no chunk is gathered.
        y : array-like of shape (n_samples,), default=None
            Partial labels: ints, strings, bools or categories, and -1, None, NaN or ``pd.NA`` for rows without one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; 2 counts like the row twice, 0 like no row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, or
            all rows of a class have weight 0.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        self._fit(X, y, sample_weight)
        self._warn_if_known()
        return self
