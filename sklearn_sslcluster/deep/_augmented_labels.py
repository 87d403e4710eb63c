"""Joint labels of class and transformation around any probabilistic classifier, and what is read out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ..labels import UNLABELED

# Probabilities below count as this much: a tree that has seen no such row in a leaf says 0, and is no veto.
_LEAST_PROBABILITY = 1e-10


def seeded_clone(estimator: Any, seed: int | None) -> Any:
    """Clone whose `random_state` parameters that are None are set; with None as the seed they stay."""
    copy = clone(estimator)
    if seed is not None:
        names = [name for name in copy.get_params() if name.split("__")[-1] == "random_state"]
        copy.set_params(**{name: seed for name in names if copy.get_params()[name] is None})
    return copy


def with_joint_weights(estimator: Any, classes: np.ndarray, n_transforms: int) -> Any:
    """The estimator, with every ``class_weight`` that names classes rewritten for the joint labels."""
    places = {name: place for place, name in enumerate(classes.tolist())}
    for name, value in estimator.get_params().items():
        if name.split("__")[-1] != "class_weight" or not isinstance(value, dict):
            continue
        unknown = [key for key in value if key not in places]
        if unknown:
            raise ValueError(f"estimator has {name} for {unknown[0]!r}, which is no class; classes: {list(places)}.")
        weights = {
            places[key] * n_transforms + number: weight
            for key, weight in value.items()
            for number in range(n_transforms)
        }
        estimator.set_params(**{name: weights})
    return estimator


def fit_joint(estimator: Any, views: list[np.ndarray], codes: np.ndarray, params: dict[str, Any]) -> Any:
    """Fit a classifier to the joint labels ``class * n_transforms + transform`` of all views of labeled rows.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    views : list of ndarray of shape (n_rows, n_features)
        Rows after each transformation.
    codes : ndarray of shape (n_rows,)
        Classes, ``UNLABELED`` for rows to leave out.
    params : dict
        For its ``fit``; arrays with an entry for each row go with the rows.
    """
    labeled, n_transforms, n_rows = codes != UNLABELED, len(views), len(codes)
    if not labeled.all():
        views, codes = [view[labeled] for view in views], codes[labeled]
        params = {name: value[labeled] if _is_by_row(value, n_rows) else value for name, value in params.items()}
    if n_transforms == 1:
        # Exactly what the classifier would be given without this package around it.
        return estimator.fit(views[0], codes, **params)
    repeated = {
        name: np.concatenate([value] * n_transforms) if _is_by_row(value, len(codes)) else value
        for name, value in params.items()
    }
    joint = np.concatenate([codes * n_transforms + number for number in range(n_transforms)])
    return estimator.fit(np.concatenate(views), joint, **repeated)


def _is_by_row(value: Any, n_rows: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == n_rows


def column_logits(
    outputs: Callable[[np.ndarray], np.ndarray], views: list[np.ndarray], n_classes: int, n_transforms: int
) -> np.ndarray:
    """Logits of each class, up to a constant for each row, in the mean over the first ``len(views)`` transformations.

    Parameters
    ----------
    outputs : callable
        Joint logits, or log probabilities, of rows, (n_rows, n_classes * n_transforms).
    views : list of ndarray of shape (n_rows, n_features)
        Rows after each of these transformations.
    n_classes, n_transforms : int

    Returns
    -------
    logits : ndarray of shape (n_rows, n_classes)
    """
    total = np.zeros((len(views[0]), n_classes))
    for number, view in enumerate(views):
        total += outputs(view).reshape(-1, n_classes, n_transforms)[:, :, number]
    return total / len(views)


def log_probabilities(estimator: Any, n_outputs: int, X: np.ndarray) -> np.ndarray:
    """Log probabilities of all joint labels, bounded from below."""
    return np.log(np.maximum(probabilities(estimator, X, n_outputs), _LEAST_PROBABILITY))


def probabilities(estimator: Any, X: np.ndarray, n_outputs: int) -> np.ndarray:
    """Probabilities of all labels 0, 1, ..., in this order, 0 for those that a classifier has not seen."""
    found = np.asarray(estimator.predict_proba(X))
    classes = np.asarray(estimator.classes_)
    if len(classes) == n_outputs:
        return found
    full = np.zeros((len(found), n_outputs))
    full[:, classes] = found
    return full


def check_probabilistic(estimator: Any, inference: str) -> None:
    """Refuse a classifier that cannot do what is asked.

    Raises
    ------
    ValueError
        If it has no probabilities, or has to be distilled and takes no weights.
    """
    name = type(estimator).__name__
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"estimator={name} has no predict_proba, which label augmentation reads; wrap it in CalibratedClassifierCV?"
        )
    if inference == "distilled" and not has_fit_parameter(estimator, "sample_weight"):
        raise ValueError(
            f"inference='distilled' needs an estimator whose fit takes sample_weight, and {name} does not; take "
            "inference='aggregate' or 'single'."
        )


@dataclass(frozen=True)
class Distillation:
    """What counts how much where a clone is fitted to the aggregate.

    Attributes
    ----------
    temperature : float
        By which logits of the aggregate are divided.
    unlabeled : float
        Weight of an unlabeled row; that of a labeled one is 1.
    """

    temperature: float
    unlabeled: float


def fit_distilled(
    estimator: Any,
    X: np.ndarray,
    codes: np.ndarray,
    logits: np.ndarray,
    settings: Distillation,
    params: dict[str, Any],
) -> Any:
    """Fit a classifier to labels and to the aggregate at once: each row stands there once for each class.

    For a classifier that lowers a weighted log loss this is the cross-entropy of the labels plus that of the
    aggregated probabilities, ``temperature ** 2`` times.

    Parameters
    ----------
    estimator : estimator
        Unfitted; its ``fit`` takes `sample_weight`.
    X : ndarray of shape (n_rows, n_features)
    codes : ndarray of shape (n_rows,)
        Classes; for rows that are ``UNLABELED`` the aggregate counts alone.
    logits : ndarray of shape (n_rows, n_classes)
        Of the aggregate.
    settings : Distillation
    params : dict
        For its ``fit``; arrays with an entry for each row go with the rows.
    """
    labeled = codes != UNLABELED
    if not settings.unlabeled:
        params = {name: value[labeled] if _is_by_row(value, len(X)) else value for name, value in params.items()}
        X, codes, logits = X[labeled], codes[labeled], logits[labeled]
        labeled = np.ones(len(codes), dtype=bool)
    n_classes = logits.shape[1]
    weight = settings.temperature**2 * softmax(logits / settings.temperature, axis=1)
    weight[~labeled] *= settings.unlabeled
    weight[labeled, codes[labeled]] += 1.0
    rows, classes = np.repeat(np.arange(len(X)), n_classes), np.tile(np.arange(n_classes), len(X))
    params = {name: value[rows] if _is_by_row(value, len(X)) else value for name, value in params.items()}
    sample_weight = weight.ravel()
    if params.get("sample_weight") is not None:
        sample_weight = sample_weight * params["sample_weight"]
    return estimator.fit(X[rows], classes, **params | {"sample_weight": sample_weight})
