"""What a search hands on to its best estimator."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.model_selection._search import BaseSearchCV, _check_refit, _search_estimator_has
from sklearn.utils import get_tags
from sklearn.utils._set_output import _safe_set_output
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..base import VersionedStateMixin
from ._hidden_class_evaluation import before_final, final_estimator


def _from_best(name: str, doc: str) -> property:
    """Fitted attribute of the best estimator, or of its last step."""

    def get(self: Any) -> Any:
        _check_refit(self, name)
        return getattr(final_estimator(self.best_estimator_), name)

    return property(get, doc=doc)


def _final_has(name: str) -> Callable:
    """Condition for `available_if`: the last step of the best estimator (before the fit: of `estimator`) has `name`."""

    def check(self: Any) -> bool:
        _check_refit(self, name)
        getattr(final_estimator(getattr(self, "best_estimator_", self.estimator)), name)
        return True

    return check


class BestEstimatorSearch(VersionedStateMixin, BaseSearchCV):
    """A search whose best estimator finds classes: its labels, its class names, and the methods of clusterers."""

    labels_ = _from_best("labels_", "Class of every training row.")
    classes_ = _from_best("classes_", "Names of the known classes, then of the discovered ones.")
    novel_classes_ = _from_best("novel_classes_", "Names of the discovered classes.")
    n_clusters_ = _from_best("n_clusters_", "Number of classes, known and discovered.")

    def fit_predict(self, X: Any, y: Any = None, **params: Any) -> np.ndarray:
        """Fit, and return the class of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels.
        **params : dict
            Passed to ``fit``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            ``labels_``.
        """
        _check_refit(self, "fit_predict")
        return self.fit(X, y, **params).labels_

    @available_if(_search_estimator_has("transform"))
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and transform the same rows with the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels.
        **params : dict
            Passed to ``fit``.

        Returns
        -------
        X_new : array of shape (n_samples, n_features_new)
            Transformed rows.
        """
        return self.fit(X, y, **params).transform(X)

    @available_if(_search_estimator_has("predict"))
    def predict(self, X: Any, **params: Any) -> np.ndarray:
        """Predict the class of rows with the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        **params : dict
            Passed to the estimator, for example ``reject``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of classes, known or discovered.
        """
        check_is_fitted(self)
        return self._wrap_namespace_error("predict", self.best_estimator_.predict, X, **params)

    @available_if(_final_has("predict_novel"))
    def predict_novel(self, X: Any) -> np.ndarray:
        """Name the nearest novel class of rows with the best estimator, whatever the known classes.

        A Pipeline passes the rows through its earlier steps to the last one, which is asked.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``novel_classes_``.

        Raises
        ------
        ValueError
            If the best estimator found no novel class.
        """
        check_is_fitted(self)
        return final_estimator(self.best_estimator_).predict_novel(before_final(self.best_estimator_, X))

    @available_if(_final_has("novelty_score"))
    def novelty_score(self, X: Any) -> np.ndarray:
        """Score how much rows look like a novel rather than a known class, with the best estimator.

        A Pipeline passes the rows through its earlier steps to the last one, which is asked.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        novelty : ndarray of shape (n_samples,)
            Larger for rows nearer to novel than to known classes.
        """
        check_is_fitted(self)
        return final_estimator(self.best_estimator_).novelty_score(before_final(self.best_estimator_, X))

    @available_if(_final_has("rename_classes"))
    def rename_classes(self, mapping: dict) -> Any:
        """Give classes of the best estimator other names.

        Parameters
        ----------
        mapping : dict
            Old name to new name, for example ``{"novel_0": "leak"}``.

        Returns
        -------
        self : object
            The search. ``hidden_classes_`` keeps the names that the classes had in `y`.
        """
        check_is_fitted(self)
        final_estimator(self.best_estimator_).rename_classes(mapping)
        return self

    @available_if(_search_estimator_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Get the names of the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of `X`.

        Returns
        -------
        names : ndarray of str
            Names of the columns.
        """
        check_is_fitted(self)
        return self.best_estimator_.get_feature_names_out(input_features)

    @available_if(_search_estimator_has("set_output"))
    def set_output(self, *, transform: str | None = None) -> Any:
        """Set the container that ``transform`` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Container; None changes nothing.

        Returns
        -------
        self : object
            The search.
        """
        for estimator in (self.estimator, getattr(self, "best_estimator_", None)):
            if estimator is not None:
                _safe_set_output(estimator, transform=transform)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        for name in ("target_tags", "input_tags", "transformer_tags", "non_deterministic"):
            setattr(tags, name, deepcopy(getattr(inner, name)))
        return tags
