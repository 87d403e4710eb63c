"""Choosing a model without the labels it is meant to find: hidden-class search and the number of clusters."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_hidden_class_kfold": ["HiddenClassKFold"],
        "_hidden_class_search": ["HiddenClassSearchCV"],
        "_n_clusters": ["estimate_n_clusters"],
    },
)
