"""ContrastiveEncoder."""

import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import ContrastiveEncoder, NetworkSettings
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.quantization import BalancedKMeans
from sklearn_sslcluster.utils import trusted_types

QUICK = {"max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randn(120, 6) @ np.random.RandomState(1).randn(6, 6) + 5


@parametrize_with_checks([ContrastiveEncoder(max_epochs=2), ContrastiveEncoder()])
def test_checks_of_scikit_learn(estimator, check):
    """Each check that check_estimator would run."""
    check(estimator)


@pytest.mark.parametrize("views", ["corruption", "correlated-mask", "subset"])
@pytest.mark.parametrize("objective", ["ntxent", "groco", "vicreg"])
@pytest.mark.parametrize("sampler", ["random", "one-per-cluster"])
def test_every_combination_gives_an_embedding(rows, views, objective, sampler):
    model = ContrastiveEncoder(7, views=views, objective=objective, sampler=sampler, batch_size=32, **QUICK)
    Z = model.fit(rows).transform(rows)
    assert Z.shape == (120, 7)
    assert_allclose(np.linalg.norm(Z, axis=1), 1)
    assert list(model.get_feature_names_out())[:2] == ["contrastiveencoder0", "contrastiveencoder1"]
    assert hasattr(model, "collision_rate_") == (sampler != "random")


def test_batches_of_one_row_a_cluster_never_collide(rows):
    model = ContrastiveEncoder(sampler="one-per-cluster", batch_size=16, **QUICK).fit(rows)
    assert model.collision_rate_ == 0


@pytest.mark.parametrize("equal", [True, False])
def test_batches_cut_to_one_size_collide_unless_clusters_are_equal(equal):
    """Rows come as their turn in their cluster does, and are cut every 32: as many as there are clusters."""
    X = load_digits().data[:640]
    model = (BalancedKMeans if equal else KMeans)(32, n_init=1, random_state=0)
    codes = model.fit(X).labels_
    turn = np.array([np.sum(codes[:i] == code) for i, code in enumerate(codes)])
    batches = np.split(np.argsort(turn, kind="stable"), range(32, 640, 32))
    rate = neural.collision_rate(batches, codes)
    assert rate == 0 if equal else rate > 0.5
    # One row of each cluster that has any left: no collision, but batches as uneven as the clusters.
    sampler = neural.OnePerCluster(lambda rows, k: codes, 32, "rows")
    sampler.start(torch.as_tensor(X), torch.as_tensor(X))
    uneven = [len(batch) for batch in sampler.batches(640, 32, np.random.RandomState(0))]
    assert sampler.collision_rate(32, 0) == 0
    assert (min(uneven) == 32) == equal


def test_same_seed_same_embedding_and_generators_stay(rows):
    np.random.seed(3)  # noqa: NPY002
    expected, before = np.random.rand(2), torch.get_rng_state()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    first, second = (ContrastiveEncoder(**QUICK).fit(rows).transform(rows) for _ in range(2))
    assert_array_equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert_array_equal(np.random.rand(2), expected)  # noqa: NPY002


def test_order_and_repetition_of_rows_are_no_matter(rows):
    order = np.random.RandomState(0).permutation(len(rows))
    expected = ContrastiveEncoder(**QUICK).fit(rows).transform(rows)
    assert_allclose(ContrastiveEncoder(**QUICK).fit(rows[order]).transform(rows), expected, atol=1e-6)
    assert_allclose(ContrastiveEncoder(**QUICK).fit(np.repeat(rows, 2, axis=0)).transform(rows), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_are_no_matter(rows, scale):
    expected = ContrastiveEncoder(**QUICK).fit(rows).transform(rows)
    assert_allclose(ContrastiveEncoder(**QUICK).fit(scale * rows).transform(scale * rows), expected, atol=1e-4)


def test_constant_columns_do_no_harm(rows):
    X = np.column_stack([rows, np.full(len(rows), 7.0), np.zeros(len(rows))])
    for views in ("corruption", "correlated-mask", "subset"):
        assert np.isfinite(ContrastiveEncoder(views=views, **QUICK).fit(X).transform(X)).all()


def test_equal_rows_and_a_single_row():
    for X in (np.ones((1, 3)), np.ones((20, 3)), np.eye(2)):
        for objective in ("ntxent", "groco", "vicreg"):
            assert np.isfinite(ContrastiveEncoder(objective=objective, **QUICK).fit(X).transform(X)).all()


def test_views_of_the_user(rows):
    def noisy(X, random_state):
        return X, X + random_state.normal(scale=0.1, size=X.shape)

    model = ContrastiveEncoder(views=noisy, **QUICK).fit(rows)
    assert np.isfinite(model.transform(rows)).all()
    with pytest.raises(ValueError, match="views must return two arrays"):
        ContrastiveEncoder(views=lambda X, random_state: X, **QUICK).fit(rows)


def test_labels_are_positives(rows):
    y = np.where(rows[:, 0] > 5, "high", "low").astype(object)
    y[::3] = None
    unlabeled = np.array([name is None for name in y])
    with_labels = ContrastiveEncoder(max_epochs=30, patience=30, random_state=0).fit(rows, y).transform(rows)
    without = ContrastiveEncoder(max_epochs=30, patience=30, random_state=0).fit(rows).transform(rows)

    def gap(Z):
        high = Z[unlabeled & (rows[:, 0] > 5)].mean(axis=0)
        low = Z[unlabeled & (rows[:, 0] <= 5)].mean(axis=0)
        return ((high - low) ** 2).sum()

    assert gap(with_labels) > 1.5 * gap(without)


def test_information_of_columns_is_reported(rows):
    model = ContrastiveEncoder(views="correlated-mask", **QUICK).fit(rows)
    assert model.feature_information_.shape == (6, 6)
    model.set_params(views="corruption").fit(rows)
    assert not hasattr(model, "feature_information_")


class Attraction(neural.VICReg):
    """Views agree, and nothing keeps rows apart."""

    def __init__(self, views, X, *further):
        super().__init__(views, X, variance=0.0, covariance=0.0)


@pytest.mark.parametrize(
    ("objective", "name"), [("ntxent", "NTXent"), ("groco", "GroupOrdering"), ("vicreg", "VICReg")]
)
def test_collapse_without_what_keeps_rows_apart_is_noticed(rows, monkeypatch, objective, name):
    settings = {"objective": objective, "max_epochs": 120, "patience": 120, "random_state": 0, "optimizer__lr": 1e-2}
    healthy = ContrastiveEncoder(16).set_params(**settings).fit(rows)
    assert healthy.effective_rank_ > 2
    monkeypatch.setattr(neural, name, Attraction)
    with pytest.warns(UserWarning, match="collapsed"):
        fallen = ContrastiveEncoder(16).set_params(**settings).fit(rows)
    # The weights of the start are kept.
    assert fallen.effective_rank_ > 1.5


def test_searchable_in_a_pipeline(rows):
    y = (rows[:, 1] > 5).astype(int)
    pipeline = make_pipeline(ContrastiveEncoder(max_epochs=2, random_state=0), LogisticRegression())
    grid = {"contrastiveencoder__optimizer__lr": [1e-3, 1e-2], "contrastiveencoder__encoder__hidden": [(8,), (16, 8)]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(rows, y)
    assert len(search.cv_results_["params"]) == 4
    assert isinstance(search.best_estimator_[0].encoder, NetworkSettings)
    assert make_pipeline(ContrastiveEncoder(max_epochs=2), KMeans(2)).fit_predict(rows).shape == (120,)


def test_checkpoint_goes_on_where_it_ended(rows, tmp_path):
    expected = ContrastiveEncoder(**QUICK).fit(rows).transform(rows)
    model = ContrastiveEncoder(checkpoint=tmp_path / "fit.pt", **QUICK)
    stopped = []

    def on_epoch(trainer, net, phase, original=neural.Trainer._end_epoch):
        original(trainer, net, phase)
        if not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural.Trainer, "_end_epoch", on_epoch)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(rows)
    assert (tmp_path / "fit.pt").exists()
    assert_allclose(model.fit(rows).transform(rows), expected, atol=1e-6)


def test_pickle_and_skops_give_the_same_embedding(rows):
    skops_io = pytest.importorskip("skops.io")
    model = ContrastiveEncoder(**QUICK).fit(rows)
    expected = model.transform(rows)
    assert_array_equal(pickle.loads(pickle.dumps(model)).transform(rows), expected)
    stored = skops_io.dumps(model)
    assert_array_equal(skops_io.loads(stored, trusted=trusted_types()).transform(rows), expected)


def test_transform_of_a_loaded_model_imports_no_torch(rows, tmp_path):
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(ContrastiveEncoder(**QUICK).fit(rows)))
    program = f"""
        import pickle, sys
        import numpy as np
        model = pickle.loads(open({str(path)!r}, "rb").read())
        model.transform(np.zeros((2, 6)))
        print(sorted({{"torch", "skorch"}} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_contrast_makes_a_few_labels_of_digits_go_further():
    X, y = load_digits(return_X_y=True)
    rng = np.random.RandomState(0)
    order = rng.permutation(len(X))
    train, test = order[:1200], order[1200:]
    encoder = ContrastiveEncoder(views="correlated-mask", max_epochs=40, random_state=0).fit(X[train])
    few = np.concatenate([train[y[train] == digit][:3] for digit in range(10)])

    def accuracy(rows):
        return LogisticRegression(max_iter=1000).fit(rows[few], y[few]).score(rows[test], y[test])

    assert accuracy(10 * encoder.transform(X)) > 0.7


def test_embedding_sizes_and_settings_out_of_range_are_refused(rows):
    with pytest.raises(ValueError, match="'views' parameter"):
        ContrastiveEncoder(views="crop").fit(rows)
    with pytest.raises(ValueError, match="'temperature' parameter"):
        ContrastiveEncoder(temperature=0).fit(rows)
    with pytest.raises(ValueError, match="checkpoint needs a random_state"):
        ContrastiveEncoder(checkpoint="x.pt", max_epochs=1).fit(rows)


@pytest.mark.parametrize("seed", range(4))
def test_two_groups_in_one_direction_are_no_collapse(seed):
    X, y = make_blobs(200, n_features=10, centers=2, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Z = ContrastiveEncoder(max_epochs=60, random_state=0).fit(X).transform(X)
    assert clustering_accuracy(y, KMeans(2, n_init=3, random_state=0).fit_predict(Z)) == 1


def test_narrow_tables_are_told(rows):
    with pytest.warns(UserWarning, match="views='corruption' of a table with 1 columns"):
        ContrastiveEncoder(**QUICK).fit(rows[:, :1])
    with pytest.warns(UserWarning, match="views='subset' of a table with 2 columns"):
        ContrastiveEncoder(views="subset", **QUICK).fit(rows[:, :2])


KILLED = """
    import os, sys
    import numpy as np
    from sklearn_sslcluster import neural
    from sklearn_sslcluster.deep import ContrastiveEncoder
    def noisy(X, random_state):
        return X, X + random_state.normal(scale=0.1, size=X.shape)
    rows = np.random.RandomState(0).randn(120, 6)
    model = ContrastiveEncoder(views=noisy, max_epochs=3, random_state=0, checkpoint=sys.argv[1])
    if sys.argv[2] == "killed":
        original = neural.Trainer._end_epoch
        def end_epoch(trainer, net, phase):
            original(trainer, net, phase)
            os._exit(9)
        neural.Trainer._end_epoch = end_epoch
    np.save(sys.argv[1] + ".npy", model.fit(rows).transform(rows))
"""


def test_fit_with_own_views_goes_on_in_another_process(tmp_path):
    path = str(tmp_path / "fit.pt")
    run = [sys.executable, "-c", textwrap.dedent(KILLED), path]
    assert subprocess.run([*run, "killed"], check=False).returncode == 9
    done = subprocess.run([*run, "resumed"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resumed = np.load(path + ".npy")
    subprocess.run([*run, "anew"], check=True)
    assert_allclose(resumed, np.load(path + ".npy"), atol=1e-6)
