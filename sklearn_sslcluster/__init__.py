"""Group rows using the little that is known about them, with estimators that behave like scikit-learn's own."""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["datasets", "discovery", "metrics", "model_selection", "utils"],
)
