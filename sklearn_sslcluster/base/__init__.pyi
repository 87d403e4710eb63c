from ._centers import BaseCenterEstimator
from ._checks import check_range, check_weights, count_parameter
from ._estimator import EstimatorMixin
from ._lazy import lazily, refuse_dask
from ._partial_labels import PartialLabelMixin, fit_method, order_by_size, restore_on_failure
from ._persistence import VersionedStateMixin
from ._rows import RowsMixin, check_table, row_errors
from ._scores import mean_silhouette
from ._text_columns import MixedRowsMixin, TableKinds

__all__ = [
    "BaseCenterEstimator",
    "EstimatorMixin",
    "MixedRowsMixin",
    "PartialLabelMixin",
    "RowsMixin",
    "TableKinds",
    "VersionedStateMixin",
    "check_range",
    "check_table",
    "check_weights",
    "count_parameter",
    "fit_method",
    "lazily",
    "mean_silhouette",
    "order_by_size",
    "refuse_dask",
    "restore_on_failure",
    "row_errors",
]
