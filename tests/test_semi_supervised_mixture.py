"""Semi-supervised Gaussian mixture against scikit-learn, closed forms and planted classes."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture
from sklearn_sslcluster.numerics.gaussians import as_full

KINDS = pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
CLASS_WEIGHTS = pytest.mark.parametrize("class_weights", ["unlabeled", "all", "uniform"])
REGULARIZATION = pytest.mark.parametrize("reg", ["auto", 0.0, 1e-6])
ARRAYS = ("weights_", "class_prior_", "means_", "covariances_", "precisions_cholesky_", "distance_quantiles_")
NO_START = {"weights_init": None, "means_init": None, "precisions_init": None}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@cache
def table():
    """(rows of four overlapping classes, partial labels of two of them, classes)."""
    rng, truth = np.random.RandomState(0), np.arange(240) % 4
    X = rng.normal(size=(240, 3)) @ np.array([[1, 0.4, 0], [0, 0.8, 0.3], [0, 0, 1.2]])
    X += np.array([[0, 0, 0], [4, 0, 1], [0, 4, 0], [3, 3, 4]])[truth]
    y = np.where((truth < 2) & (rng.uniform(size=240) < 0.5), truth, -1)
    return X, y, truth


@cache
def blobs(**parameters):
    return make_partially_labeled_blobs(**{"n_samples": 300, "labeled_fraction": 0.5, "random_state": 0} | parameters)


def start_of(kind):
    """Start parameters for `table`: weights, means and precisions of the classes, a little off."""
    (X, _, truth), rng = table(), np.random.RandomState(1)
    means = np.array([X[truth == k].mean(axis=0) for k in range(4)]) + 0.3 * rng.normal(size=(4, 3))
    full = np.array([np.linalg.inv(np.cov(X[truth == k].T)) for k in range(4)])
    diag = np.diagonal(full, axis1=1, axis2=2)
    precisions = {"full": full, "tied": full[0], "diag": diag, "spherical": diag[:, 0]}[kind]
    return {"weights_init": rng.dirichlet(np.full(4, 9.0)), "means_init": means, "precisions_init": precisions}


def started(kind="full", **parameters):
    """Mixture of four components with a given start."""
    return SemiSupervisedGaussianMixture(4, covariance_type=kind, **start_of(kind) | parameters)


def full_covariances(model):
    return as_full(model.covariances_, model.covariance_type, *model.means_.shape)


def log_joint(model, X, weights):
    """Logarithm of weight times density, by scipy."""
    parts = zip(model.means_, full_covariances(model), weights, strict=True)
    return np.column_stack([multivariate_normal(mean, cov).logpdf(X) + np.log(weight) for mean, cov, weight in parts])


def assert_same_fit(one, other, rtol=1e-8, names=ARRAYS):
    for name in names:
        wanted = getattr(other, name)
        assert_allclose(getattr(one, name), wanted, rtol=rtol, atol=rtol * np.abs(wanted).max(), err_msg=name)


def assert_usable(model, X):
    for name in (*ARRAYS, "lower_bounds_"):
        # A class without rows has no distances; their quantiles are infinite.
        values = np.asarray(getattr(model, name))
        assert (np.isfinite(values) | ((values == np.inf) & (name == "distance_quantiles_"))).all(), name
    for method in ("predict_proba", "score_samples", "novelty_score"):
        assert np.isfinite(getattr(model, method)(X)).all(), method


@quiet
@KINDS
@pytest.mark.parametrize("reg", [0.0, 1e-6, 0.1])
def test_without_labels_and_from_the_same_start_it_is_gaussian_mixture(kind, reg):
    X = table()[0]
    model = started(kind, reg_covar=reg, max_iter=15, tol=0.0).fit(X)
    peer = GaussianMixture(4, covariance_type=kind, reg_covar=reg, max_iter=15, tol=0.0, **start_of(kind)).fit(X)
    order = np.array([np.abs(peer.means_ - mean).sum(axis=1).argmin() for mean in model.means_])
    assert_allclose(model.means_, peer.means_[order], rtol=0, atol=1e-6)
    covariances = peer.covariances_ if kind == "tied" else peer.covariances_[order]
    assert_allclose(model.covariances_, covariances, rtol=0, atol=1e-6)
    assert_allclose(model.predict_proba(X), peer.predict_proba(X)[:, order], rtol=0, atol=1e-6)
    for method in ("score_samples", "score", "bic", "aic"):
        assert_allclose(getattr(model, method)(X), getattr(peer, method)(X), rtol=1e-8, err_msg=method)


PEERS = {
    # With ML covariances (divided by n), not the default ones of QuadraticDiscriminantAnalysis (by n - 1).
    "full": QuadraticDiscriminantAnalysis(solver="eigen", covariance_estimator=EmpiricalCovariance()),
    # This solver pools the ML covariances of the classes.
    "tied": LinearDiscriminantAnalysis(solver="lsqr"),
    "diag": GaussianNB(var_smoothing=0.0),
}


@pytest.mark.parametrize(("kind", "peer"), PEERS.items())
def test_with_all_labels_it_is_a_discriminant_analysis(kind, peer):
    X, truth = table()[0][40:], np.minimum(table()[2], 2)[40:]  # classes of unequal size
    model = SemiSupervisedGaussianMixture(covariance_type=kind, reg_covar=0, class_weights="all").fit(X, truth)
    assert_allclose(model.predict_proba(X), peer.fit(X, truth).predict_proba(X), rtol=0, atol=1e-9)
    assert_allclose(model.weights_, np.bincount(truth) / len(truth))


@KINDS
@CLASS_WEIGHTS
def test_whole_sample_weights_are_repeated_rows(kind, class_weights):
    X, y, _ = table()
    weight = np.random.RandomState(0).randint(4, size=len(X))
    model = started(kind, class_weights=class_weights)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    repeated = model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_same_fit(weighted, repeated)
    assert_allclose(weighted.score_samples(X), repeated.score_samples(X), rtol=1e-8)


@KINDS
@CLASS_WEIGHTS
@pytest.mark.parametrize("prior", [None, "labeled"])
def test_labeled_weight_repeats_the_labeled_rows(kind, class_weights, prior):
    X, y, _ = table()
    copies = np.where(y >= 0, 3, 1)
    model = started(kind, class_weights=class_weights, prior=prior)
    weighted = clone(model).set_params(labeled_weight=3).fit(X, y)
    repeated = model.fit(np.repeat(X, copies, axis=0), np.repeat(y, copies))
    assert_same_fit(weighted, repeated, names=("weights_", "means_", "covariances_"))


@KINDS
@CLASS_WEIGHTS
@pytest.mark.parametrize("prior", [None, "labeled"])
def test_lower_bounds_never_fall_and_end_with_the_lower_bound(kind, class_weights, prior):
    X, y, _ = table()
    model = started(kind, class_weights=class_weights, prior=prior, tol=1e-8).fit(X, y)
    assert len(model.lower_bounds_) == model.n_iter_ + 1 > 3
    assert (np.diff(model.lower_bounds_) >= 0).all()
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert model.converged_


@KINDS
def test_lower_bound_is_the_likelihood_of_the_notes(kind):
    X, y, _ = table()
    for class_weights in ("all", "unlabeled"):
        model = started(kind, class_weights=class_weights, labeled_weight=2.0, reg_covar=1e-6).fit(X, y)
        joint, log_weights = log_joint(model, X, model.weights_), np.log(model.weights_)
        own = joint[np.arange(len(X)), y] - (log_weights[y] if class_weights == "unlabeled" else 0)
        total = 2 * own[y >= 0].sum() + logsumexp(joint[y < 0], axis=1).sum()
        total += log_weights[:2].sum() if class_weights == "unlabeled" else 0
        assert model.lower_bound_ == pytest.approx(total / (2 * (y >= 0).sum() + (y < 0).sum()))


@KINDS
def test_class_weights_are_estimated_on_the_rows_they_name(kind):
    X, y, _ = table()
    weight = np.random.RandomState(0).uniform(0.5, 2, size=len(X))
    for class_weights in ("all", "unlabeled", "uniform"):
        model = started(kind, class_weights=class_weights, labeled_weight=2.0, reg_covar=0, tol=1e-13, max_iter=3000)
        model.fit(X, y, sample_weight=weight)
        resp = softmax(log_joint(model, X, model.weights_), axis=1)[y < 0]
        free, labeled = weight[y < 0] @ resp, np.bincount(y[y >= 0], weight[y >= 0], minlength=4)
        # A known class is worth one more row of mean weight.
        one = weight[y < 0].mean() * np.array([1, 1, 0, 0])
        counts = {"all": free + 2 * labeled, "unlabeled": free + one, "uniform": np.ones(4)}[class_weights]
        assert_allclose(model.weights_, counts / counts.sum(), atol=1e-5, err_msg=class_weights)


@CLASS_WEIGHTS
def test_class_prior_is_the_share_among_all_training_rows(class_weights):
    X, y, _ = table()
    weight = np.random.RandomState(0).uniform(0.5, 2, size=len(X))
    model = started(class_weights=class_weights, labeled_weight=5.0).fit(X, y, sample_weight=weight)
    labeled = np.bincount(y[y >= 0], weight[y >= 0], minlength=4)
    assert_allclose(model.class_prior_, (weight[y < 0].sum() * model.weights_ + labeled) / weight.sum())


PRIOR = {"mean": [0.5, -0.3, 0.2], "mean_strength": 4.0, "dof": 9.5, "scale": np.diag([2.0, 1.0, 3.0]) + 0.3}


@KINDS
def test_prior_gives_the_mode_of_the_posterior_of_labeled_classes(kind):
    X, _, truth = table()
    model = SemiSupervisedGaussianMixture(covariance_type=kind, prior=PRIOR, reg_covar=0, class_weights="all")
    model.fit(X, truth)
    m, kappa, dof, scale = (np.asarray(PRIOR[key]) for key in ("mean", "mean_strength", "dof", "scale"))
    scatter, n = [], 60
    for k in range(4):
        own, center = X[truth == k], X[truth == k].mean(axis=0)
        assert_allclose(model.means_[k], (kappa * m + n * center) / (kappa + n))
        scatter.append(np.cov(own.T, bias=True) * n + kappa * n / (kappa + n) * np.outer(center - m, center - m))
    scatter, D = np.array(scatter), 3
    diagonals = np.diagonal(scatter + scale, axis1=1, axis2=2)
    expected = {
        "full": (scatter + scale) / (dof + n + D + 2),
        "tied": (scatter.sum(axis=0) + scale) / (dof + 4 * n + D + 1 + 4),
        "diag": diagonals / (dof + n + 3),
        "spherical": diagonals.sum(axis=1) / (D * (dof + n + 3)),
    }[kind]
    assert_allclose(model.covariances_, expected)


@KINDS
def test_labeled_prior_expects_the_covariance_within_known_classes(kind):
    X, _, truth = table()
    within = sum(np.cov(X[truth == k].T, bias=True) for k in range(4)) / 4
    scale = (3 + 20 - (3 if kind in ("full", "tied") else 1) - 1) * within
    written = {"mean": X.mean(axis=0), "mean_strength": 0.01, "dof": 3 + 20, "scale": scale}
    model = SemiSupervisedGaussianMixture(covariance_type=kind, reg_covar=0, class_weights="all")
    short, long = (clone(model).set_params(prior=prior).fit(X, truth) for prior in ("labeled", written))
    assert_allclose(short.means_, long.means_)
    # A hundredth of the mean variance keeps the scale positive definite.
    assert_allclose(short.covariances_, long.covariances_, rtol=0.02, atol=0.01)


WRONG_PRIORS = {
    "kappa": [1.0],
    "dof": [2.0, "many", np.inf],
    "mean_strength": [0.0],
    "mean": [[0.0, 1.0], [np.nan, 0.0, 0.0]],
    "scale": [np.eye(2), -np.eye(3), np.triu(np.ones((3, 3)))],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG_PRIORS.items() for value in values])
def test_wrong_prior_is_refused_naming_its_entry(key, value):
    X, y, _ = table()
    with pytest.raises(ValueError, match=key):
        SemiSupervisedGaussianMixture(4, prior={key: value}, n_init=1).fit(X, y)


@KINDS
def test_criteria_follow_from_densities_and_posteriors(kind):
    X, y, _ = table()
    model = started(kind).fit(X, y)
    density = logsumexp(log_joint(model, X, model.class_prior_), axis=1)
    resp = softmax(log_joint(model, X, model.weights_), axis=1)
    n_parameters = 3 + 12 + {"full": 24, "tied": 6, "diag": 12, "spherical": 4}[kind]
    bic = -2 * density.sum() + n_parameters * np.log(len(X))
    assert_allclose(model.score_samples(X), density)
    assert_allclose(model.predict_proba(X), resp, atol=1e-12)
    assert model.bic(X) == pytest.approx(bic)
    assert model.aic(X) == pytest.approx(-2 * density.sum() + 2 * n_parameters)
    assert model.icl(X) == pytest.approx(bic - 2 * (resp * np.log(resp + 1e-300)).sum())


@KINDS
def test_sample_has_the_shares_moments_and_names_of_the_classes(kind):
    X, y, _ = table()
    model = started(kind, random_state=0).fit(X, np.where(y < 0, None, np.array(["ash", "beech"])[y]))
    drawn, names = model.sample(40_000)
    assert set(names) == {"ash", "beech", "novel_0", "novel_1"}
    for k, name in enumerate(model.classes_):
        own, cov = drawn[names == name], full_covariances(model)[k]
        assert len(own) / len(drawn) == pytest.approx(model.class_prior_[k], abs=0.015)
        assert_allclose(own.mean(axis=0), model.means_[k], atol=6 * np.sqrt(cov.max() / len(own)))
        assert_allclose(np.cov(own.T), cov, atol=9 * cov.max() / np.sqrt(len(own)))
    assert_array_equal(model.sample(5)[0], model.sample(5)[0])
    with pytest.raises(ValueError, match="n_samples"):
        model.sample(0)


@KINDS
def test_novelty_score_weighs_the_likeliest_novel_against_the_likeliest_known_class(kind):
    X, y, _ = table()
    model = started(kind).fit(X, y)
    joint = np.exp(log_joint(model, X, model.weights_))
    known, novel = joint[:, :2].max(axis=1), joint[:, 2:].max(axis=1)
    score = model.novelty_score(X)
    assert_allclose(score, novel / (known + novel), atol=1e-12)
    assert_array_equal(score > 0.5, np.isin(model.predict(X), model.novel_classes_))


@KINDS
def test_reject_leaves_out_the_rows_farthest_from_their_component(kind):
    X, y, _ = table()
    model = started(kind).fit(X, y)
    codes = np.where(y < 0, model.predict_proba(X).argmax(axis=1), y)
    Z, precisions = X - model.means_[codes], np.linalg.inv(full_covariances(model))
    distances = np.sqrt(np.einsum("ni,nij,nj->n", Z, precisions[codes], Z))
    agree = codes == model.predict_proba(X).argmax(axis=1)
    limits = [np.quantile(distances[codes == k], 0.9, method="inverted_cdf") for k in range(4)]
    rejected = model.predict(X, reject=0.9) == -1
    assert_array_equal(rejected[agree], (distances > np.array(limits)[codes] * (1 + 1e-9))[agree])


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize("parameters", [{}, NO_START | {"n_init": 3, "random_state": 0}], ids=["given", "searched"])
def test_sparse_rows_give_the_fit_of_dense_ones(kind, parameters):
    (X, y, _), model = table(), started(kind, **parameters)
    X = np.where(np.abs(X) < 1, 0, X)
    dense, sparse = clone(model).fit(X, y), model.fit(csr_array(X), y)
    assert_same_fit(sparse, dense)
    assert_array_equal(sparse.labels_, dense.labels_)
    for method in ("predict_proba", "score_samples", "novelty_score"):
        assert_allclose(getattr(dense, method)(csr_array(X)), getattr(dense, method)(X), rtol=1e-8, atol=1e-10)
    assert_array_equal(dense.predict(csr_array(X), reject=0.9), dense.predict(X, reject=0.9))


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_sparse_rows_are_refused_where_covariances_are_dense(kind):
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        SemiSupervisedGaussianMixture(covariance_type=kind).fit(csr_array(table()[0]))


@KINDS
@pytest.mark.parametrize(("offset", "dtype"), [(0.0, "f4"), (2.0**20, "f8"), (2.0**13, "f4"), (1e6, "f8"), (1e4, "f4")])
def test_rows_far_away_or_in_single_precision_get_the_same_labels(kind, offset, dtype):
    X, y, _ = blobs(class_sep=5)
    X = np.round(X * 64) / 64
    model = SemiSupervisedGaussianMixture(5, covariance_type=kind, n_init=3, random_state=0)
    expected, moved = clone(model).fit(X, y), clone(model).fit((X + offset).astype(dtype), y)
    # Rows between two classes may change sides as the rows themselves are rounded.
    clear = expected.predict_proba(X).max(axis=1) > 0.99
    assert clear.mean() > 0.9
    assert_array_equal(moved.labels_[clear], expected.labels_[clear])
    assert_allclose(moved.means_ - offset, expected.means_, atol=0.01)
    assert_array_equal(moved.predict((X + offset).astype(dtype))[clear], expected.predict(X)[clear])


@KINDS
@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_parameters_follow_the_unit_of_the_rows(kind, scale):
    (X, y, _), model = table(), SemiSupervisedGaussianMixture(4, covariance_type=kind, n_init=3, random_state=0)
    expected, scaled = clone(model).fit(X, y), clone(model).fit(X * scale, y)
    assert_allclose(scaled.means_ / scale, expected.means_, rtol=1e-6)
    assert_allclose(scaled.covariances_ / scale**2, expected.covariances_, rtol=1e-6, atol=1e-9)
    assert_allclose(scaled.score_samples(X * scale), expected.score_samples(X) - 3 * np.log(scale), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_memory_maps_give_the_fit_of_the_array(tmp_path, dtype):
    X, y, _ = table()
    np.save(tmp_path / "rows.npy", X.astype(dtype))
    mapped, model = np.load(tmp_path / "rows.npy", mmap_mode="r"), started(block_size=50)
    assert_same_fit(clone(model).fit(mapped, y), model.fit(X.astype(dtype), y), rtol=1e-12)
    assert_allclose(model.predict_proba(mapped), model.predict_proba(X.astype(dtype)))


@KINDS
@REGULARIZATION
@pytest.mark.parametrize("what", ["one labeled row", "one row", "duplicates", "collinear", "constant", "equal rows"])
def test_bad_tables_give_finite_parameters(kind, reg, what):
    X, y, truth = blobs(n_samples=100, n_known=2, n_novel=1)
    first = np.flatnonzero(y == 1)[0]
    y = np.where((y == 1) & (np.arange(100) != first), -1, y) if "one" in what else y
    kept = (truth != 1) | (y == 1) if what == "one row" else slice(None)
    more = {"collinear": X @ [1, 2], "constant": np.full(100, 7.0)}
    X = {"duplicates": X[np.arange(100) // 10 * 10], "equal rows": np.ones((100, 2))}.get(what, X)
    X = np.column_stack([X, more[what]])[kept] if what in more else X[kept]
    model = SemiSupervisedGaussianMixture(3, covariance_type=kind, reg_covar=reg, n_init=2, random_state=0)
    model.fit(X, y[kept])
    assert_usable(model, X)
    if reg != 0 and what in ("one labeled row", "one row", "collinear", "constant"):
        assert clustering_accuracy(truth[kept], model.labels_) > 0.95


@KINDS
@REGULARIZATION
def test_fewer_rows_than_components_warn(kind, reg):
    X = table()[0][:3]
    model = SemiSupervisedGaussianMixture(6, covariance_type=kind, reg_covar=reg, n_init=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="n_components"):
        model.fit(X, [0, -1, -1])
    assert 1 < model.n_components_ < 4
    assert_usable(model, X)


@KINDS
@REGULARIZATION
def test_component_that_dies_warns(kind, reg):
    X, y, truth = blobs(n_known=2, n_novel=1)
    means = np.vstack([[X[truth == k].mean(axis=0) for k in range(3)], [[1e3, 1e3]]])
    model = SemiSupervisedGaussianMixture(4, covariance_type=kind, reg_covar=reg, means_init=means)
    with pytest.warns(UserWarning, match="component|cluster"):
        model.fit(X, y)
    assert_usable(model, X)
    assert clustering_accuracy(truth, model.labels_) > 0.99


@KINDS
def test_without_unlabeled_rows_the_weights_are_those_of_all(kind):
    (X, _, truth), model = table(), SemiSupervisedGaussianMixture(covariance_type=kind, random_state=0)
    with pytest.warns(UserWarning, match="class_weights"):
        unlabeled = clone(model).fit(X, truth)
    assert_same_fit(unlabeled, model.set_params(class_weights="all").fit(X, truth))
