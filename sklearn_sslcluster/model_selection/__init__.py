"""Choosing a model without the labels it is meant to find: hidden-class search, the number of clusters, encoders."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_hidden_class_kfold": ["HiddenClassKFold"],
        "_hidden_class_search": ["HiddenClassSearchCV"],
        "_n_clusters": ["estimate_n_clusters"],
        "_representation": ["RepresentationScores", "evaluate_representation"],
    },
)
