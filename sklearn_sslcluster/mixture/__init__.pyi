from ._partitive import ProbabilisticPartitivePartitioning
from ._semi_supervised import SemiSupervisedGaussianMixture
from ._split_merge import SplitMergeGaussianMixture

__all__ = ["ProbabilisticPartitivePartitioning", "SemiSupervisedGaussianMixture", "SplitMergeGaussianMixture"]
