"""What clusterers and classifiers share: the check of their rows, the reading of labels, fitted attributes at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from ..engine import CallbackSupportMixin, DaskRows, in_memory, is_dask
from ..labels import PartialLabels, encode_partial_labels
from ._lazy import lazy_rows

_SET_BY_VALIDATION = ("n_features_in_", "feature_names_in_")


class EstimatorMixin(CallbackSupportMixin):
    """Mixin of clusterers and classifiers with partial labels: how rows come in, and how fitted attributes are set.

    A subclass has a parameter ``unlabeled_value``, and says by ``_accepts_dask`` whether it fits by sums over chunks.
    """

    _accepts_dask: ClassVar[bool] = False
    _doc_link_module: ClassVar[str] = "sklearn_sslcluster"
    _doc_link_template: ClassVar[str] = (
        "https://sklearn-sslcluster.readthedocs.io/en/latest/reference/generated/"
        "{estimator_module}.{estimator_name}.html"
    )

    def _validate_rows(self, X: Any, *, reset: bool, lengths: bool = True, **check_params: Any) -> Any:
        """``validate_data`` that also names the first DataFrame column out of place.

        Of a Dask collection nothing is read but, with `lengths`, the numbers of rows that its chunks do not know.
        """
        try:
            if isinstance(X, DaskRows) or is_dask(X):
                return lazy_rows(self, X, reset=reset, lengths=lengths)
            return validate_data(self, X, reset=reset, **check_params)
        except ValueError as error:
            misplaced = None if reset else self._first_misplaced_column(X)
            if misplaced is None or "feature names" not in str(error):
                raise
            raise ValueError(f"{error}{misplaced}") from None

    def _first_misplaced_column(self, X: Any) -> str | None:
        expected = getattr(self, "feature_names_in_", None)
        given = getattr(X, "columns", None)
        if expected is None or given is None:
            return None
        wanted, got = list(expected), list(given)
        for position in range(max(len(wanted), len(got))):
            here = got[position] if position < len(got) else None
            there = wanted[position] if position < len(wanted) else None
            if here != there:
                return (
                    f"First column that differs: position {position} holds "
                    f"{'nothing' if here is None else repr(here)}, expected "
                    f"{'nothing' if there is None else repr(there)}.\n"
                )
        return None

    def _encode_labels(self, y: Any, X: Any) -> PartialLabels:
        return encode_partial_labels(in_memory(y), X, unlabeled_value=self.unlabeled_value)

    def _check_weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        """Weights of the rows, None for equal ones."""
        if sample_weight is None:
            return None
        return _check_sample_weight(in_memory(sample_weight), X, dtype=np.float64, ensure_non_negative=True)

    def _set_fitted(self, **attributes: Any) -> None:
        """Set all fitted attributes at once, and drop those that an earlier fit left behind."""
        kept = {
            name: value
            for name, value in vars(self).items()
            if name in _SET_BY_VALIDATION or not name.endswith("_") or name.startswith("_")
        }
        self.__dict__ = kept | attributes
