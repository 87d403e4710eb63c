"""Mathematics on arrays: knows no estimator, no ``y``, no validation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "distinct": ["WeightedRows", "distinct_rows", "lexicographic_order"],
        "matching": ["match_clusters"],
    },
)
