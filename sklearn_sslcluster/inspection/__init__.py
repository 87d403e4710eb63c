"""What a fitted clusterer has found: a report of its classes as attributes and as one HTML page, and pictures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_displays": ["NovelClassDisplay", "NumberOfClustersDisplay"],
        "_report": ["ClusterReport"],
        "_training_display": ["CertificateDisplay", "TrainingHistoryDisplay"],
    },
)
