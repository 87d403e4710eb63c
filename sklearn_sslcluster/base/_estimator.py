"""What clusterers and classifiers share: the check of their rows, the reading of labels, fitted attributes at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from ..engine import CallbackSupportMixin, in_memory
from ..labels import PartialLabels, encode_partial_labels
from ._rows import RowsMixin

_SET_BY_VALIDATION = ("n_features_in_", "feature_names_in_")


class EstimatorMixin(RowsMixin, CallbackSupportMixin):
    """Mixin of clusterers and classifiers with partial labels: how rows come in, and how fitted attributes are set.

    A subclass has a parameter ``unlabeled_value``.
    """

    _doc_link_module: ClassVar[str] = "sklearn_sslcluster"
    _doc_link_template: ClassVar[str] = (
        "https://sklearn-sslcluster.readthedocs.io/en/latest/reference/generated/"
        "{estimator_module}.{estimator_name}.html"
    )

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
