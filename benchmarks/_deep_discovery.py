"""Deep novel class discovery on the published splits: the tables that ``benchmarks.discovery`` prints for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from benchmarks._data import Split, mean_std
from sklearn_sslcluster.discovery import (
    PROJECTION_NCD_SEARCH_SPACE,
    TABULAR_NCD_SEARCH_SPACE,
    NCDKMeans,
    ProjectionNCD,
    SemiSupervisedKMeans,
    TabularNCD,
)
from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.model_selection import HiddenClassSearchCV

# Learning rate, w, dropout, columns of the embedding, with the number of classes given; accuracy of the paper.
PROJECTION = {
    "pendigits": (0.00284, 0.4606, 0.02538, 11, 82.8),
    "optdigits": (0.0008756, 0.0637, 0.08648, 58, 92.6),
    "mfeat": (0.0002768, 0.4283, 0.1264, 123, 91.7),
}
# Of Troisemaine et al. 2022, tuned on labels of the novel classes; the paper has no others of these tables.
TABULAR = {
    "pendigits": (
        {
            "optimizer__lr": 0.006359,
            "clustering_lr": 0.009585,
            "top_k": 0.05609,
            "n_neighbors": 10,
            "w1": 0.797,
            "w2": 0.8,
            "encoder__dropout": 0.01652,
        },
        85.6,
    ),
}


def projection(split: Split, seed: int, **params: object) -> ProjectionNCD:
    """With the published parameters."""
    lr, w, dropout, size, _ = PROJECTION[split.name]
    params = {"batch_size": 512} | params
    model = ProjectionNCD(split.n_classes, w=w, embedding_size=size, random_state=seed, **params)
    return model.set_params(optimizer__lr=lr, encoder__dropout=dropout)


def mean_reconstruction(split: Split, seed: int) -> ProjectionNCD:
    """The published weight, made for the sum of the squared errors, turned into that for their mean."""
    model = projection(split, seed, unlabeled="novel", reconstruction="mean")
    d = split.X_train.shape[1]
    return model.set_params(w=model.w / (model.w + d * (1 - model.w)))


def tabular(split: Split, seed: int, **params: object) -> TabularNCD:
    """With the published parameters where there are any."""
    model = TabularNCD(split.n_classes, random_state=seed, **params)
    return model.set_params(**TABULAR.get(split.name, ({}, None))[0])


GIVEN: dict[str, tuple[Callable, dict]] = {
    "ProjectionNCD(unlabeled='novel'), as published": (lambda s, r: projection(s, r, unlabeled="novel"), PROJECTION),
    "... unlabeled='mixed'": (projection, PROJECTION),
    "... unlabeled='mixed', n_networks=4": (lambda s, r: projection(s, r, n_networks=4), PROJECTION),
    "... reconstruction='mean', w converted": (mean_reconstruction, PROJECTION),
    "ProjectionNCD(), defaults": (lambda s, r: ProjectionNCD(s.n_classes, random_state=r), PROJECTION),
    "TabularNCD(init='random'), published on pendigits": (lambda s, r: tabular(s, r, init="random"), TABULAR),
    "TabularNCD(), published on pendigits": (tabular, TABULAR),
    "TabularNCD(), defaults": (lambda s, r: TabularNCD(s.n_classes, random_state=r), TABULAR),
}


def fitted(split: Split, model: object) -> object:
    return model.fit(split.X_train, split.train_partial)


def novel_accuracy(split: Split, model: object) -> float:
    new = split.test_is_novel
    return clustering_accuracy(split.y_test[new], model.predict_novel(split.X_test[new]))


def given_table(splits: list[Split], n_seeds: int, names: list[str] | None = None) -> None:
    print(
        f"\nDeep methods, number of classes given, {n_seeds} seeds: accuracy on novel test rows in percent (paper in "
        "brackets)"
    )
    print("| method | " + " | ".join(split.name for split in splits) + " |")
    print("|---|" + "---|" * len(splits))
    for name, (make, published) in GIVEN.items():
        if names and not any(part in name for part in names):
            continue
        cells = []
        for split in splits:
            scores = [novel_accuracy(split, fitted(split, make(split, seed))) for seed in range(n_seeds)]
            paper = f" ({published[split.name][-1]})" if split.name in published else ""
            cells.append(f"{mean_std(scores)}{paper}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def auto_cell(split: Split, models: list) -> str:
    """Accuracy / NMI / ARI on novel test rows by ``predict``, which may name known classes; novel classes found."""
    new = split.test_is_novel
    truth = split.y_test[new]
    found, scores = [], []
    for model in models:
        predicted = model.predict(split.X_test[new])
        scores.append(
            [
                clustering_accuracy(truth, predicted),
                normalized_mutual_info_score(truth, predicted),
                adjusted_rand_score(truth, predicted),
            ]
        )
        found.append(len(model.novel_classes_))
    means = " / ".join(f"{100 * value:.1f}" for value in np.mean(scores, axis=0))
    return f"{means}; {min(found)}-{max(found)}"


def auto_table(splits: list[Split], n_seeds: int) -> None:
    print(
        f"\nDefaults, number of classes estimated, {n_seeds} seeds: accuracy / NMI / ARI on novel test rows by predict "
        "and number of novel classes found (true: 5; paper's ProjectionNCD, tuned on hidden classes: 83.0, 90.5, "
        "90.6)"
    )
    print("| method | " + " | ".join(split.name for split in splits) + " |")
    print("|---|" + "---|" * len(splits))
    methods = {
        "SemiSupervisedKMeans()": SemiSupervisedKMeans(),
        "NCDKMeans()": NCDKMeans(),
        "ProjectionNCD()": ProjectionNCD(),
        "ProjectionNCD(unlabeled='novel')": ProjectionNCD(unlabeled="novel"),
        "TabularNCD()": TabularNCD(),
    }
    for name, model in methods.items():
        cells = []
        for split in splits:
            fits = [fitted(split, clone(model).set_params(random_state=seed)) for seed in range(n_seeds)]
            cells.append(auto_cell(split, fits))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def searched_table(splits: list[Split], n_iter: int, n_jobs: int | None) -> None:
    print(
        f"\nParameters chosen by HiddenClassSearchCV among {n_iter} from the papers' spaces (three folds of two hidden "
        "classes, number of classes estimated in every fit): as above, and the accuracy on hidden classes"
    )
    print("| method | table | hidden | novel | parameters |")
    print("|---|---|---|---|---|")
    methods = [
        (ProjectionNCD(random_state=0), PROJECTION_NCD_SEARCH_SPACE),
        (ProjectionNCD(unlabeled="novel", random_state=0), PROJECTION_NCD_SEARCH_SPACE),
        (TabularNCD(random_state=0), TABULAR_NCD_SEARCH_SPACE),
    ]
    for model, space in methods:
        for split in splits:
            search = HiddenClassSearchCV(model, space, n_iter=n_iter, cv=3, random_state=0, n_jobs=n_jobs)
            fitted(split, search)
            picked = ", ".join(
                f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in search.best_params_.items()
            )
            name = f"{type(model).__name__}({getattr(model, 'unlabeled', 'novel')!r})"
            cell = auto_cell(split, [search.best_estimator_])
            print(f"| {name} | {split.name} | {search.best_score_:.3f} | {cell} | {picked} |", flush=True)
