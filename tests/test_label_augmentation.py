"""Label augmentation: joint labels, what is read out of them, the identity alone, and the classifier as an object."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_sslcluster import neural
from sklearn_sslcluster.deep import LabelAugmentationClassifier, NetworkSettings


def doubled(X):
    return 2 * X


def tenfold(X):
    return 10 * X


def quarter_turn(X):
    return np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(X.shape)


def half_turn(X):
    return quarter_turn(quarter_turn(X))


def three_quarter_turn(X):
    return quarter_turn(half_turn(X))


ROTATIONS = [quarter_turn, half_turn, three_quarter_turn]


class Spy(ClassifierMixin, BaseEstimator):
    """Notes what it is given, and says the same probabilities of every row, times a power that depends on the row."""

    given: list = []

    def __init__(self, proba=None):
        self.proba = proba

    def fit(self, X, y, sample_weight=None):
        Spy.given.append((X, y, sample_weight))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.array([self.proba[row] for row in X[:, 0]])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.fixture
def given():
    Spy.given = []
    return Spy.given


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(120, centers=3, n_features=4, cluster_std=2.0, random_state=0)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture
def quick():
    return LabelAugmentationClassifier(max_epochs=5, encoder=NetworkSettings((16,)), random_state=0)


# What the classifier is given


def test_joint_labels_are_class_times_transforms_plus_transform(given):
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array(["b", "a", "b"])
    LabelAugmentationClassifier(Spy(), transforms=[doubled, tenfold]).fit(X, y)
    ((rows, labels, weight),) = given
    assert rows.ravel().tolist() == [1, 2, 3, 2, 4, 6, 10, 20, 30]
    assert labels.tolist() == [3, 0, 3, 4, 1, 4, 5, 2, 5]
    assert weight is None


def test_unlabeled_rows_are_left_out_of_any_classifier(given):
    X = np.array([[1.0], [2.0], [3.0]])
    LabelAugmentationClassifier(Spy(), transforms=[doubled]).fit(X, np.array([1, None, 0], dtype=object))
    assert given[0][0].ravel().tolist() == [1, 3, 2, 6]
    assert given[0][1].tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize(("unlabeled_value", "classes"), [(None, [-1, 0, 1]), (-1, [0, 1])])
def test_minus_one_is_a_class_unless_it_stands_for_no_label(given, unlabeled_value, classes):
    model = LabelAugmentationClassifier(Spy(), transforms=[], unlabeled_value=unlabeled_value)
    assert model.fit([[1.0], [2.0], [3.0]], [0, -1, 1]).classes_.tolist() == classes


def test_weights_of_rows_go_with_their_copies(given):
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([0, None, 1], dtype=object)
    model = LabelAugmentationClassifier(Spy(), transforms=[doubled])
    model.fit(X, y, sample_weight=[5.0, 6.0, 7.0])
    assert given[0][2].tolist() == [5, 7, 5, 7]


def test_weights_are_routed_to_a_classifier_that_requests_them(given):
    X, y = np.array([[1.0], [2.0]]), [0, 1]
    with config_context(enable_metadata_routing=True):
        asking = LabelAugmentationClassifier(Spy().set_fit_request(sample_weight=True), transforms=[doubled])
        make_pipeline(asking).fit(X, y, sample_weight=np.array([5.0, 6.0]))
        refusing = LabelAugmentationClassifier(Spy().set_fit_request(sample_weight=False), transforms=[doubled])
        with pytest.raises(TypeError, match="sample_weight"):
            refusing.fit(X, y, sample_weight=np.array([5.0, 6.0]))
    assert given[0][2].tolist() == [5, 6, 5, 6]


def test_network_refuses_parameters_of_fit(quick, blobs):
    with pytest.raises(TypeError, match="'sample_weight'"):
        quick.fit(*blobs, sample_weight=np.ones(120))


# What is read out

JOINT = {
    1.0: [0.1, 0.2, 0.3, 0.4],
    2.0: [0.05, 0.15, 0.2, 0.6],
    3.0: [0.4, 0.3, 0.2, 0.1],
    6.0: [0.0, 0.5, 0.25, 0.25],
}


@pytest.mark.parametrize(
    ("inference", "expected"),
    [
        # Outputs are (class 0, as it is), (0, doubled), (1, as it is), (1, doubled); of 1 doubled is 2, of 3 is 6.
        ("single", [[0.1 / 0.4, 0.3 / 0.4], [0.4 / 0.6, 0.2 / 0.6]]),
        (
            "aggregate",
            [
                np.sqrt([0.1 * 0.15, 0.3 * 0.6]) / np.sqrt([0.1 * 0.15, 0.3 * 0.6]).sum(),
                np.sqrt([0.4 * 0.5, 0.2 * 0.25]) / np.sqrt([0.4 * 0.5, 0.2 * 0.25]).sum(),
            ],
        ),
    ],
)
def test_readout_is_that_of_the_formula(given, inference, expected):
    model = LabelAugmentationClassifier(Spy(JOINT), transforms=[doubled], inference=inference)
    model.fit([[1.0], [3.0]], ["no", "yes"])
    proba = model.predict_proba([[1.0], [3.0]])
    np.testing.assert_allclose(proba, expected)
    np.testing.assert_allclose(model.predict_log_proba([[1.0], [3.0]]), np.log(expected))
    assert model.predict([[1.0], [3.0]]).tolist() == ["yes", "no"]


def test_a_probability_of_zero_is_no_veto_that_ends_in_nan(digits):
    X, y = digits
    model = LabelAugmentationClassifier(RandomForestClassifier(5, random_state=0), transforms=ROTATIONS)
    proba = model.fit(X[:200], y[:200]).predict_proba(X[200:400])
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_aggregate_of_the_network_is_the_mean_of_logits(quick, digits):
    X, y = digits
    model = quick.set_params(transforms=ROTATIONS).fit(X[:100], y[:100])
    logits = np.zeros((10, 10))
    for j, turn in enumerate([lambda rows: rows, *ROTATIONS]):
        Z = (turn(X[100:110]) - model.mean_) / model.scale_
        for layer in model.encoder_layers_:
            Z = Z @ layer["weight"].T + layer["bias"] if layer["kind"] == "linear" else np.maximum(Z, 0)
        joint = np.maximum(Z, 0) @ model.joint_layers_[1]["weight"].T + model.joint_layers_[1]["bias"]
        logits += joint[:, j::4] / 4
    np.testing.assert_allclose(model.predict_proba(X[100:110]), softmax(logits, axis=1))


# The identity alone


@pytest.mark.parametrize("settings", [{"transforms": []}, {"n_transforms": 1}])
@pytest.mark.parametrize("inference", ["aggregate", "single", "distilled"])
@pytest.mark.parametrize(
    "base",
    [
        LogisticRegression(),
        RandomForestClassifier(5, random_state=3),
        MLPClassifier((8,), max_iter=20, random_state=1),
        make_pipeline(StandardScaler(), GaussianNB()),
        CalibratedClassifierCV(LinearSVC()),
    ],
    ids=lambda base: type(base).__name__,
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_identity_alone_is_the_classifier_bit_for_bit(blobs, base, inference, settings):
    X, y = blobs
    names = np.array(["x", "y", "z"])[y]
    expected = clone(base).fit(X, names)
    model = LabelAugmentationClassifier(base, inference=inference, random_state=7, **settings).fit(X, names)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_identity_alone_of_the_network_is_a_network_trained_on_classes(quick, digits):
    X, y = digits
    model = quick.set_params(transforms=[]).fit(X[:100], y[:100])
    assert model.joint_layers_[1]["weight"].shape == (10, 64)
    answers = [model.set_params(inference=each).predict_proba(X) for each in ("aggregate", "single", "distilled")]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


# The loss of the network


def loss_by_hand(logits, codes, n_classes, n_transforms, weight):
    """Of logits (n_transforms, n_rows, n_classes * n_transforms), the mean weighted by rows."""
    total, weights = 0.0, 0.0
    for row, code in enumerate(codes):
        terms = []
        for j in range(n_transforms):
            log_p = log_softmax(logits[j, row])
            own = [log_p[c * n_transforms + j] for c in range(n_classes)]
            terms.append(own[code] if code >= 0 else np.log(np.exp(own).sum()))
        share = 1.0 if code >= 0 else weight
        total, weights = total - share * np.mean(terms), weights + share
    return total / weights


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_of_labeled_and_unlabeled_rows_is_that_of_the_formula(weight):
    rng = np.random.RandomState(0)
    views, codes = rng.normal(size=(3, 7, 5)), np.array([0, 1, -1, 1, -1, 0, 1])
    network = neural.build_classifier(NetworkSettings((6,)), (7, 5, 4), {"joint_head": 6}, seed=0)
    objective = neural.LabelAugmentation(views, 2, neural.AugmentationWeights(unlabeled=weight))
    index = torch.tensor([4, 0, 2, 6])
    batch = neural.Batch(objective.views[0][index], index, torch.tensor(codes[index.numpy()]))
    with torch.no_grad():
        logits = network["joint_head"](network["encoder"](objective.views)).numpy()
        found = objective.loss(batch, network).item()
    assert found == pytest.approx(loss_by_hand(logits[:, index.numpy()], codes[index.numpy()], 2, 3, weight), rel=1e-5)


def test_loss_of_distillation_is_that_of_the_formula_and_holds_the_aggregate_fixed():
    rng = np.random.RandomState(0)
    views, codes, temperature = rng.normal(size=(2, 5, 4)), np.array([0, 1, -1, 2, 2]), 2.0
    heads = {"joint_head": 6, "single_head": 3}
    network = neural.build_classifier(NetworkSettings((6,)), (5, 4, 4), heads, seed=0)
    objective = neural.LabelAugmentation(views, 3, neural.AugmentationWeights(0.5, temperature))
    index = torch.arange(5)
    batch = neural.Batch(objective.views[0], index, torch.tensor(codes))
    network["encoder"].requires_grad_(False)
    loss = objective.loss(batch, network)
    embedding = network["encoder"](objective.views)
    joint, single = network["joint_head"](embedding), network["single_head"](embedding[0]).detach().numpy()
    joint_np = joint.detach().numpy()
    p = softmax(np.mean([log_softmax(joint_np[j], axis=1)[:, j::2] for j in range(2)], axis=0) / temperature, axis=1)
    log_q = log_softmax(single / temperature, axis=1)
    distilled = temperature**2 * (p * (np.log(p) - log_q)).sum(axis=1)
    labeled = codes >= 0
    distilled[labeled] -= log_softmax(single, axis=1)[labeled, codes[labeled]]
    expected = loss_by_hand(joint_np, codes, 3, 2, 0.5) + np.average(distilled, weights=np.where(labeled, 1, 0.5))
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    # The joint head has the gradient of its own loss alone.
    loss.backward()
    gradient = network["joint_head"][1].weight.grad.clone()
    network.zero_grad()
    alone = torch.nn.ModuleDict({name: network[name] for name in ("encoder", "joint_head")})
    objective.loss(batch, alone).backward()
    torch.testing.assert_close(network["joint_head"][1].weight.grad, gradient)


# Distillation


@pytest.mark.parametrize("unlabeled_weight", [0.0, 0.5])
def test_clone_is_distilled_from_rows_of_each_class_weighted_by_label_and_aggregate(given, unlabeled_weight):
    model = LabelAugmentationClassifier(Spy(JOINT), transforms=[doubled], inference="distilled")
    model.set_params(unlabeled_weight=unlabeled_weight).fit([[1.0], [3.0], [1.0]], [1, 0, None])
    aggregate = [softmax(0.5 * np.log(ratio)) for ratio in ([0.1 * 0.15, 0.3 * 0.6], [0.4 * 0.5, 0.2 * 0.25])]
    expected = [aggregate[0] + [0, 1], aggregate[1] + [1, 0], 0.5 * aggregate[0]]
    n_rows = 3 if unlabeled_weight else 2
    rows, classes, weight = given[1]
    assert rows.ravel().tolist() == [1, 1, 3, 3, 1, 1][: 2 * n_rows]
    assert classes.tolist() == [0, 1] * n_rows
    np.testing.assert_allclose(weight.reshape(-1, 2), expected[:n_rows])


@pytest.mark.parametrize("base", [None, LogisticRegression(max_iter=500)], ids=["network", "LogisticRegression"])
def test_distilled_model_says_what_the_aggregate_says(digits, base):
    X, y = digits
    model = LabelAugmentationClassifier(
        base, transforms=ROTATIONS, inference="distilled", max_epochs=40, random_state=0
    )
    distilled = model.fit(X[:300], y[:300]).predict(X[300:])
    aggregate = model.set_params(inference="aggregate").predict(X[300:])
    alone = clone(model).set_params(transforms=[]).fit(X[:300], y[:300]).predict(X[300:])
    agreement = np.mean(distilled == aggregate)
    assert agreement > 0.93
    assert agreement > np.mean(alone == aggregate)


def test_classifier_without_weights_is_refused_by_the_name_of_the_parameter(blobs):
    model = LabelAugmentationClassifier(KNeighborsClassifier(), inference="distilled")
    with pytest.raises(ValueError, match="inference='distilled' needs an estimator whose fit takes sample_weight"):
        model.fit(*blobs)


@pytest.mark.parametrize("base", [None, GaussianNB()], ids=["network", "GaussianNB"])
def test_distilled_readout_needs_a_fit_with_it(quick, blobs, base):
    model = quick.set_params(estimator=base).fit(*blobs).set_params(inference="distilled")
    with pytest.raises(ValueError, match="needs a fit with it"):
        model.predict(blobs[0])


def test_classifier_without_probabilities_is_refused(blobs):
    with pytest.raises(ValueError, match="LinearSVC has no predict_proba"):
        LabelAugmentationClassifier(LinearSVC()).fit(*blobs)


@pytest.mark.parametrize("transforms", [[], "flip-signs"])
def test_class_weights_belong_to_the_classes_they_name(transforms):
    X, y = make_blobs(200, centers=2, n_features=4, cluster_std=6, random_state=0)
    names = np.array(["a", "b"])[y]
    favored = LabelAugmentationClassifier(
        LogisticRegression(class_weight={"a": 1, "b": 50}), transforms=transforms, random_state=0
    ).fit(X, names)
    plain = LabelAugmentationClassifier(LogisticRegression(), transforms=transforms, random_state=0).fit(X, names)
    assert (favored.predict(X) == "b").mean() > (plain.predict(X) == "b").mean() + 0.1
    with pytest.raises(ValueError, match="class_weight for 'c', which is no class"):
        LabelAugmentationClassifier(LogisticRegression(class_weight={"c": 1})).fit(X, names)


def test_rows_of_no_weight_do_not_count_in_distillation():
    X, y = make_blobs(300, centers=2, n_features=4, random_state=1)
    wrong = np.arange(300) % 4 != 0
    given, weight = np.where(wrong, 1 - y, y), np.where(wrong, 0.0, 1.0)
    model = LabelAugmentationClassifier(
        LogisticRegression(), transforms="flip-signs", inference="distilled", random_state=0
    ).fit(X, given, sample_weight=weight)
    assert (model.predict(X) == y).mean() > 0.95
