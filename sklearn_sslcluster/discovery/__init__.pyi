from ._known_class_metric import KnownClassMetric
from ._ncd_kmeans import NCDKMeans
from ._ncd_spectral import NCDSpectralClustering
from ._novel_rows import NovelRowsClustering
from ._projection_ncd import PROJECTION_NCD_SEARCH_SPACE, ProjectionNCD
from ._semi_supervised_kmeans import SemiSupervisedKMeans
from ._tabular_ncd import TABULAR_NCD_SEARCH_SPACE, TabularNCD

__all__ = [
    "PROJECTION_NCD_SEARCH_SPACE",
    "TABULAR_NCD_SEARCH_SPACE",
    "KnownClassMetric",
    "NCDKMeans",
    "NCDSpectralClustering",
    "NovelRowsClustering",
    "ProjectionNCD",
    "SemiSupervisedKMeans",
    "TabularNCD",
]
