"""Self-supervised label augmentation beside the classifier alone, and beside transformed rows with the class as label.

``OMP_NUM_THREADS=1 python -m benchmarks.label_augmentation`` prints accuracies on rows that were not trained on, and
differences of two methods paired by seed, with the standard error of their mean. A seed is a random split.

``rotations``: the digits of scikit-learn, pixels in [0, 1], 300 labeled images, the four rotations by quarter turns.
Networks of both kinds are shown four times as many rows by label augmentation as alone. A step of MLPClassifier takes
so many rows, whatever they are, so that it also takes four times as many steps; "four times the epochs" is the
classifier alone with as many. A step of our network takes so many rows with all their copies.
``named``: permutations of columns and flips of signs, standardized columns.
``unlabeled``: 100 labeled images and 400 without a label, rotations.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.deep import LabelAugmentationClassifier

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rows and labels to train on, others


def quarter_turn(X: np.ndarray) -> np.ndarray:
    return np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(X.shape)


def half_turn(X: np.ndarray) -> np.ndarray:
    return quarter_turn(quarter_turn(X))


def three_quarter_turn(X: np.ndarray) -> np.ndarray:
    return quarter_turn(half_turn(X))


ROTATIONS = [quarter_turn, half_turn, three_quarter_turn]


def split(X: np.ndarray, y: np.ndarray, n_train: int, seed: int) -> Split:
    order = np.random.RandomState(seed).permutation(len(X))
    train, others = order[:n_train], order[n_train:]
    return X[train], y[train], X[others], y[others]


def multilayer(max_iter: int) -> Callable[[int], Any]:
    return lambda seed: MLPClassifier((64,), max_iter=max_iter, random_state=seed)


def network(seed: int) -> Any:
    """Our network, without transformations."""
    return LabelAugmentationClassifier(transforms=[], random_state=seed)


def augmented(base: Any, seed: int, **settings: Any) -> Any:
    estimator = None if isinstance(base, LabelAugmentationClassifier) else base
    return LabelAugmentationClassifier(estimator, random_state=seed, **settings)


def rotation_scores(make: Callable[[int], Any], rows: Split, seed: int) -> dict[str, float]:
    X, y, X_new, y_new = rows
    base = make(seed)
    scores = {"alone": clone(base).fit(X, y).score(X_new, y_new)}
    if isinstance(base, MLPClassifier):
        longer = clone(base).set_params(max_iter=4 * base.max_iter).fit(X, y)
        scores["alone, four times the epochs"] = longer.score(X_new, y_new)
    turned = [X, *(turn(X) for turn in ROTATIONS)]
    naive = clone(base).fit(np.concatenate(turned), np.tile(y, 4))
    scores["rotated rows with the class as label"] = naive.score(X_new, y_new)
    votes = sum(np.log(naive.predict_proba(rows) + 1e-12) for rows in [X_new, *(turn(X_new) for turn in ROTATIONS)])
    scores["the same, mean over rotations"] = float(np.mean(naive.classes_[votes.argmax(axis=1)] == y_new))
    model = augmented(base, seed, transforms=ROTATIONS).fit(X, y)
    for inference in ("single", "aggregate"):
        scores[f"label augmentation, {inference}"] = model.set_params(inference=inference).score(X_new, y_new)
    distilled = augmented(base, seed, transforms=ROTATIONS, inference="distilled").fit(X, y)
    scores["label augmentation, distilled"] = distilled.score(X_new, y_new)
    return scores


def difference(scores: dict[str, np.ndarray], first: str, second: str) -> str:
    return paired(scores[first] - scores[second])


def paired(values: np.ndarray) -> str:
    """Mean and its standard error, in points of percent."""
    return f"{100 * values.mean():+.1f} ± {100 * values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def print_rotations(seeds: int) -> None:
    X, y = load_digits(return_X_y=True)
    bases = {
        "MLPClassifier((64,), max_iter=60)": multilayer(60),
        "our network": network,
        "LogisticRegression()": lambda seed: LogisticRegression(max_iter=500),
        "MLPClassifier((64,), max_iter=240)": multilayer(240),
    }
    for name, make in bases.items():
        found = [rotation_scores(make, split(X / 16, y, 300, seed), seed) for seed in range(seeds)]
        scores = {method: np.array([each[method] for each in found]) for method in found[0]}
        print(f"\n{name}, digits, four rotations, 300 labels, 1,497 other rows; {seeds} seeds")
        print("| method | accuracy | minus alone |")
        print("|---|---|---|")
        for method, values in scores.items():
            print(f"| {method} | {values.mean():.3f} | {difference(scores, method, 'alone')} |")
        pairs = [
            ("label augmentation, aggregate", "label augmentation, single"),
            ("label augmentation, single", "alone"),
            ("alone", "rotated rows with the class as label"),
            ("label augmentation, distilled", "label augmentation, aggregate"),
            ("label augmentation, aggregate", "alone, four times the epochs"),
        ]
        print()
        for first, second in pairs:
            if second in scores:
                print(f"{first} minus {second}: {difference(scores, first, second)}", flush=True)


def print_named(seeds: int) -> None:
    tables = {"digits": (load_digits, 100), "wine": (load_wine, 30), "breast cancer": (load_breast_cancer, 30)}
    bases = {
        "our network": network,
        "MLPClassifier((64,), max_iter=240)": multilayer(240),
        "LogisticRegression()": lambda seed: LogisticRegression(max_iter=500),
    }
    print(f"\nNamed transformations, 4 of them, accuracy on other rows, and minus alone; {seeds} seeds")
    print("| table | labels | classifier | alone | permute-columns | flip-signs |")
    print("|---|---|---|---|---|---|")
    for name, (load, n_train) in tables.items():
        X, y = load(return_X_y=True)
        for base_name, make in bases.items():
            found = []
            for seed in range(seeds):
                rows, labels, others, truth = split(X, y, n_train, seed)
                scale = StandardScaler().fit(rows)
                rows, others = scale.transform(rows), scale.transform(others)
                base = make(seed)
                models = [augmented(base, seed, transforms=kind) for kind in ("permute-columns", "flip-signs")]
                found.append([model.fit(rows, labels).score(others, truth) for model in [base, *models]])
            alone, *others = np.array(found).T
            cells = " | ".join(f"{each.mean():.3f} ({paired(each - alone)})" for each in others)
            print(f"| {name} | {n_train} | {base_name} | {alone.mean():.3f} | {cells} |", flush=True)


def print_unlabeled(seeds: int) -> None:
    X, y = load_digits(return_X_y=True)
    n_labels, n_rows = 100, 500
    print(
        f"\nOur network, digits, four rotations, {n_labels} labels and {n_rows - n_labels} rows without; {seeds} seeds"
    )
    print("| unlabeled_weight | aggregate | minus the first | distilled | minus the first |")
    print("|---|---|---|---|---|")
    first: dict[str, np.ndarray] = {}
    for weight in (0.0, 1.0):
        cells = []
        for inference in ("aggregate", "distilled"):
            scores = []
            for seed in range(seeds):
                rows, labels, others, truth = split(X / 16, y, n_rows, seed)
                partial = np.where(np.arange(n_rows) < n_labels, labels, -1)
                model = LabelAugmentationClassifier(
                    transforms=ROTATIONS,
                    inference=inference,
                    unlabeled_weight=weight,
                    unlabeled_value=-1,
                    random_state=seed,
                )
                scores.append(model.fit(rows, partial).score(others, truth))
            values = np.array(scores)
            first.setdefault(inference, values)
            cells.append(f"{values.mean():.3f} | {paired(values - first[inference])}")
        print(f"| {weight:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tables", nargs="*", default=["rotations", "named", "unlabeled"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    parts = {"rotations": print_rotations, "named": print_named, "unlabeled": print_unlabeled}
    for name in options.tables:
        parts[name](options.seeds)


if __name__ == "__main__":
    main()
