"""K-means by its semidefinite relaxation, with a certificate."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..base import fit_method
from ..engine import fit_progress
from ..numerics import LloydSettings, nearest_centers, solve
from ._admm import Relaxed
from ._base import BaseSDPKMeans, centers_of_partition, partition_of_centers
from ._ladder import CertificateSettings, KMeansCertificate, Ladder, certificate_fields
from ._points import MergedRows, merge_rows
from ._solve import solve_relaxation, tightness

# Distinct rows up to which a fit divides them for its certificate.
_MOST_DIVIDED = 20_000
# Above so many rows the membership matrix is left in factors.
_MOST_MEMBERSHIP = 3000


class SDPKMeans(BaseSDPKMeans):
    """K-means by the Peng-Wei semidefinite relaxation, with a proof of how good the clusters are.

    The relaxation replaces assignments by a matrix `Z` that says how much any two rows belong together. Its value is a
    lower bound on the inertia of every clustering; where it is tight, its solution is the best clustering itself. Rows
    of a known class share a cluster and different known classes do not, in solution, labels and certificate.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of classes, known and novel together. ``"auto"`` takes the number with the largest mean silhouette of
        k-means, as :class:`~sklearn_sslcluster.discovery.SemiSupervisedKMeans` does.
    solver : {"auto", "cvxpy", "admm", "low-rank"}, default="auto"
        - "admm": alternating directions on a dense matrix; exact, up to a few thousand distinct rows.
        - "low-rank": a non-negative thin factor of `Z` [2]_, in time linear in the rows.
        - "cvxpy": the reference, by SCS (Clarabel up to 40 distinct rows); a few hundred rows at most.
        - "auto": "admm" up to 2,000 distinct rows, "low-rank" above.

        Where the closed form proves that the k-means start is optimal, it solves the relaxation as well, and no solver
        runs.
    rank : int, default=None
        Columns of the factor of "low-rank", at least one a cluster; None for twice the number of clusters.
    rounding : {"best", "spectral", "denoised"}, default="best"
        How clusters are read off the solution: k-means on its leading eigenvectors, or on rows replaced by `Z X`.
        "best" tries both and the start, and keeps the smallest inertia.
    polish : bool, default=True
        Finish with Lloyd's iterations, which never raise the inertia.
    certificate : {"auto", "pca", "labels", "admm", "division"} or None, default="auto"
        How the lower bound is sought, see :func:`certify_kmeans`. The bound of the solver, or of the closed form where
        no solver ran, counts whatever it says.
    max_iter : int, default=None
        Iterations of the solver; None for 500 ("admm"), 3,000 ("low-rank"), 10,000 ("cvxpy").
    tol : float, default=1e-4
        Relative residuals at which the solver stops.
    n_init : int, default=10
        Runs of k-means for the start.
    k_max : int, default=None
        Largest number of classes that ``n_clusters="auto"`` tries; None for ``max(30, 3 * n_known)``.
    unlabeled_value : int, str, bool or None, default=-1
        Value of `y` that stands for "no label", besides None, NaN and ``pd.NA``.
    device : {"cpu", "cuda", "auto"}, default=None
        Where "admm" keeps its matrices: None for numpy, otherwise torch.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts, of noise in "low-rank", and of parts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: known ones in sorted order, then novel ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the novel classes.
    labels_ : ndarray of shape (n_samples,)
        Class of each training row: its label, or what ``predict`` says.
    cluster_centers_ : ndarray of shape (n_clusters_, n_features)
        Center of each class, in the order of ``classes_``.
    n_clusters_ : int
        Number of classes found.
    n_clusters_scores_ : dict of int to float
        With ``n_clusters="auto"``, the mean silhouette of each number of classes tried.
    known_share_ : float
        Share (by weight) of the unlabeled rows that lie nearest to a known class.
    inertia_ : float
        Weighted sum of squared distances of the rows to the means of their classes.
    objective_ : float
        Value of the relaxation at the solution found, comparable with ``inertia_``. The solution meets its constraints
        only up to `tol`, so that this is an estimate and no bound; "low-rank", whose problem is not convex, may end a
        few percent above the value of the relaxation.
    lower_bound_ : float
        No clustering has a smaller inertia: rigorous, 0 if no bound was found.
    gap_ : float
        ``(inertia_ - lower_bound_) / inertia_``.
    certified_ : bool
        True if the labels are proven optimal, up to a gap of 1e-6.
    certificate_ : KMeansCertificate
        The same with what proved it; ``print(model.certificate_)`` says it in a sentence.
    factor_ : ndarray of shape (n_samples, rank)
        ``Z = factor_ @ factor_.T``.
    membership_ : ndarray of shape (n_samples, n_samples)
        `Z`: its rows sum to 1 (with `sample_weight`, their weighted sum is 1; rows of weight 0 are
        0). Only up to 3,000 rows.
    tightness_ : float
        :math:`1 - \\lambda_k + \\lambda_{k+1}` of the solution: 0 if it is a clustering.
    solver_ : str
        Solver that ran; "closed-form" for none.
    n_iter_ : int
        Iterations of the solver, at least 1.
    converged_ : bool
        Whether the solver met `tol`.
    distance_quantiles_ : ndarray of shape (n_clusters_, 101)
        Percentiles of the distance of the training rows of each class to its center, for ``predict(X, reject=...)``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    certify_kmeans : Certifies labels found by any other method.
    SketchAndLiftKMeans : Solves the relaxation on a sample.
    LikelihoodAdjustedSDP : Clusters of different shapes.

    Notes
    -----
    With :math:`D` the squared distances of the rows the relaxation [1]_ is

    .. math::
        \\min_Z \\tfrac12 \\langle D, Z \\rangle \\quad\\text{s.t.}\\quad
        Z 1 = 1,\\ \\operatorname{tr} Z = k,\\ Z \\ge 0,\\ Z \\succeq 0.

    Equal rows are one weighted point, and so are the rows of a known class, which makes a row of weight 2 the same as
    the row twice. That two known classes share no cluster is a linear constraint in "admm" and "cvxpy"; in "low-rank"
    each known class is restricted to a column of its own, and in rounding and polishing it is clamped to its cluster.

    "admm" and "low-rank" start from the best of `n_init` runs of k-means and the multipliers that its labels imply. The
    step and the penalty of "low-rank" are in units of the data, not the constants of the authors' code of [2]_, which
    suit one data set. What "admm" has at the end is turned into a bound by an exact eigenproblem, so that it holds
    whether the solver has converged or not. "low-rank" gives no bound: the certificate is sought separately.

    K-means with many starts often finds as small an inertia in less time. What is gained is the proof, the membership
    matrix, and a start that does not depend on luck where clusters are many.

    References
    ----------
    .. [1] J. Peng, Y. Wei, "Approximating k-means-type clustering via semidefinite programming", SIAM Journal on
       Optimization 18, 2007.
    .. [2] Y. Zhuang, X. Chen, Y. Yang, R. Y. Zhang, "Statistically optimal k-means clustering via nonnegative low-rank
       semidefinite programming", ICLR 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_sslcluster.sdp import SDPKMeans
    >>> model = SDPKMeans(3, random_state=0).fit(scale(load_wine().data))
    >>> round(model.gap_, 3), model.certified_
    (0.009, False)
    """

    _parameter_constraints: dict = {
        **BaseSDPKMeans._parameter_constraints,
        "certificate": [StrOptions({"auto", "pca", "labels", "admm", "division"}), None],
    }

    def __init__(
        self,
        n_clusters: Any = 8,
        *,
        solver: str = "auto",
        rank: int | None = None,
        rounding: str = "best",
        polish: bool = True,
        certificate: str | None = "auto",
        max_iter: int | None = None,
        tol: float = 1e-4,
        n_init: int = 10,
        k_max: int | None = None,
        unlabeled_value: Any = -1,
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.solver = solver
        self.rank = rank
        self.rounding = rounding
        self.polish = polish
        self.certificate = certificate
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.k_max = k_max
        self.unlabeled_value = unlabeled_value
        self.device = device
        self.random_state = random_state

    @fit_method
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SDPKMeans:
        """Cluster partially labeled rows and prove how good the clusters are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows; sparse ones are made dense inside.
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
            If `X` has NaN or infinite values, `y` has another length or holds floats that are not whole numbers, all
            rows of a class have weight 0, or torch sees no such `device`.
        TypeError
            If `y` holds values that are no labels, dates for example.
        """
        random_state = check_random_state(self.random_state)
        problem, labels = self._pose(X, y, sample_weight, random_state)
        with fit_progress(self, X, y, max_steps=None, step_name="iteration") as step:
            k, scores = self._choose_n_clusters(problem, labels, random_state)
            n_novel = k - labels.n_known
            centers = solve(problem, n_novel, LloydSettings(self.n_init), random_state, move_known=True).all
            merged = merge_rows(problem, len(centers))
            start = partition_of_centers(merged, self._map(nearest_centers, problem.source.X, centers)[0])
            relaxed, solver = solve_relaxation(
                merged.points,
                start,
                self._solver_options(),
                random_state,
                lambda: step(lambda: self._state(labels, centers)),
            )
            codes = self._round(merged.points, relaxed, start, random_state)
        centers = centers_of_partition(problem, merged.point_of, codes, len(centers))
        fitted = self._class_attributes(problem, labels, centers[: labels.n_known], centers[labels.n_known :])
        self._warn_if_fewer(k, fitted["n_clusters_"])
        fitted["inertia_"] = merged.clustering_inertia(
            self._row_codes(problem, labels, fitted["cluster_centers_"]), problem.source.row_data[1]
        )
        certificate = self._certify(merged, codes, fitted["inertia_"], relaxed, random_state)
        self._set_fitted(
            **fitted,
            **scores,
            **certificate,
            **_solution(merged, relaxed),
            solver_=solver,
        )
        return self

    @property
    def certificate_(self) -> KMeansCertificate:
        """The bound, what proved it, and what it says of the labels."""
        check_is_fitted(self)
        return KMeansCertificate(**self._certificate)

    def _certify(
        self,
        merged: MergedRows,
        codes: np.ndarray,
        inertia: float,
        relaxed: Relaxed,
        random_state: np.random.RandomState,
    ) -> dict[str, Any]:
        """The certificate, to which the solver's bound adds a rung that costs nothing."""
        settings = CertificateSettings(device=self.device, random_state=random_state)
        ladder = Ladder(self.certificate or "none", settings, most_divided=_MOST_DIVIDED)
        known = {"labels" if relaxed.N is None else "admm": relaxed.bound} if relaxed.bound > 0 else {}
        fields = certificate_fields(merged, codes, inertia, ladder, known)
        return {
            "_certificate": fields,
            "lower_bound_": fields["lower_bound"],
            "gap_": fields["gap"],
            "certified_": fields["certified"],
        }


def _solution(merged: MergedRows, relaxed: Relaxed) -> dict[str, Any]:
    """Fitted attributes that describe the solution of the relaxation."""
    points, V = merged.points, relaxed.factor
    factor = np.vstack([V / points.q[:, None], np.zeros((1, V.shape[1]))])[merged.point_of]
    # Weights of the points have the mean 1, those of the rows are the user's.
    factor /= np.sqrt(merged.mean_weight)
    attributes = {
        "objective_": merged.inertia(points.total - float(((points.A.T @ V) ** 2).sum())),
        "factor_": factor,
        "tightness_": tightness(points, relaxed),
        "n_iter_": max(relaxed.n_iter, 1),
        "converged_": relaxed.converged,
    }
    if len(factor) <= _MOST_MEMBERSHIP:
        attributes["membership_"] = factor @ factor.T
    return attributes
