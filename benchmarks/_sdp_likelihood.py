"""Likelihood-adjusted SDP against k-means and expectation-maximization where clusters differ in shape.

``python -m benchmarks._sdp_likelihood`` draws 200 rows of three or four Gaussian clusters whose covariances have
eigenvalues from 1 / sqrt(10) to sqrt(10) and random axes. The centers are vertices of a regular simplex (of a regular
polygon, where there are too few features), scaled so that the two nearest clusters are `c` times the separation apart
above which clusters of unit covariance can be recovered exactly (Chen and Yang, IEEE Transactions on Information Theory
67(6), 2021), in the metric of their mean covariance. Of the share of rows in a wrong cluster under the best matching,
median and interquartile range over the replicates are printed, in percent.
"""

from __future__ import annotations

import argparse
import warnings
from importlib import import_module

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import linear_sum_assignment
from sklearn.base import BaseEstimator
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics.cluster import contingency_matrix
from sklearn.mixture import GaussianMixture

N_ROWS = 200
CONDITION = 10.0
CELLS = tuple((k, d, c) for c in (0.4, 0.6) for k in (3, 4) for d in (2, 5, 10, 20))


def exact_separation(n_rows: int, n_clusters: int, n_features: int) -> float:
    """Distance of two centers above which clusters of unit covariance can be recovered exactly."""
    log_rows = np.log(n_rows)
    return 2 * np.sqrt((1 + np.sqrt(1 + n_clusters * n_features / (n_rows * log_rows))) * log_rows)


def draw(n_clusters: int, n_features: int, separation: float, replicate: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, clusters) of one replicate."""
    rng = np.random.default_rng([n_clusters, n_features, round(100 * separation), replicate])
    centers = np.zeros((n_clusters, n_features))
    if n_features >= n_clusters - 1:
        simplex = np.eye(n_clusters) - 1 / n_clusters
        centers[:, : n_clusters - 1] = np.linalg.svd(simplex)[0][:, : n_clusters - 1]
    else:
        angles = 2 * np.pi * np.arange(n_clusters) / n_clusters
        centers[:, :2] = np.column_stack([np.cos(angles), np.sin(angles)])
    centers = centers @ random_axes(n_features, rng).T
    values = np.geomspace(1 / np.sqrt(CONDITION), np.sqrt(CONDITION), n_features)
    covariances = []
    for _ in range(n_clusters):
        axes = random_axes(n_features, rng)
        covariances.append((axes * values) @ axes.T)
    nearest = min(
        mahalanobis(centers[a] - centers[b], (covariances[a] + covariances[b]) / 2)
        for a in range(n_clusters)
        for b in range(a)
    )
    centers *= separation * exact_separation(N_ROWS, n_clusters, n_features) / nearest
    clusters = np.arange(N_ROWS) % n_clusters
    rows = np.stack([rng.multivariate_normal(centers[a], covariances[a]) for a in clusters])
    return rows, clusters


def random_axes(n_features: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]


def mahalanobis(difference: np.ndarray, covariance: np.ndarray) -> float:
    return float(np.sqrt(difference @ np.linalg.solve(covariance, difference)))


def matching_error(truth: np.ndarray, labels: np.ndarray) -> float:
    """Share of the rows outside the best one-to-one matching of clusters."""
    counts = contingency_matrix(truth, labels)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return 1 - counts[rows, columns].sum() / len(truth)


def methods(n_clusters: int, seed: int) -> dict[str, BaseEstimator]:
    sdp = import_module("sklearn_sslcluster.sdp")
    found: dict[str, BaseEstimator] = {"KMeans": KMeans(n_clusters, n_init=10, random_state=seed)}
    try:
        found["SDPKMeans"] = sdp.SDPKMeans(n_clusters, certificate=None, random_state=seed)
    except (AttributeError, ImportError):
        warnings.warn("SDPKMeans is not there and is left out.", stacklevel=2)
    found["Ward"] = AgglomerativeClustering(n_clusters)
    found["EM, 1 start"] = GaussianMixture(n_clusters, n_init=1, random_state=seed)
    found["EM, 50 starts"] = GaussianMixture(n_clusters, n_init=50, random_state=seed)
    found["iLA-SDP"] = sdp.LikelihoodAdjustedSDP(n_clusters, random_state=seed)
    return found


def replicate_errors(cell: tuple[int, int, float], replicate: int) -> dict[str, float]:
    """Error of each method on one replicate."""
    rows, truth = draw(*cell, replicate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: matching_error(truth, model.fit_predict(rows)) for name, model in methods(cell[0], replicate).items()
        }


def likelihood_table(
    n_replicates: int = 100, *, cells: tuple = CELLS, n_jobs: int = 1
) -> dict[tuple[int, int, float], dict[str, np.ndarray]]:
    """Print the table, a line a cell as soon as it is done; returns the errors of the replicates."""
    results = {}
    print(f"median [quartiles] of the error in percent, {n_replicates} replicates, {N_ROWS} rows")
    for cell in cells:
        found = Parallel(n_jobs=n_jobs)(delayed(replicate_errors)(cell, number) for number in range(n_replicates))
        errors = {name: 100 * np.array([one[name] for one in found]) for name in found[0]}
        results[cell] = errors
        print("K = {}, d = {}, c = {}".format(*cell), end="", flush=True)
        for name, values in errors.items():
            low, middle, high = np.percentile(values, [25, 50, 75])
            print(f" | {name} {middle:.1f} [{low:.1f}, {high:.1f}]", end="")
        print(flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cells", nargs="*", default=None, help="K,d,c of some cells: --cells 4,5,0.6 3,2,0.4")
    parsed = parser.parse_args()
    cells = [cell for cell in CELLS if parsed.cells is None or "{},{},{}".format(*cell) in parsed.cells]
    likelihood_table(parsed.replicates, cells=tuple(cells), n_jobs=parsed.jobs)


if __name__ == "__main__":
    main()
