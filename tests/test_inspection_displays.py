"""Pictures of fitted models show what the models hold, in scikit-learn's Display convention."""

import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.deep import DeepKMeans
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.inspection import (
    CertificateDisplay,
    NovelClassDisplay,
    NumberOfClustersDisplay,
    TrainingHistoryDisplay,
)
from sklearn_sslcluster.mixture import SplitMergeGaussianMixture
from sklearn_sslcluster.sdp import SDPKMeans, certify_kmeans

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def blobs():
    X, y, _ = make_partially_labeled_blobs(120, n_known=2, n_novel=2, labeled_fraction=0.5, random_state=0)
    return X, y, SemiSupervisedKMeans("auto", k_max=7, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def network(blobs):
    X, y, _ = blobs
    return DeepKMeans(4, max_pretrain_epochs=3, max_epochs=2, random_state=0).fit(X, y)


def points(ax):
    """Points of each line of a plot by its label."""
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_novel_classes_are_drawn_where_the_principal_components_are(blobs):
    X, y, model = blobs
    display = NovelClassDisplay.from_estimator(model, X, y)
    drawn = points(display.ax_)
    assert list(drawn) == ["0 (known)", "1 (known)", "2 (novel)", "3 (novel)"]
    expected = PCA(2).fit_transform(StandardScaler().fit_transform(X))
    for name in model.classes_:
        kind = "novel" if name in model.novel_classes_ else "known"
        np.testing.assert_allclose(drawn[f"{name} ({kind})"], expected[model.labels_ == name], atol=1e-9)
    markers = {line.get_marker() for line in display.ax_.get_lines() if "novel" in line.get_label()}
    assert markers == {"D"}
    assert display.figure_ is display.ax_.figure


def test_rows_can_be_drawn_in_an_embedding_of_the_users(blobs):
    X, y, model = blobs
    drawn = points(NovelClassDisplay.from_estimator(model, X, y, embedding=X * 10).ax_)
    assert sorted(np.concatenate(list(drawn.values()))[:, 0]) == pytest.approx(sorted(10 * X[:, 0]))
    with pytest.raises(ValueError, match=r"embedding must have the shape \(120, 2\), got \(120, 1\)"):
        NovelClassDisplay.from_estimator(model, X, y, embedding=X[:, :1])


def test_class_names_are_shown_as_they_are(blobs):
    X, y, _ = blobs
    names = np.array(["_hidden", "$x^$", None], dtype=object)[y]
    model = SemiSupervisedKMeans(4, random_state=0).fit(X, names)
    display = NovelClassDisplay.from_estimator(model, X, names)
    display.figure_.canvas.draw()
    assert len(display.ax_.get_legend().get_texts()) == 4


def test_classes_that_are_equal_in_python_stay_apart():
    labels = np.array([True, 1, True], dtype=object)
    display = NovelClassDisplay(np.eye(3)[:, :2], labels, np.array([True, 1], dtype=object), np.zeros(2, bool)).plot()
    assert [len(line) for line in points(display.ax_).values()] == [2, 1]


def test_large_table_is_drawn_in_part(monkeypatch, blobs):
    X, y, model = blobs
    monkeypatch.setattr("sklearn_sslcluster.inspection._displays._MAX_ROWS", 20)
    drawn = points(NovelClassDisplay.from_estimator(model, X, y).ax_)
    assert 20 <= sum(map(len, drawn.values())) <= 24
    assert min(map(len, drawn.values())) > 0


def test_criterion_is_drawn_for_each_number_of_clusters(blobs):
    X, y, _ = blobs
    pipeline = make_pipeline(StandardScaler(), SemiSupervisedKMeans("auto", k_max=7, random_state=0)).fit(X, y)
    display = NumberOfClustersDisplay.from_estimator(pipeline)
    curve = display.ax_.get_lines()[0].get_xydata()
    assert dict(curve.tolist()) == pipeline[-1].n_clusters_scores_
    assert {"chosen: 4", "known: 2"} < set(points(display.ax_))


def test_number_that_was_given_has_no_scores(blobs):
    X, _, _ = blobs
    with pytest.raises(ValueError, match="SemiSupervisedKMeans has tried no numbers of clusters"):
        NumberOfClustersDisplay.from_estimator(SemiSupervisedKMeans(3, random_state=0).fit(X))


def test_losses_are_drawn_phase_by_phase(network):
    display = TrainingHistoryDisplay.from_estimator(network)
    assert [ax.get_title() for ax in display.axes_] == list(network.history_)
    assert display.figure_.axes == display.axes_
    for ax, epochs in zip(display.axes_, network.history_.values(), strict=True):
        assert points(ax)["training"].tolist() == [[epoch["epoch"], epoch["train_loss"]] for epoch in epochs]


def test_history_of_moves_is_none_of_epochs(blobs):
    X, y, _ = blobs
    model = SplitMergeGaussianMixture(random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="has no history of epochs"):
        TrainingHistoryDisplay.from_estimator(model)


def test_bounds_are_drawn_in_percent_of_the_inertia():
    X = np.random.RandomState(0).normal(size=(40, 2))
    model = SDPKMeans(3, random_state=0).fit(X)
    display = CertificateDisplay.from_estimator(model)
    widths = sorted(bar.get_width() for bar in display.ax_.patches)
    bounds = sorted(100 * max(bound, 0) / model.certificate_.inertia for bound in model.certificate_.bounds.values())
    assert widths == pytest.approx(bounds)
    shown = [float(text.get_text().split()[0]) for text in display.ax_.texts]
    assert (np.array(sorted(shown)) <= np.array(bounds)).all()


def test_certificate_of_a_perfect_clustering():
    certificate = certify_kmeans(np.repeat(np.eye(2), 3, axis=0), [0, 0, 0, 1, 1, 1])
    display = CertificateDisplay.from_certificate(certificate)
    display.figure_.canvas.draw()
    assert display.inertia == pytest.approx(0)


def test_estimator_without_certificate(blobs):
    with pytest.raises(ValueError, match="SemiSupervisedKMeans has no certificate"):
        CertificateDisplay.from_estimator(blobs[2])


def test_given_axes_are_drawn_on(blobs, network):
    X, y, model = blobs
    certificate = certify_kmeans(X, model.labels_)
    for draw in (
        lambda ax: NovelClassDisplay.from_estimator(model, X, y, ax=ax),
        lambda ax: NumberOfClustersDisplay.from_estimator(model, ax=ax),
        lambda ax: TrainingHistoryDisplay.from_estimator(network, ax=ax),
        lambda ax: CertificateDisplay.from_certificate(certificate, ax=ax),
    ):
        _, ax = plt.subplots()
        display = draw(ax)
        assert display.ax_ is ax
        assert display.figure_ is ax.figure


@pytest.mark.parametrize("display", [NumberOfClustersDisplay, TrainingHistoryDisplay, CertificateDisplay])
def test_model_has_to_be_fitted(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(KMeans())


def test_missing_matplotlib_is_said_with_the_remedy():
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.pyplot'] = None\n"
        "from sklearn_sslcluster.inspection import CertificateDisplay\n"
        "try: CertificateDisplay({'pca': 1.0}, 2.0).plot()\n"
        "except ImportError as error: assert 'sklearn-sslcluster[plot]' in str(error), error\n"
        "else: raise SystemExit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
