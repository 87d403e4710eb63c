from . import datasets, discovery, metrics, model_selection, utils

__all__ = ["datasets", "discovery", "metrics", "model_selection", "utils"]

__version__: str
