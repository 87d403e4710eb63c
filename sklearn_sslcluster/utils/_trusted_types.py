"""Names that a saved model may contain, for loading it with skops."""

from __future__ import annotations

from ._all_estimators import public_classes

# What fitted search objects and pipelines hold besides public classes, each looked at: splitters, scorers and selectors
# that keep numbers and names only, and score functions, which loading does not call.
_HELD_BY_SEARCHES = (
    "numpy.dtype",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.metrics.cluster._supervised.adjusted_mutual_info_score",
    "sklearn.metrics.cluster._supervised.adjusted_rand_score",
    "sklearn.metrics.cluster._supervised.completeness_score",
    "sklearn.metrics.cluster._supervised.fowlkes_mallows_score",
    "sklearn.metrics.cluster._supervised.homogeneity_score",
    "sklearn.metrics.cluster._supervised.mutual_info_score",
    "sklearn.metrics.cluster._supervised.normalized_mutual_info_score",
    "sklearn.metrics.cluster._supervised.rand_score",
    "sklearn.metrics.cluster._supervised.v_measure_score",
    "sklearn.model_selection._split.GroupKFold",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn_sslcluster.metrics._clustering.clustering_accuracy",
    "sklearn_sslcluster.metrics._scorers._PartialLabelScorer",
    "sklearn_sslcluster.model_selection._hidden_class_evaluation.CodedScorer",
    "sklearn_sslcluster.model_selection._hidden_class_evaluation.HiddenClassScorer",
    "sklearn_sslcluster.metrics._clustering.hidden_class_accuracy",
    "sklearn_sslcluster.model_selection._hidden_class_evaluation.label_free_score",
)
# A file can have a class called with what it holds: not those that work with it at once.
_RUN_WHEN_MADE = ("sklearn_sslcluster.inspection._report.ClusterReport",)


def trusted_types() -> list[str]:
    """Names of types to trust when a saved model is loaded with skops.

    The private module path of a class is part of the file format of skops, which is why this list is to be had from
    the package that reads the file and not written down by its user.

    Returns
    -------
    names : list of str
        Sorted full names of the estimators and other public classes of this package, and of the few further types
        that a fitted search or pipeline contains and that skops does not trust by itself.

    Notes
    -----
    Classes of a user's own (a transformer in a pipeline, a network) are not among them: add their names after having
    looked at what they do when loaded.

    Examples
    --------
    >>> from sklearn_sslcluster.utils import trusted_types
    >>> "sklearn.model_selection._split.KFold" in trusted_types()
    True

    A model saved by ``skops.io.dump(model, "model.skops")`` comes back by
    ``skops.io.load("model.skops", trusted=trusted_types())``.
    """
    own = {f"{cls.__module__}.{cls.__qualname__}" for cls in public_classes()}
    return sorted(own.union(_HELD_BY_SEARCHES) - set(_RUN_WHEN_MADE))
