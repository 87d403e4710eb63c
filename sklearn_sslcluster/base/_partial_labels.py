"""What all estimators share: the label space, ``fit_predict(X, y)``, the guard around ``fit``, and the tags."""

from __future__ import annotations

from functools import wraps
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
from sklearn.base import ClusterMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from ..engine import with_callbacks
from ..labels import (
    UNLABELED,
    PartialLabels,
    decode,
    join_names,
    novel_names,
    renamed,
    warn_user,
)
from ..numerics import beyond_quantile
from ._estimator import EstimatorMixin
from ._lazy import Method


def restore_on_failure(method: Method) -> Method:
    """Decorate ``fit`` so that any exception, ``KeyboardInterrupt`` included, leaves the estimator as it was."""

    @wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = vars(self).copy()
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            # One assignment, so that a second interrupt finds either state whole.
            self.__dict__ = before
            raise

    return cast(Method, guarded)


def fit_method(method: Method) -> Method:
    """Decorate the ``fit`` of an estimator: guard outermost, then callbacks, then validation of the parameters."""
    fit = with_callbacks(_fit_context(prefer_skip_nested_validation=True)(method))
    return cast(Method, restore_on_failure(fit))


class PartialLabelMixin(EstimatorMixin, ClusterMixin):
    """Mixin for clusterers whose ``fit(X, y)`` takes partial labels.

    A subclass decorates its ``fit`` with :func:`fit_method`, reads its input with ``_validate_rows`` and
    ``_encode_labels``, and ends with one call of ``_set_fitted``. It has a parameter ``unlabeled_value``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_clusters_,)
        Names of the classes: the known ones in sorted order, then the discovered ones by decreasing size.
    novel_classes_ : ndarray of shape (n_novel,)
        Names of the discovered classes.
    labels_ : ndarray of shape (n_samples,)
        Name of the class of each training row; a labeled row keeps its label.
    """

    _count_parameter: ClassVar[str] = "n_clusters"

    def fit_predict(self, X: Any, y: Any = None, **params: Any) -> np.ndarray:
        """Fit to `X` and the partial labels `y`, and return the class of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Partial labels: -1, None, NaN or ``pd.NA`` for a row without a label.
        **params : dict
            Passed to ``fit``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            ``labels_``.
        """
        return self.fit(X, y, **params).labels_

    def rename_classes(self, mapping: dict) -> Any:
        """Give classes other names, a discovered class the name an expert found for it.

        Parameters
        ----------
        mapping : dict
            Old name to new name, for example ``{"novel_0": "leak"}``.

        Returns
        -------
        self : object
            The estimator, whose ``classes_``, ``novel_classes_`` and ``labels_`` carry the new names.

        Raises
        ------
        ValueError
            If an old name is not a class, or two classes would share a name.
        TypeError
            If `mapping` is not a dict, or a name cannot be one of a class.
        """
        check_is_fitted(self, "classes_")
        classes = renamed(self.classes_, mapping, unlabeled_value=self.unlabeled_value)
        codes = self._codes_of(self.labels_)
        self.__dict__ = vars(self) | {
            "labels_": decode(codes, classes),
            "novel_classes_": classes[len(classes) - len(self.novel_classes_) :],
            "classes_": classes,
        }
        return self

    def _codes_of(self, names: np.ndarray) -> np.ndarray:
        """Codes of class names that occur in ``classes_``."""
        # The key keeps True and 1 apart, which are equal as dictionary keys.
        code = {(isinstance(name, bool), name): i for i, name in enumerate(self.classes_.tolist())}
        unique, inverse = (names, slice(None)) if names.dtype == object else np.unique(names, return_inverse=True)
        codes = [code[isinstance(name, bool), name] for name in unique.tolist()]
        return np.array(codes, dtype=np.int32)[inverse]

    def _name_classes(self, known: np.ndarray, n_novel: int) -> dict[str, np.ndarray]:
        """The fitted attributes ``classes_`` and ``novel_classes_``."""
        novel = novel_names(known, n_novel, unlabeled_value=self.unlabeled_value)
        classes = join_names(known, novel)
        return {"classes_": classes, "novel_classes_": classes[len(known) :]}

    def _reject(self, codes: np.ndarray, distances: np.ndarray, level: Any) -> np.ndarray:
        """Codes in which rows beyond a quantile of the distances of their class are ``UNLABELED``."""
        if isinstance(level, bool) or not isinstance(level, Real) or not 0 < float(level) <= 1:
            raise ValueError(f"reject must be a quantile in (0, 1], got {level!r}.")
        return np.where(beyond_quantile(distances, codes, self.distance_quantiles_, float(level)), UNLABELED, codes)

    def _n_novel_wanted(self, labels: PartialLabels) -> int:
        """Novel clusters asked for by an integer ``n_clusters``, which counts the known classes too."""
        name, wanted = self._count_parameter, getattr(self, self._count_parameter)
        if not labels.unlabeled.any():
            if wanted > labels.n_known:
                warn_user(
                    f"{name}={wanted}, but every row is labeled: there are no rows to find more than the "
                    f"{labels.n_known} known classes in.",
                )
            return 0
        if wanted < labels.n_known:
            warn_user(
                f"{name}={wanted} is less than the {labels.n_known} known classes and was raised to "
                f"{labels.n_known}: {name} counts known and novel classes.",
            )
        return max(wanted - labels.n_known, 0)

    def _candidates(self, n_known: int) -> list[int]:
        """Total numbers of clusters that ``n_clusters="auto"`` tries, no novel class first."""
        k_max = self.k_max if self.k_max is not None else max(30, 3 * n_known)
        return list(range(max(n_known, 1), max(k_max, n_known, 1) + 1))

    def _warn_if_fewer(self, wanted: int, found: int) -> None:
        if found < wanted:
            warn_user(
                f"Only {found} clusters were found where {wanted} were asked for: there are too few distinct rows "
                "without a label (are many rows the same?), or a cluster lost all of its rows. A smaller "
                f"{self._count_parameter} avoids this.",
                ConvergenceWarning,
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


def order_by_size(sizes: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Order of discovered clusters: larger first, ties by center in lexicographic order."""
    return np.lexsort((*centers.T[::-1], -np.asarray(sizes)))
