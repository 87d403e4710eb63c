from ._displays import NovelClassDisplay, NumberOfClustersDisplay
from ._report import ClusterReport
from ._training_display import CertificateDisplay, TrainingHistoryDisplay

__all__ = [
    "CertificateDisplay",
    "ClusterReport",
    "NovelClassDisplay",
    "NumberOfClustersDisplay",
    "TrainingHistoryDisplay",
]
