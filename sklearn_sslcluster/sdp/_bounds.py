"""Lower bounds on the inertia of every clustering: rigorous whatever numbers they are fed with.

For every symmetric :math:`N \\ge 0` (entries of two known classes may have any sign) and every feasible `Y` of the
relaxation (see ``_points.py``)

.. math::
    \\lVert A \\rVert_F^2 - \\langle A A^T, Y \\rangle
    \\ge \\lVert A \\rVert_F^2 - u^T N u - \\sum_{j < k} \\lambda_j^{\\downarrow}\\bigl(P (A A^T + N) P\\bigr),
    \\qquad P = I - u u^T,

because :math:`\\langle N, Y \\rangle \\ge 0`, :math:`Y u = u`, and the spectrum of `Y` beside `u` lies in [0, 1] and
sums to :math:`k - 1`. What floating point may have lost is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import LinAlgError, eigh

from ._points import Points

_EPS = float(np.finfo(np.float64).eps)
# Rows of a block in the QR factorization of a tall matrix: at least twice the columns, or it would not get shorter.
_QR_ROWS = 1024
# Shares of the rows whose margin may fall short of the multiplier of the trace, tried in turn.
_SHORTFALLS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def pca_bound(points: Points) -> float:
    """The bound for `N` = 0: the squared singular values after the first k - 1."""
    squares = np.linalg.eigvalsh(points.A.T @ points.A)[::-1]
    kept = squares[: points.n_clusters - 1].sum()
    rounding = points.n_points * len(squares) * _EPS * points.total
    return max(points.total - float(kept) - rounding, 0.0)


def spectral_bound(points: Points, N: np.ndarray) -> float:
    """The bound for a dense symmetric `N`, whose negative entries are set to 0 where they must not be.

    One eigenproblem of the size of the points.
    """
    N = clipped(points, N)
    M = points.A @ points.A.T
    M += N
    # Of what is rounded: the projection below may leave far less.
    scale = float(np.linalg.norm(M)) + points.total
    u, n = points.u, points.n_points
    along = M @ u
    level = float(u @ along)
    M -= np.outer(u, along - level * u / 2)
    M -= np.outer(along - level * u / 2, u)
    n_top = min(points.n_clusters - 1, n - 1)
    top = _largest_eigenvalues(M, n_top)
    rounding = (n_top + 1) * n * _EPS * scale
    # One of the eigenvalues may be the 0 of `u` itself: where others are negative, this only lowers the bound.
    return max(points.total - float(u @ N @ u) - float(top.sum()) - rounding, 0.0)


def _largest_eigenvalues(M: np.ndarray, n_top: int) -> np.ndarray:
    try:
        return np.asarray(eigh(M, subset_by_index=[len(M) - n_top, len(M) - 1], eigvals_only=True, check_finite=False))
    except LinAlgError:
        # The driver for some of them fails where very many are equal, as those of rows all equally far apart.
        return np.linalg.eigvalsh(M)[len(M) - n_top :]


def clipped(points: Points, N: np.ndarray) -> np.ndarray:
    """`N` as the bound may use it."""
    known = points.n_known
    out = np.maximum(N, 0)
    if known > 1:
        block = out[:known, :known]
        np.copyto(block, N[:known, :known], where=points.separated())
    return out


@dataclass(frozen=True)
class Margins:
    """A partition of points, sorted by cluster, and how clearly its points belong there.

    Attributes
    ----------
    order : ndarray of shape (n_points,)
        The points, cluster by cluster.
    starts : ndarray of shape (n_clusters + 1,)
        Where each cluster begins in `order`.
    q : ndarray of shape (n_points,)
        In this order, like `inner` and `values`.
    inner : ndarray of shape (n_points, n_features)
        Points less their centroids, times `q`.
    A : ndarray of shape (n_points, n_features)
    sizes : ndarray of shape (n_clusters,)
        Weights of the clusters.
    values : ndarray of shape (n_points, n_clusters)
        Squared distance to each centroid less that to the own one.
    inertia : float
    """

    order: np.ndarray
    starts: np.ndarray
    q: np.ndarray
    inner: np.ndarray
    A: np.ndarray
    sizes: np.ndarray
    values: np.ndarray
    inertia: float

    @property
    def n_clusters(self) -> int:
        return len(self.sizes)

    def rows(self, a: int) -> slice:
        return slice(self.starts[a], self.starts[a + 1])

    def penalties(self) -> np.ndarray:
        """What one unit of the multiplier takes from each margin: the sum of the inverse sizes of both clusters."""
        inverse = 1 / self.sizes
        return inverse[:, None] + inverse

    def largest_multipliers(self) -> np.ndarray:
        """For each point the largest multiplier `z` that leaves all its margins non-negative."""
        penalties = self.penalties()
        out = np.empty(len(self.q))
        for a in range(self.n_clusters):
            ratio = self.values[self.rows(a)] / penalties[a]
            ratio[:, a] = np.inf
            out[self.rows(a)] = ratio.min(axis=1)
        return out


def measure_margins(points: Points, codes: np.ndarray) -> Margins:
    """Margins of a partition in which no cluster is empty."""
    k = points.n_clusters
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(k + 1))
    A, q = points.A[order], points.q[order]
    sizes = np.array([q[a:b] @ q[a:b] for a, b in pairwise(starts)])
    centers = np.stack([q[a:b] @ A[a:b] for a, b in pairwise(starts)]) / sizes[:, None]
    own = np.repeat(centers, np.diff(starts), axis=0)
    inner = A - q[:, None] * own
    rows = A / q[:, None]
    # |x - c_b|^2 - |x - c_a|^2 = -2 (x - m) (c_b - c_a), m halfway between the centers.
    values = np.empty((len(q), k))
    for a in range(k):
        span = slice(starts[a], starts[a + 1])
        apart = centers - centers[a]
        halfway = np.einsum("ij,ij->i", apart, (centers + centers[a]) / 2)
        values[span] = 2 * (halfway - rows[span] @ apart.T)
    return Margins(order, starts, q, inner, A, sizes, values, float(np.einsum("ij,ij->", inner, inner)))


@dataclass(frozen=True)
class LabelBound:
    """A bound that labels imply in closed form.

    Attributes
    ----------
    value : float
    multiplier : float
        `z`, the multiplier of the trace.
    smallest : float
        The largest multiplier that clips no margin; not positive if a point is no nearer to its own centroid.
    proven : bool
        The labels were proven optimal as they are: :math:`z \\ge \\lambda_{\\max}`.
    """

    value: float
    multiplier: float
    smallest: float
    proven: bool


def label_bound(points: Points, codes: np.ndarray) -> LabelBound:
    """The best bound of the closed form, over its one free number.

    With margins :math:`m_{ib}` of point `i` of cluster `a`, and :math:`r_{ib} = \\tfrac12 n_b
    [m_{ib} - z (1/n_a + 1/n_b)]_+`, the matrix `N` is :math:`q_i q_j r_{ib} r_{ja} / \\sqrt{T_{ab} T_{ba}}` between
    clusters `a` and `b`, with :math:`T_{ab} = \\sum_{i \\in a} w_i r_{ib}`, and 0 within. For the largest `z` that
    clips nothing this is the certificate of Iguchi, Mixon, Peterson and Villar, which proves optimality if `z` exceeds
    all eigenvalues; for larger ones a few border points are given up, and the bound is often far better. `N` has rank
    k (k - 1), so that the eigenproblem is small whatever the number of points.
    """
    margins = measure_margins(points, codes)
    limits = margins.largest_multipliers()
    smallest = float(limits.min())
    best = LabelBound(0.0, 0.0, smallest, False)
    if smallest > 0:
        best = _unclipped_bound(points, margins, smallest)
        if best.proven:
            return best
    order = np.argsort(limits)
    below = np.cumsum(margins.q[order] ** 2) / (margins.q @ margins.q)
    at = np.minimum(np.searchsorted(below, _SHORTFALLS), len(order) - 1)
    tried = set(np.maximum(limits[order[at]], 0.0).tolist())
    for z in sorted(tried):
        value = _clipped_bound(points, margins, z)
        if value > best.value:
            best = LabelBound(value, z, smallest, False)
        elif value < 0.9 * best.value:
            break
    return best


def label_multipliers(points: Points, codes: np.ndarray, z: float) -> np.ndarray:
    """`N` of `label_bound` as a dense matrix."""
    margins = measure_margins(points, codes)
    reach = _reach(margins, z)
    T = _reach_sums(margins, reach)
    N = np.zeros((points.n_points, points.n_points))
    for a in range(margins.n_clusters):
        for b in range(a):
            if T[a, b] > 0 and T[b, a] > 0:
                rows, columns = margins.order[margins.rows(a)], margins.order[margins.rows(b)]
                left = (margins.q * reach[:, b])[margins.rows(a)] / np.sqrt(T[a, b] * T[b, a])
                N[np.ix_(rows, columns)] = np.outer(left, (margins.q * reach[:, a])[margins.rows(b)])
    return N + N.T


def _reach(margins: Margins, z: float) -> np.ndarray:
    """`r`, of shape (n_points, n_clusters), clipped at 0."""
    inverse = 1 / margins.sizes
    own = np.repeat(inverse, np.diff(margins.starts))
    reach = margins.values - z * (own[:, None] + inverse)
    reach *= margins.sizes / 2
    return np.maximum(reach, 0, out=reach)


def _reach_sums(margins: Margins, reach: np.ndarray) -> np.ndarray:
    """`T`, of shape (n_clusters, n_clusters)."""
    weight = margins.q**2
    T = np.stack([weight[margins.rows(a)] @ reach[margins.rows(a)] for a in range(margins.n_clusters)])
    np.fill_diagonal(T, 0)
    return T


def _clipped_bound(points: Points, margins: Margins, z: float) -> float:
    """The general bound, with `N` of low rank."""
    reach = _reach(margins, z)
    values, uNu, scale = _structured_eigenvalues(margins, reach, inner=False)
    top = np.maximum(values[: margins.n_clusters - 1], 0).sum()
    rounding = margins.n_clusters * scale * len(values) * points.n_points * _EPS
    return max(points.total - uNu - float(top) - rounding, 0.0)


def _unclipped_bound(points: Points, margins: Margins, z: float) -> LabelBound:
    """The certificate, in which centroids cancel: nothing larger than distances within clusters is rounded.

    `z` is taken a little smaller than the margins allow, so that their rounding clips nothing.
    """
    z *= 1 - 1e-9
    values, _, scale = _structured_eigenvalues(margins, _reach(margins, z), inner=True)
    rounding = scale * len(values) * points.n_points * _EPS
    # Margins are rounded in units of the distances between clusters.
    rounding += 32 * _EPS * margins.n_clusters * float(margins.sizes.max()) * float(np.abs(margins.values).max())
    lost = np.maximum(values[: margins.n_clusters - 1] + rounding - z, 0).sum()
    # Deviations are rounded in units of the points, and each centroid is off by the rounding of a sum.
    nearer = max(np.sqrt(margins.inertia) - 4 * _EPS * np.sqrt(points.total), 0.0)
    value = nearer**2 * (1 - points.n_points * _EPS) - (points.n_points * _EPS) ** 2 * points.total - float(lost)
    return LabelBound(max(float(value), 0.0), z, z, not lost)


def _structured_eigenvalues(margins: Margins, reach: np.ndarray, *, inner: bool) -> tuple[np.ndarray, float, float]:
    """Eigenvalues of the projected :math:`A A^T + N`, decreasing; :math:`u^T N u`; and the scale of rounding.

    With `inner` the projection is to what is orthogonal to the indicators of all clusters, else to `u`. The matrix is
    :math:`F S F^T` with d + k (k - 1) columns in `F`, of which each cluster touches d + k - 1. Triangular factors of
    the clusters take the place of their rows, which is stable where Gram matrices are not.
    """
    k, d = margins.n_clusters, margins.A.shape[1]
    T = _reach_sums(margins, reach)
    pieces, along = [], []
    for a in range(k):
        rows = margins.rows(a)
        q = margins.q[rows]
        F = np.column_stack(
            [q, (margins.inner if inner else margins.A)[rows], q[:, None] * np.delete(reach[rows], a, 1)]
        )
        R = _triangular_factor(F)
        # The first coordinate is that along the indicator of the cluster.
        own = np.zeros((len(R), d + k * (k - 1)))
        own[:, np.r_[:d, d + a * (k - 1) : d + (a + 1) * (k - 1)]] = R[:, 1:]
        pieces.append(own[1:] if inner else own)
        along.append(np.r_[R[0, 0], np.zeros(len(R) - 1)])
    F, coupling = np.vstack(pieces), _coupling(T, d)
    norms = np.linalg.norm(F, axis=0)
    norms[norms == 0] = 1
    F, coupling = F / norms, coupling * np.outer(norms, norms)
    uNu = 0.0
    if not inner:
        u = np.concatenate(along) / np.sqrt(margins.q @ margins.q)
        at_u = u @ F
        uNu = float(at_u[d:] @ coupling[d:, d:] @ at_u[d:])
        F = F - np.outer(u, at_u)
    R = _triangular_factor(F)
    scale = float(np.abs(coupling).sum(axis=1).max()) * F.shape[1]
    return np.linalg.eigvalsh(R @ coupling @ R.T)[::-1], uNu, scale


def _coupling(T: np.ndarray, n_features: int) -> np.ndarray:
    """`S`: the identity for the features, and a pair of entries for each pair of clusters."""
    k = len(T)
    S = np.zeros((n_features + k * (k - 1),) * 2)
    S[np.arange(n_features), np.arange(n_features)] = 1
    for a in range(k):
        for b in range(a):
            if T[a, b] > 0 and T[b, a] > 0:
                # Column of (a, b): cluster b is number b - (b > a) among the others.
                i, j = n_features + a * (k - 1) + b, n_features + b * (k - 1) + a - 1
                S[i, j] = S[j, i] = 1 / np.sqrt(T[a, b] * T[b, a])
    return S


def _triangular_factor(F: np.ndarray) -> np.ndarray:
    """`R` of the QR factorization of a tall matrix, block by block."""
    n_rows = max(_QR_ROWS, 2 * F.shape[1])
    while len(F) > 2 * n_rows:
        n_blocks = len(F) // n_rows
        whole = F[: n_blocks * n_rows].reshape(n_blocks, n_rows, F.shape[1])
        F = np.vstack([np.asarray(np.linalg.qr(whole, mode="r")).reshape(-1, F.shape[1]), F[n_blocks * n_rows :]])
    return np.asarray(np.linalg.qr(F, mode="r"))
