"""What estimators share: the label space, the guard around ``fit``, checks of measured rows, classes as centers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_centers": ["BaseCenterEstimator"],
        "_checks": ["check_range", "check_weights", "count_parameter"],
        "_estimator": ["EstimatorMixin"],
        "_lazy": ["lazily", "refuse_dask"],
        "_partial_labels": ["PartialLabelMixin", "fit_method", "order_by_size", "restore_on_failure"],
        "_persistence": ["VersionedStateMixin"],
        "_rows": ["RowsMixin", "check_table", "row_errors"],
        "_scores": ["mean_silhouette"],
        "_text_columns": ["MixedRowsMixin", "TableKinds"],
    },
)
