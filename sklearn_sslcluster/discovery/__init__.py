"""Novel class discovery: find the classes that nobody has named, and tell them from the known ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_known_class_metric": ["KnownClassMetric"],
        "_ncd_kmeans": ["NCDKMeans"],
        "_ncd_spectral": ["NCDSpectralClustering"],
        "_novel_rows": ["NovelRowsClustering"],
        "_projection_ncd": ["PROJECTION_NCD_SEARCH_SPACE", "ProjectionNCD"],
        "_semi_supervised_kmeans": ["SemiSupervisedKMeans"],
        "_tabular_ncd": ["TABULAR_NCD_SEARCH_SPACE", "TabularNCD"],
    },
)
