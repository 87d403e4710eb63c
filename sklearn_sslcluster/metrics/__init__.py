"""Scores of clusterings against known classes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_clustering": ["category_discovery_accuracy", "clustering_accuracy", "hidden_class_accuracy"],
        "_scorers": ["make_partial_label_scorer"],
    },
)
