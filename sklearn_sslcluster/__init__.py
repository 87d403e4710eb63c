"""Group rows using the little that is known about them, with estimators that behave like scikit-learn's own.

Where to look, by what you have:

- ``auto.NovelClassDiscovery``: several known classes, and rows without a label: it chooses the method.
- ``discovery``, ``mixture``, ``deep``, ``sdp``, ``quantization``: the methods, estimators with ``predict`` and with
  ``fit(X, y)``, where rows without a label are -1, None or NaN in ``y``.
- ``model_selection``: the number of classes, and searches without labels of the new classes.
- ``inspection.ClusterReport``: what the classes are that were found.
- ``metrics``, ``datasets``, ``utils``: scores, data, and what is needed to save models.

The command ``sslcluster --help`` does it for a CSV or Parquet file.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "auto",
        "datasets",
        "deep",
        "discovery",
        "inspection",
        "metrics",
        "mixture",
        "model_selection",
        "quantization",
        "sdp",
        "utils",
    ],
)
