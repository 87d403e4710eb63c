"""Gaussian mixtures for partially labeled rows: soft, elliptical classes, known and new."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_partitive": ["ProbabilisticPartitivePartitioning"],
        "_semi_supervised": ["SemiSupervisedGaussianMixture"],
        "_split_merge": ["SplitMergeGaussianMixture"],
    },
)
