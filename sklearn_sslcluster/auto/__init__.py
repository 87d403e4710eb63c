"""Estimators that choose among families: how to find new classes in a table, chosen by hiding known ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_candidates": ["default_candidates"],
        "_display": ["LeaderboardDisplay"],
        "_novel_class_discovery": ["NovelClassDiscovery"],
    },
)
