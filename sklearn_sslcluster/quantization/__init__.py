"""Quantizers: rows stood for by few centers, with control over how many rows each of them stands for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"_balanced_kmeans": ["BalancedKMeans"]},
)
